"""Jobs: documents in the bucket, leased to worker processes. See ARCHITECTURE.md, "The life of a job"."""
