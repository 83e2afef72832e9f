"""The ``yard`` command, on top of the client."""
