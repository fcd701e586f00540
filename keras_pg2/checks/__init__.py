"""Checks of arguments that several rooms need."""
