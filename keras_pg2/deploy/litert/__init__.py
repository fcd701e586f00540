"""Export to LiteRT and LiteRT-LM."""
