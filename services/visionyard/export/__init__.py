"""The export room: turns model versions into artifacts that a server loads."""
