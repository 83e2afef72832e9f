"""The formats that a source may be in."""
