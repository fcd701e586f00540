"""Readers of pictures whose answers are boxes, masks or texts with a structure."""
