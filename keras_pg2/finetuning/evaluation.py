"""How good a model is on rows: loss and token accuracy, and its own answers scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from keras_pg2.datasets.loading import RowBatches
from keras_pg2.datasets.rows import Row, columns
from keras_pg2.evaluation.asking import LIKELIHOOD_METRICS, make_plan
from keras_pg2.evaluation.evaluating import evaluate_plan
from keras_pg2.evaluation.rows import examples_of
from keras_pg2.preprocessing.image_converter import resized_with
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.answering.requests import Batch

_SPARE_TOKENS = 8


class Sample(NamedTuple):
    """What is shown of an evaluation."""

    prompt: str
    truth: str
    answer: str


class Evaluation(NamedTuple):
    """Scores on evaluation rows.

    Attributes:
        loss: mean cross-entropy of an example's response tokens, then over examples
            (where the model was compiled by a run), without label smoothing.
        accuracy: share of response tokens that are the likeliest.
        score: the metric's first figure.
        figures: all of the metric's figures, by name.
        samples: some answers.
    """

    loss: float
    accuracy: float
    score: float
    figures: dict[str, float]
    samples: tuple[Sample, ...]


def evaluate(
    model: PaliGemma2CausalLM,
    rows: Sequence[Row],
    metric: str,
    batch_size: int,
    num_samples: int = 3,
    num_beams: int = 1,
    antialias: bool | None = None,
) -> Evaluation:
    """Evaluates a compiled model.

    Args:
        model: a `PaliGemma2CausalLM` with a preprocessor.
        rows: of images, prompts, responses.
        metric: a name of `metrics.get`.
        batch_size: rows at a time.
        num_samples: answers to keep; spread over the rows.
        num_beams: beams of the search; 1 takes the likeliest tokens.
        antialias: whether pictures are resized with it; None for as the model does.

    Raises:
        OSError: if a picture cannot be read any more.
    """
    batches = RowBatches(rows, batch_size, shuffle=False)
    assert model.preprocessor is not None
    with resized_with(model.preprocessor.image_converter, antialias):
        losses = model.evaluate(batches, verbose=0, return_dict=True)
    assert isinstance(losses, dict)
    room = _room(model, rows)
    plan = make_plan(examples_of(rows), metric, antialias=antialias)
    if plan.mode == "answer":  # Other answers have the form and length they need.
        plan = replace(plan, num_beams=num_beams, max_new_tokens=room)
    found = evaluate_plan(
        model, plan, batch_size=batch_size, num_draws=0, show_progress=False
    )
    if found.failures:
        failure = found.failures[0]
        raise OSError(f"Row {failure.id} to evaluate on: {failure.error}")
    spread = np.linspace(0, len(rows) - 1, num_samples).astype(int)
    indices = np.unique(spread).tolist()
    shown = [rows[i] for i in indices]
    texts = [found.outcomes[i].answer.text for i in indices]
    if metric in LIKELIHOOD_METRICS and shown:
        # Those are the right ones.
        asked = columns(shown)
        inputs: Batch = {"images": asked["images"], "prompts": asked["prompts"]}
        texts = model.generate(inputs, max_new_tokens=room, strip_prompt=True)
    samples = tuple(
        Sample(row["prompts"], row["responses"], text)
        for row, text in zip(shown, texts, strict=True)
    )
    return Evaluation(
        loss=float(losses["loss"]),
        accuracy=float(losses["accuracy"]),
        score=found.figures[metric],
        figures=dict(found.figures),
        samples=samples,
    )


def _room(model: PaliGemma2CausalLM, rows: Sequence[Row]) -> int:
    """Return a few tokens more than the longest truth has."""
    assert model.preprocessor is not None
    truths = model.preprocessor.tokenizer.tokenize([row["responses"] for row in rows])
    return max(len(truth) for truth in truths) + _SPARE_TOKENS
