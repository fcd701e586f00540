"""Readers of one's own data, and the scenes that the nano preset knows."""
