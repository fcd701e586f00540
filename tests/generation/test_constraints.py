"""Grammars: what they allow, by hand and by drawing from random networks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from keras import ops

from keras_pg2 import Sampler
from keras_pg2.codecs.grammars import (
    FORBIDDEN,
    OVER,
    START,
    Choices,
    LocationGrammar,
)
from keras_pg2.generation.constraints import allowed_tokens, next_states
from tests.support.tiny_models import random_task

LABELS = ["cat", "dog", "a person riding", "a person", "Hund, Katze"]
BOX = r"(?:<loc\d{4}>){4}"
MASK = r"(?:<seg\d{3}>){16}"
SEGMENTS = {"never": "", "optional": f"(?:{MASK})?", "always": MASK}


@pytest.fixture(scope="module")
def task():
    return random_task()


@pytest.fixture(scope="module")
def tokenizer(task):
    return task.preprocessor.tokenizer


def well_formed(segments: str) -> re.Pattern[str]:
    label = "|".join(re.escape(text) for text in LABELS)
    instance = f"{BOX}{SEGMENTS[segments]} (?:{label})"
    return re.compile(f"(?:{instance}(?: ; {instance})*)?")


def walk(grammar, tokenizer, text, num_left=10_000):
    """The state after a text, or FORBIDDEN at the first token that may not come."""
    automaton = grammar.automaton(tokenizer, tokenizer.vocabulary_size() + 3)
    tensors = type(automaton)(*(ops.convert_to_tensor(part) for part in automaton))
    states = ops.convert_to_tensor(np.array([START], "int32"))
    [tokens] = tokenizer.tokenize([text])
    for token in [*tokens, tokenizer.end_token_id]:
        left = ops.convert_to_tensor(np.array([num_left], "int32"))
        if not bool(
            ops.convert_to_numpy(allowed_tokens(tensors, states, left))[0, token]
        ):
            return FORBIDDEN
        token = ops.convert_to_tensor(np.array([token], "int32"))
        states = next_states(tensors, states, token)
        num_left -= 1
    return int(ops.convert_to_numpy(states)[0])


BOX_TEXT = "<loc0001><loc0002><loc0300><loc1023>"
MASK_TEXT = "".join(f"<seg{i:03d}>" for i in range(16))


@pytest.mark.parametrize(
    ("text", "segments", "is_allowed"),
    [
        ("", "optional", True),
        (f"{BOX_TEXT} cat", "optional", True),
        (f"{BOX_TEXT} cat", "never", True),
        (f"{BOX_TEXT} cat", "always", False),
        (f"{BOX_TEXT}{MASK_TEXT} cat", "always", True),
        (f"{BOX_TEXT}{MASK_TEXT} cat", "never", False),
        (f"{BOX_TEXT}{MASK_TEXT} dog ; {BOX_TEXT} Hund, Katze", "optional", True),
        (f"{BOX_TEXT} a person ; {BOX_TEXT} a person riding", "never", True),
        (f"{BOX_TEXT} cat ;", "optional", False),
        (f"{BOX_TEXT} cat ; ", "optional", False),
        (f"{BOX_TEXT} ca", "optional", False),
        (f"{BOX_TEXT} cats", "optional", False),
        (f"{BOX_TEXT} bird", "optional", False),
        (f"{BOX_TEXT}", "optional", False),
        ("<loc0001><loc0002> cat", "optional", False),
        (f"{BOX_TEXT}<loc0001> cat", "optional", False),
        (f"{BOX_TEXT}{MASK_TEXT[:-8]} cat", "optional", False),
        ("cat", "optional", False),
    ],
)
def test_location_grammar(tokenizer, text, segments, is_allowed):
    grammar = LocationGrammar(LABELS, segments)
    assert bool(well_formed(segments).fullmatch(text)) == is_allowed
    assert walk(grammar, tokenizer, text) == (OVER if is_allowed else FORBIDDEN)


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [("a red ball", True), ("a red", True), ("a", False), ("blue", False), ("", False)],
)
def test_choices(tokenizer, text, is_allowed):
    grammar = Choices(["a red ball", "a red", "small dog"])
    assert walk(grammar, tokenizer, text) == (OVER if is_allowed else FORBIDDEN)


def test_only_what_can_still_be_finished_is_allowed(tokenizer):
    grammar = LocationGrammar(["cat"], "optional")
    [tokens] = tokenizer.tokenize([f"{BOX_TEXT} cat"])
    needed = len(tokens) + 1
    assert walk(grammar, tokenizer, f"{BOX_TEXT} cat", needed) == OVER
    assert walk(grammar, tokenizer, f"{BOX_TEXT} cat", needed - 1) == FORBIDDEN
    assert walk(grammar, tokenizer, "", 1) == OVER


OF_GRAMMAR = pytest.mark.one_backend(
    "another table of the grammar, run by the same loop"
)


@pytest.mark.parametrize(
    "segments",
    [
        "optional",
        pytest.param("never", marks=OF_GRAMMAR),
        pytest.param("always", marks=OF_GRAMMAR),
    ],
)
def test_every_detection_of_a_random_network_is_well_formed(task, segments):
    """3 x 1,250 answers of up to 48 tokens, drawn almost evenly."""
    task.compile(sampler=Sampler(temperature=100.0))
    grammar = LocationGrammar(LABELS, segments)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), dtype=np.uint8)
    pattern = well_formed(segments)
    lengths = set()
    for seed in range(4):
        count = [850, 150, 150, 100][seed]
        prompts = [f"detect cat ; dog {i}" for i in range(count)]
        texts = task.generate(
            {"images": pixels[seed], "prompts": prompts},
            strip_prompt=True,
            max_new_tokens=[48, 31, 25, 12][seed],
            seed=seed,
            constraint=grammar,
        )
        wrong = [text for text in texts if not pattern.fullmatch(text)]
        assert not wrong, wrong[:3]
        lengths |= {text.count("<loc") for text in texts}
    # Several instances, one, and none.
    assert {0, 4, 8} <= lengths if segments != "always" else {0, 4} <= lengths
    task.compile()


@pytest.mark.two_backends("a small case of those above")
def test_the_choice_of_a_greedy_answer(task):
    inputs = {"prompts": ["ocr", "answer en what is the colour?"]}
    choices = ["a red ball", "blue", "small dog"]
    texts = task.generate(inputs, strip_prompt=True, constraint=Choices(choices))
    assert set(texts) <= set(choices)


@pytest.mark.two_backends("states are found in NumPy")
def test_a_given_beginning_is_of_the_grammar(task):
    inputs = {"prompts": "detect cat", "responses": "<loc0001><loc0002><loc0300>"}
    options = {"constraint": LocationGrammar(["cat"], "never"), "max_new_tokens": 9}
    text = task.generate(inputs, strip_prompt=True, **options)
    assert re.match(r"<loc\d{4}> cat", text)
    with pytest.raises(ValueError, match="begin an answer"):
        task.generate({**inputs, "responses": "<loc0001> cat"}, **options)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LocationGrammar([]), ValueError, "labels"),
        (lambda: LocationGrammar("cat"), ValueError, "list of texts"),
        (lambda: LocationGrammar(["cat", "cat"]), ValueError, "differ"),
        (lambda: LocationGrammar(["cat"], "some"), ValueError, "segments"),
        (lambda: LocationGrammar(["a ; b"]), ValueError, "semicolons"),
        (lambda: LocationGrammar(["a; b"]), ValueError, "semicolons"),
        (lambda: LocationGrammar(["a;b"]), ValueError, "semicolons"),
        (lambda: LocationGrammar(["a\u2581b"]), ValueError, "Write a space"),
        (lambda: Choices(["a\u2581b"]), ValueError, "Write a space"),
        (lambda: LocationGrammar(["<seg001>"]), ValueError, "mask"),
        (lambda: LocationGrammar(["cat\n"]), ValueError, "newlines"),
        (lambda: LocationGrammar(["a <eos>"]), ValueError, "<eos>"),
        (lambda: LocationGrammar(["\ud800"]), ValueError, "surrogate"),
        (lambda: Choices(["", "a"]), ValueError, "not empty"),
    ],
)
def test_grammars_of_bad_texts(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_bad_constraints(task):
    with pytest.raises(TypeError, match="LocationGrammar"):
        task.generate("ocr", constraint=["a", "b"])
    with pytest.raises(ValueError, match="shortest answer"):
        task.generate("ocr", constraint=Choices(["a person riding"]), max_new_tokens=2)
    with pytest.raises(ValueError, match="location tokens"):
        task.generate("ocr", constraint=LocationGrammar(["<loc0001>"]))
