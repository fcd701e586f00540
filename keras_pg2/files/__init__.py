"""Reading JSON, and writing files that appear whole or not at all."""
