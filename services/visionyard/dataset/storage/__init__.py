"""What a project takes up in the bucket, and the collection that frees what nothing refers to any more."""
