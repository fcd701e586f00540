"""Data sets of questions about pictures, a file for each family."""
