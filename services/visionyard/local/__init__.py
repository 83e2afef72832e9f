"""The embedded stack: starts, watches and stops a real object store, a real Triton and the four services on one machine."""
