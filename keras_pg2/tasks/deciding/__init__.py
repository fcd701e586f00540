"""Decisions: typed questions about pictures, and how probable each answer is."""
