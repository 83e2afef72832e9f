"""What a machine does once its trainings have ended: the rental user's power-off, which must not cost a result."""
