"""The inference room: model versions under names that clients call, served by a Triton beside it."""
