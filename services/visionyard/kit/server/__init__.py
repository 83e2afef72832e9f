"""What makes a room's servicers a server: listening, health, interceptors, metrics, draining."""
