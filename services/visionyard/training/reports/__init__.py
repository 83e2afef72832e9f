"""What a training has come to: time by phase, curves, and what its best weights get wrong on the validation pictures."""
