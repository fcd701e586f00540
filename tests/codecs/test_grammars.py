"""Grammars: what is written by one is read back as it was written."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from keras_pg2.codecs import Choices, LocationGrammar, parse_detections
from keras_pg2.codecs.grammars import OVER, START, TokenAutomaton
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from tests.support.tiny_vocabulary import gemma_like_proto

PIECES = st.sampled_from(
    [
        *"ab ;,<>/\\\u2581\t\n\r\0\v\x1c\x85\xa0\u2028\u3000éя猫🐱",
        *(" ; ", ";\n", "<loc", "loc", "0001>", "<loc0001>", "<seg001>", "<seg"),
        *("<eos>", "<0x0A>", "<unk>", "cat"),
    ]
)
TEXTS = st.lists(PIECES | st.characters(codec="utf-8"), min_size=1, max_size=6).map(
    "".join
)
MOST_TOKENS = 60
FEW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def preprocessor() -> PaliGemma2CausalLMPreprocessor:
    return PaliGemma2CausalLMPreprocessor(PaliGemma2Tokenizer(gemma_like_proto()))


def any_answer(automaton: TokenAutomaton, rng: np.random.Generator) -> list[int]:
    """Tokens that a grammar allows, drawn evenly, the end token among them."""
    state, tokens = START, []
    while state != OVER:
        following = automaton.next_states[state]
        distances = automaton.distances[np.maximum(following, 0)]
        is_allowed = (following >= 0) & (distances < MOST_TOKENS - len(tokens))
        token_class = rng.choice(np.flatnonzero(is_allowed))
        of_class = np.flatnonzero(automaton.token_classes == token_class)
        tokens.append(int(rng.choice(of_class)))
        state = int(following[token_class])
    return tokens


def text_of(preprocessor: PaliGemma2CausalLMPreprocessor, tokens: list[int]) -> str:
    """What `generate` makes of tokens."""
    row = {"token_ids": np.array(tokens), "padding_mask": np.ones(len(tokens), bool)}
    return preprocessor.generate_postprocess(row)[0]


@FEW
@given(
    labels=st.lists(TEXTS, min_size=1, max_size=3, unique=True),
    segments=st.sampled_from(["never", "optional", "always"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_answers_of_a_location_grammar(preprocessor, labels, segments, seed):
    tokenizer = preprocessor.tokenizer
    try:
        grammar = LocationGrammar(labels, segments)
        automaton = grammar.automaton(tokenizer, tokenizer.vocabulary_size())
    except ValueError:
        assume(False)
    text = text_of(preprocessor, any_answer(automaton, np.random.default_rng(seed)))
    found = parse_detections(text, 1023, 1023)
    assert found.unread == ()
    assert set(found.labels) <= set(labels)
    pairs = zip(found.tokens, found.labels)
    assert " ; ".join(f"{tokens} {label}" for tokens, label in pairs) == text
    has_mask = {"<seg" in tokens for tokens in found.tokens}
    assert has_mask <= {"never": {False}, "always": {True}}.get(segments, {True, False})


@FEW
@given(texts=st.lists(TEXTS, min_size=1, max_size=3, unique=True))
def test_answers_of_choices(preprocessor, texts):
    try:
        rows = Choices(texts).tokens(preprocessor.tokenizer)
    except ValueError:
        assume(False)
    assert [text_of(preprocessor, row) for row in rows] == texts


@pytest.mark.parametrize("label", ["a; b", "a ;b", "a;b", ";"])
def test_semicolons_are_refused_as_in_prompts(label):
    """A label of an answer ends at one."""
    with pytest.raises(ValueError, match=re.escape(repr(label))):
        LocationGrammar([label])
