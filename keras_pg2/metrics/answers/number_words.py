"""English words of numbers."""

from __future__ import annotations

_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen twenty
"""

DIGITS = {word: str(i) for i, word in enumerate(_WORDS.split())} | {"none": "0"}
"""Numbers up to twenty in digits, by their words."""
