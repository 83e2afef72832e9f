"""What a Triton version directory holds, for each backend that runs artifacts."""
