"""The dataset worker's process."""
