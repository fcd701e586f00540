"""Data on its way to `fit`, `evaluate` and `predict`: any form, one path."""
