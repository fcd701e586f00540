"""Weights of other formats to and from the backbone."""
