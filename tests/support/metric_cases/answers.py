"""Drawn examples of metrics of short answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keras_pg2.metrics.metric import Answer, Truth
from tests.support.metric_cases import Draw

WORDS = (
    *("cat", "Two dogs", "dont know", "couldn'tve", "somebody'd", "'ows'at", "red", ""),
    *("left", "7", "none", "The Bank", "an apple", "ten", "yes", "no", "Yes", "1,000"),
    *("3.14", "a.m.", "St. Mary's", "blue/green", "well-known", "T-shirt", "é", "10 %"),
    *("7.", ".5", "e.g. this", "Im", "let's go", "a, b", "a ,b", "x-ray?", "20/20"),
)
MARKS = (*";/[]\"{}()=+\\_-><@`,?!.'", ". ", " -", "\n", "\t", "  ", " the ", ",5", "²")


def pick(random: np.random.Generator, values: Sequence[str]) -> str:
    """Return one of the values."""
    return values[int(random.integers(len(values)))]


def phrase(random: np.random.Generator) -> str:
    """Return a few words with marks between and in them."""
    pieces = [pick(random, WORDS) for _ in range(random.integers(1, 4))]
    text = " ".join(pieces)
    for _ in range(random.integers(0, 3)):
        at = int(random.integers(len(text) + 1))
        text = text[:at] + pick(random, MARKS) + text[at:]
    return text


def altered(random: np.random.Generator, text: str) -> str:
    """Return a text, often another one that is near it."""
    kind = random.integers(6)
    if kind == 0:
        return text.upper()
    if kind == 1:
        return f" {text}\n"
    if kind == 2:
        return phrase(random)
    if kind == 3 and text:
        at = int(random.integers(len(text)))
        return text[:at] + pick(random, MARKS) + text[at + 1 :]
    if kind == 4:
        return text[: int(random.integers(len(text) + 1))]
    return text


def texts(
    random: np.random.Generator, kinds: Sequence[str] = ("", "a", "b")
) -> tuple[Answer, Truth]:
    """Return an answer that is near one of one to four right ones."""
    right = tuple(phrase(random) for _ in range(random.integers(1, 5)))
    said = altered(random, pick(random, right))
    return Answer(said), Truth(answers=right, kind=pick(random, kinds))


def people(
    random: np.random.Generator, kinds: Sequence[str] = ("yes/no", "number", "other")
) -> tuple[Answer, Truth]:
    """Return an answer beside those of ten people, who agree more or less."""
    said = [phrase(random) for _ in range(random.integers(1, 5))]
    right = [pick(random, said) for _ in range(10)]
    if random.integers(3):
        right = [altered(random, text) for text in right]
    answer = altered(random, pick(random, said))
    return Answer(answer), Truth(answers=tuple(right), kind=pick(random, kinds))


def vqa(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return an answer beside those of ten people, or a single one."""
    if random.integers(4):
        return people(random)
    answer, truth = texts(random)
    return answer, replace(truth, answers=truth.answers[:1])


def _number(random: np.random.Generator, value: float) -> str:
    shown = f"{value:.{random.integers(0, 4)}f}"
    return f"{value * 100:g}%" if random.integers(4) == 0 else shown


def chart(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return a number near the right one, or a text."""
    kind = pick(random, ("human", "augmented"))
    if random.integers(3) == 0:
        answer, truth = texts(random)
        return answer, Truth(answers=truth.answers[:1], kind=kind)
    value = float(random.choice([0, 1, -2, 7.5, 2019, 0.35, 40, 1e-3]))
    said = value * (1 + random.choice([0, 0.03, 0.05, -0.05, 0.0501, 0.2]))
    shown = _number(random, said) if random.integers(8) else pick(random, WORDS)
    return Answer(shown), Truth(answers=(_number(random, value),), kind=kind)


def satellite(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return an answer to a question of one of RSVQA's types."""
    kinds = ("comp", "count", "presence", "rural_urban", "area")
    answer, truth = texts(random, kinds)
    return Answer(altered(random, answer.text)), truth


def choice(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return a letter in ScienceQA's words, or other words."""
    letters = ("A", "B", "C")
    said = pick(random, letters)
    shown = pick(
        random,
        (
            *(f"The answer is {said}.",) * 3,
            f"the answer is {said.lower()}. BECAUSE",
            f"The answer is {said}",
            said,
            f"I say: the answer is {said}.",
        ),
    )
    right = f"The answer is {pick(random, letters)}."
    return Answer(shown), Truth(answers=(right,), kind=pick(random, ("NAT", "SOC")))


def count(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return a number in digits or as a word."""
    numbers = (
        "0",
        "1",
        "2",
        "twelve",
        "Twenty",
        "none",
        "zero",
        "two",
        "Two",
        "21",
        "",
    )
    right = str(random.integers(0, 3))
    kind = pick(random, ("simple", "complex"))
    return Answer(pick(random, numbers)), Truth(answers=(right,), kind=kind)


def presence(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return yes or no to a question of one of POPE's kinds, or another answer."""
    said = pick(
        random, ("yes", "no", "Yes", "No", "YES", "no ", "there is", "not. yes")
    )
    if random.integers(6) == 0:
        said = pick(
            random, ("No, there is not.", "Yes. No.", "nothing", "", "no,thing")
        )
    right = pick(random, ("yes", "no"))
    kind = pick(random, ("random", "popular", "adversarial"))
    return Answer(said), Truth(answers=(right,), kind=kind)


def likelihood(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return a right answer with its probability."""
    _, truth = texts(random)
    tokens = int(random.integers(1, 20))
    nll = float(random.gamma(2.0, 0.4, tokens).sum())
    return Answer(truth.answers[-1], log_probability=-nll, num_tokens=tokens), truth


def sure(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return an answer that is right as often as its probability says, or less."""
    probability = float(random.choice([random.uniform(), random.integers(0, 16) / 15]))
    is_right = random.uniform() < probability**1.3
    answer = "cat" if is_right else "dog"
    if random.integers(2) and probability > 0:
        given = Answer(answer, log_probability=float(np.log(probability)))
    else:
        given = Answer(answer, log_probability=-0.1, probability=probability)
    return given, Truth(answers=("Cat",))


CASES: Mapping[str, Draw] = {
    "exact_match": texts,
    "exact_match_lower": texts,
    "vqa_accuracy": vqa,
    "vqav2_accuracy": people,
    "anls": texts,
    "anls_case_sensitive": texts,
    "anls_rrc": texts,
    "relaxed_accuracy": chart,
    "rsvqa_accuracy": satellite,
    "science_qa_accuracy": choice,
    "tallyqa_accuracy": count,
    "pope": presence,
    "pope_words": presence,
    "perplexity": likelihood,
    "ece": sure,
}
