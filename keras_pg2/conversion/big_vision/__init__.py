"""Checkpoints of big_vision: one .npz file."""
