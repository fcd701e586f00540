"""Tokens of captions beside those of Stanford CoreNLP 3.4.1.

`java_tokens.jsonl` has captions and the tokens that pycocoevalcap 1.2's `PTBTokenizer`
gave with Java 17, each caption by itself: hard ones written by hand and drawn ones.
`python -m scripts.metric_checks.captions` compares any number of drawn ones.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_pg2.metrics.captions.ptb import tokenize

FILE = Path(__file__).parent / "java_tokens.jsonl"
ROWS = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
# One letter after a number and a full stop, before a number.
KNOWN_DIFFERENCES = ("v1.5 v1.2.3",)


def test_captions_have_the_tokens_of_the_java_program():
    different = [text for text, tokens in ROWS if " ".join(tokenize(text)) != tokens]
    assert len(ROWS) > 300
    assert all(text.startswith(KNOWN_DIFFERENCES) for text in different), different


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # The Treebank's own examples: its tokenization page and Marcus et al. 1993.
        ("They'll save and invest more.", "they 'll save and invest more"),
        ("Good muffins cost $3.88", "good muffins cost $ 3.88"),
        ("I cannot cannot say", "i can not can not say"),
        ("the children's, the parents' won't", "the children 's the parents wo n't"),
        ("a (brown) dog", "a -lrb- brown -rrb- dog"),
        ("", ""),
        (" \n\t .", ""),
        ("two\nlines", "two lines"),
        ("😀", ""),
    ],
)
def test_examples(text, tokens):
    assert tokenize(text) == tokens.split()


@given(st.text())
def test_any_text_is_taken(text):
    tokens = tokenize(text)
    assert all(token and " " not in token for token in tokens)


@given(st.text("ab'\u2019.,-1 $!\"", max_size=30))
def test_blanks_around_make_no_difference(text):
    assert tokenize(f"  {text}  ") == tokenize(text)
