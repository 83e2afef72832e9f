"""The layouts that a version can be written in, for download and for labelling tools."""
