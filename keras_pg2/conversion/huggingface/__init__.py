"""Checkpoints of Hugging Face: directories of transformers."""
