"""Typed readers of what the rooms hand to each other through the bucket."""
