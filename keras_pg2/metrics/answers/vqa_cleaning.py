"""How VQAv2 cleans answers before it compares them, in every detail.

The rules are those of the official program (GT-Vision-Lab/VQA, `vqaEval.py`), also
where it does other than it means to, so that figures are those of the leaderboard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from keras_pg2.metrics.answers.number_words import DIGITS

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_MOST_FULL_STOPS = int(re.UNICODE)
"""The official program passes this flag where the number of replacements belongs."""
_ARTICLES = {"a", "an", "the"}
_NUMBERS = {word: digits for word, digits in DIGITS.items() if int(digits) <= 10}
_WITH_APOSTROPHES = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've
hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am
might've mightn't mightn't've must've mustn't needn't not've o'clock oughtn't 'ow's'at
shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll
that's there'd there'd've there're there's they'd they'd've they'll they're they've
'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's
where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""


def _misspelt(word: str) -> Iterator[str]:
    """Yield a word without one of its apostrophes, for each of them."""
    for i, letter in enumerate(word):
        if letter == "'":
            yield word[:i] + word[i + 1 :]


_SPELLINGS = {
    misspelt: word for word in _WITH_APOSTROPHES.split() for misspelt in _misspelt(word)
} | {"somebody'd": "somebodyd"}


def without_line_breaks(text: str) -> str:
    """Return a text with blanks for line breaks and tabs, and none around it."""
    return text.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(maxsize=100_000)
def clean(text: str) -> str:
    """Return an answer in lower case without punctuation and articles.

    Punctuation that has a blank beside it anywhere, and all of a text that has a comma
    between digits, goes; other punctuation becomes a blank. Numbers up to ten become
    digits, and contractions get their apostrophe.
    """
    words = _without_punctuation(text).lower().split()
    digits = [_NUMBERS.get(word, word) for word in words]
    return " ".join(
        _SPELLINGS.get(word, word) for word in digits if word not in _ARTICLES
    )


def _without_punctuation(text: str) -> str:
    cleaned = text
    has_number = _COMMA_IN_NUMBER.search(text) is not None
    for mark in _PUNCTUATION:
        if mark in text:
            goes = has_number or f"{mark} " in text or f" {mark}" in text
            cleaned = cleaned.replace(mark, "" if goes else " ")
    return _FULL_STOP.sub("", cleaned, count=_MOST_FULL_STOPS)
