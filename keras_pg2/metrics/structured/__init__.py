"""Metrics of texts with a structure: tables, music, molecules, words with boxes."""
