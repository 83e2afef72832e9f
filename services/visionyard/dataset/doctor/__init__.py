"""The import doctor: looks at a set as a whole, and lists what no single file shows."""
