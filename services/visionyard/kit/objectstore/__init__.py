"""The bucket: one port, an S3 adapter for real stores, and one in memory for unit tests."""
