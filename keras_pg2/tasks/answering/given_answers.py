"""How probable given answers are: each prompt's own, and rows of them into a file.

Axes: B batch, R tokens of an answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from keras import ops

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.generation import rows as token_rows
from keras_pg2.generation.compilation import (
    CompiledFunctions,
    bucket_length,
    bucket_text,
)
from keras_pg2.generation.scoring import score_responses
from keras_pg2.preprocessing.images import load_rgb
from keras_pg2.tasks.answering.answers import ScoredAnswer
from keras_pg2.tasks.answering.finite_check import check_finite
from keras_pg2.tasks.answering.prediction_rows import Row, read_rows
from keras_pg2.tasks.answering.predictions import count_images
from keras_pg2.tasks.answering.recorded_answers import (
    Numbered,
    Predictions,
    Record,
    describe,
    record_answers,
)
from keras_pg2.tasks.answering.requests import AnsweringModel, Inputs, preprocess


class ScoringModel(AnsweringModel, Protocol):
    """What scoring knows of a `PaliGemma2CausalLM`."""

    def score(self, inputs: Inputs, answers: Sequence[str]) -> list[ScoredAnswer]:
        """Return how probable an answer to each prompt is."""


def score_given(
    model: AnsweringModel,
    functions: CompiledFunctions,
    inputs: Inputs,
    answers: Sequence[str],
) -> list[ScoredAnswer]:
    """Return probabilities of an answer to each prompt; see `PaliGemma2CausalLM.score`.

    Raises:
        TypeError, ValueError: if inputs are bad, the model has no preprocessor, or
            there is another number of answers than of prompts.
        FloatingPointError: if the network computes NaN or infinity.
    """
    if model.preprocessor is None:
        raise ValueError(
            "Expected a model with a preprocessor, to make tokens of the answers. "
            "Received: preprocessor=None."
        )
    arrays, _ = preprocess(model, inputs, None)
    if arrays["response_mask"].any():
        raise ValueError("Expected no responses together with answers.")
    count = len(arrays["token_ids"])
    is_list = isinstance(answers, Iterable) and not isinstance(answers, str)
    texts: list[Any] = list(answers) if is_list else [answers]
    if len(texts) != count:
        raise ValueError(
            f"Expected an answer to each of {count} prompts, received {len(texts)}."
        )
    tokenizer = model.preprocessor.tokenizer
    tokens = [
        np.array([*row, tokenizer.end_token_id], np.int32)
        for row in tokenizer.tokenize(texts)
    ]
    padded = token_rows.pad_to_bucket(arrays)
    longest = bucket_length(max(map(len, tokens)))
    given = np.zeros((len(padded["token_ids"]), longest), np.int32)
    for i, row in enumerate(tokens):
        given[i, : len(row)] = row
    run = functions.get(score_responses)
    scores = ops.convert_to_numpy(run(padded, given))[:count]
    found = [scores[i, : len(row)] for i, row in enumerate(tokens)]
    check_finite(
        model.backbone, arrays, np.array([np.isfinite(row).all() for row in found])
    )
    return [
        ScoredAnswer(
            text=text,
            log_probability=float(row.sum(dtype=np.float64)),
            token_ids=ids,
            token_log_probabilities=row,
        )
        for text, ids, row in zip(texts, tokens, found, strict=True)
    ]


def predict_given(
    model: ScoringModel,
    source: Iterable[Mapping[str, Any]],
    answers: Sequence[str],
    output: str | os.PathLike[str] | None = None,
    *,
    batch_size: int = 8,
    show_progress: bool = True,
) -> Predictions:
    """Record how probable the right answers are, as `predict` records a model's own.

    `text` of a record is the given answer, `log_probability` and `num_tokens` are its.

    Args:
        model: A `PaliGemma2CausalLM` with a preprocessor.
        source: Rows as for `predict`, each with an id of its own.
        answers: The answer of each row.
        output: As for `predict`.
        batch_size: As for `predict`.
        show_progress: As for `predict`.

    Raises:
        TypeError, ValueError, BlockingIOError, OSError, FloatingPointError: as
            `predict`.
    """
    check_at_least_one("batch_size", batch_size)
    rows, total = read_rows(source, None)
    read = list(rows)
    given = {row.key: text for row, text in zip(read, answers, strict=True)}
    answerer = _GivenAnswerer(model, given, batch_size)
    return record_answers(answerer, read, total, output, show_progress)


@dataclass(frozen=True)
class _GivenAnswerer:
    """Scores given answers.

    Attributes:
        model: The model.
        given: The answer of each row, by the row's key.
        batch_size: Rows that go through the network together.
    """

    model: ScoringModel
    given: Mapping[tuple[str, str], str]
    batch_size: int

    def shape(self, row: Row) -> tuple[int, int, int]:
        """Return number of pictures, and the buckets of prompt and answer."""
        preprocessor = self.model.preprocessor
        assert preprocessor is not None
        length = int(preprocessor.prepare_prompts([row.prompt])["padding_mask"].sum())
        [tokens] = preprocessor.tokenizer.tokenize([self.given[row.key]])
        return (
            count_images(row.images),
            bucket_text(length, self.batch_size),
            bucket_length(len(tokens) + 1),
        )

    def answer(
        self, batches: Iterator[list[Numbered]]
    ) -> Iterator[list[tuple[int, Record]]]:
        """Yield the records of each batch."""
        for batch in batches:
            good, records = apart(batch)
            if good:
                asked: dict[str, list[Any]] = {
                    "prompts": [row.prompt for _, row in good]
                }
                if count_images(good[0][1].images):
                    asked["images"] = [row.images for _, row in good]
                answers = [self.given[row.key] for _, row in good]
                for (number, row), scored in zip(
                    good, self.model.score(asked, answers)
                ):
                    record = {
                        **describe(row),
                        "text": scored.text,
                        "log_probability": round(scored.log_probability, 4),
                        "num_tokens": len(scored.token_ids),
                    }
                    records.append((number, record))
            yield records


def apart(batch: list[Numbered]) -> tuple[list[Numbered], list[tuple[int, Record]]]:
    """Return the rows whose pictures can be decoded, and records of the others."""
    good: list[Numbered] = []
    records: list[tuple[int, Record]] = []
    for number, row in batch:
        several = row.images if isinstance(row.images, list | tuple) else [row.images]
        try:
            for picture in several:
                if picture is not None:
                    load_rgb(picture, size=(1, 1))
        except (TypeError, ValueError, OSError) as error:
            records.append((number, {**describe(row), "error": str(error)}))
        else:
            good.append((number, row))
    return good, records
