"""Formats that another program reads for us: the source is unpacked, the program runs in a process of its own behind walls, and what it writes is read like any labelling."""
