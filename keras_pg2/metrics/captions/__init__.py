"""Captions scored against reference captions, and by the objects they name."""
