"""Sources that the service fetches itself, from addresses that its administrator listed: https, http and s3."""
