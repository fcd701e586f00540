"""What models there are, where their files lie, and the sizes of their layers."""
