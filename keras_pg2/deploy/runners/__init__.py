"""Exported files run without Keras."""
