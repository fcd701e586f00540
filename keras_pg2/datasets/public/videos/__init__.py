"""Readers of videos with captions or questions."""
