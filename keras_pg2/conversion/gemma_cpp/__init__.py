"""Checkpoints of gemma.cpp: one .sbs file."""
