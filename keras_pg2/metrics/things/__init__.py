"""Metrics of boxes and masks."""
