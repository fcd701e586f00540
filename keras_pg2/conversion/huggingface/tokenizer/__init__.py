"""The vocabulary as SentencePiece (`tokenizer.model`) and as `tokenizer.json`.

Both are the same byte-pair encoding: SentencePiece joins the neighbours whose join has
the best score, tokenizers the pair that stands first in a list. Spaces become "▁" and
nothing is added in front (transformers `models/gemma/tokenization_gemma.py`).
"""
