"""Hyper-parameter search: trials that are training jobs, and successive halving among them."""
