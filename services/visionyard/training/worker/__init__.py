"""The training room's workers: the only place where torch and ultralytics are imported."""
