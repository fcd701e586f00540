"""Metrics of captions beside pycocoevalcap, which brings the Java programs.

    python -m scripts.metric_checks.captions --rows 5000 --seed 0

names every caption that the Java tokenizer parts in another way.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from keras_pg2 import metrics
from keras_pg2.metrics.captions.ptb import tokenize
from keras_pg2.metrics.metric import Answer, Truth
from scripts.metric_checks.check import Check
from tests.support.metric_cases import draw_cases
from tests.support.metric_cases.captions import caption, changed

_BETWEEN = "zz zz"
"""A row after each, so that no row sees the next one."""


def java_texts(texts: Sequence[str]) -> list[str]:
    """Return the tokens of each text by pycocoevalcap's Java tokenizer, joined."""
    module = import_module("pycocoevalcap.tokenizer.ptbtokenizer")
    found = module.PTBTokenizer().tokenize(
        {i: [{"caption": text}] for i, text in enumerate(texts)}
    )
    return [found[i][0] for i in range(len(texts))]


def java_texts_alone(texts: Sequence[str]) -> list[str]:
    """Return the same, of each text by itself."""
    return java_texts([row for text in texts for row in (text, _BETWEEN)])[::2]


def _scorer(name: str) -> Any:
    module, _, called = name.rpartition(".")
    return getattr(import_module(f"pycocoevalcap.{module}"), called)


def _compute(scorer: Any, references: Any, answers: Any) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return scorer.compute_score(references, answers)


def _compare_on_tokens(random: np.random.Generator, count: int, name: str) -> float:
    """Return the difference from a scorer that is given our tokens."""
    cider = metrics.get("cider")
    cases = draw_cases("cider", random, count)
    rows = [cider.statistics(*case) for case in cases]
    references = {i: row["references"] for i, row in enumerate(rows)}
    answers = {i: [row["answer"]] for i, row in enumerate(rows)}
    metric = metrics.get(name)
    own = [metric.statistics(*case) for case in cases]
    figures, scores = metric.result(own), metric.scores(own)
    if name == "bleu":
        expected, all_scores = _compute(
            _scorer("bleu.bleu.Bleu")(4), references, answers
        )
        pairs = [(figures[f"bleu_{i + 1}"], expected[i]) for i in range(4)]
        expected_scores = all_scores[3]
    else:
        scorer = {
            "cider": "cider.cider.Cider",
            "rouge_l": "rouge.rouge.Rouge",
            "meteor": "meteor.meteor.Meteor",
        }[name]
        total, expected_scores = _compute(_scorer(scorer)(), references, answers)
        pairs = [(figures[name], total)]
    differences = [abs(a - b) for a, b in pairs]
    differences += np.abs(scores - np.array(expected_scores)).tolist()
    return max(differences)


def _compare_end_to_end(random: np.random.Generator, count: int) -> float:
    """Return the difference of CIDEr by our tokenizer from that by the Java one."""
    texts = [caption(random, 0.5) for _ in range(count)]
    groups = [[changed(random, text) for _ in range(6)] for text in texts]
    tokens = java_texts_alone([text for group in groups for text in group])
    groups_of_tokens = [tokens[i : i + 6] for i in range(0, len(tokens), 6)]
    references = {i: group[1:] for i, group in enumerate(groups_of_tokens)}
    answers = {i: group[:1] for i, group in enumerate(groups_of_tokens)}
    total, _ = _compute(_scorer("cider.cider.Cider")(), references, answers)
    metric = metrics.get("cider")
    rows = [
        metric.statistics(Answer(group[0]), Truth(answers=tuple(group[1:])))
        for group in groups
    ]
    return abs(metric.result(rows)["cider"] - total)


CHECKS = (
    *(
        Check(
            metric=name,
            oracle=f"pycocoevalcap {part} on our tokens",
            compare=lambda random, count, name=name: _compare_on_tokens(
                random, count, name
            ),
        )
        for name, part in (
            ("cider", "Cider"),
            ("bleu", "Bleu"),
            ("rouge_l", "Rouge"),
            ("meteor", "Meteor (Java)"),
        )
    ),
    Check(
        metric="cider",
        oracle="pycocoevalcap Cider with its Java tokenizer",
        compare=_compare_end_to_end,
    ),
)


def main() -> None:
    """Print the captions that the Java tokenizer parts in another way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    texts = [caption(random, 0.7) for _ in range(options.rows)]
    alone, together = java_texts_alone(texts), java_texts(texts)
    different = 0
    for text, expected in zip(texts, alone, strict=True):
        ours = " ".join(tokenize(text))
        if ours != expected:
            different += 1
            print(f"{text!r}\n  java {expected}\n  ours {ours}")
    beyond = sum(a != b for a, b in zip(alone, together, strict=True))
    print(
        f"{different} of {len(texts)} captions differ; Java parts {beyond} otherwise "
        "when another row follows."
    )


if __name__ == "__main__":
    main()
