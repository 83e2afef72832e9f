"""Files between clients and the bucket: resumable uploads, and downloads in chunks."""
