"""Data: the `model.py` that Triton's Python backend runs. It is copied into the model repository, never imported here."""
