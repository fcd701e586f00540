"""Running prepared requests: whole answers, streamed ones, and given ones.

Axes: B batch, N new tokens, A choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_pg2.generation import rows
from keras_pg2.generation.compilation import bucket_length
from keras_pg2.generation.decoding import Generated, Plan
from keras_pg2.generation.scoring import score_answers
from keras_pg2.generation.session import Session
from keras_pg2.tasks.answering.answers import (
    TextStream,
    cut_answers,
    cut_at,
    decode_answers,
    scored_answers,
)
from keras_pg2.tasks.answering.requests import Prepared

TOKENS_BETWEEN_LOOKS = 8
"""How often generated text is searched for stop strings."""


def answer(
    model: Any,
    prepared: Prepared,
    stop_strings: tuple[str, ...] = (),
    strip_prompt: bool = True,
    return_scores: bool = False,
) -> Any:
    """Runs a request to its end; see `PaliGemma2CausalLM.generate`."""
    preprocessor = model.preprocessor
    if stop_strings:
        answers = _generate_until(model, prepared, stop_strings, return_scores)
    else:
        answers = model.make_generate_function(return_scores)(prepared.request)
    batch_size = len(prepared.arrays["token_ids"])
    answers = Generated(*(ops.convert_to_numpy(part)[:batch_size] for part in answers))
    has_text = preprocessor is not None
    # A scored text is of the tokens that are scored.
    strip_prompt = strip_prompt or (return_scores and has_text)
    result = rows.join_rows(prepared.arrays, answers, strip_prompt)
    if not has_text:
        if not return_scores:
            del result["log_probabilities"]
        return result
    texts: list[Any] = preprocessor.generate_postprocess(result)
    if stop_strings:
        own = decode_answers(preprocessor, answers)
        texts = [
            text[: len(text) - len(new) + len(cut_at(new, stop_strings))]
            for text, new in zip(texts, own, strict=True)
        ]
    if return_scores:
        texts = scored_answers(texts, answers)
    return texts if prepared.is_batched else texts[0]


def _generate_until(
    model: Any, prepared: Prepared, stop_strings: tuple[str, ...], with_scores: bool
) -> Generated:
    """Looks for the stop strings every few tokens."""
    plan = Plan(model.sampler.structure, with_scores)
    session = Session(model.functions, plan, prepared.request)
    while True:
        answers = session.answers
        cut = cut_answers(model.preprocessor, answers, stop_strings)
        session.stop(cut.num_generated < answers.num_generated)
        if session.is_done.all():
            return cut
        session.advance(TOKENS_BETWEEN_LOOKS)


def stream(
    model: Any, prepared: Prepared, stop_strings: tuple[str, ...]
) -> Iterator[Any]:
    """Gives the new text after each token; see `PaliGemma2CausalLM.stream`."""
    # The sampler of now, whose noise the request has.
    return _stream(model, Plan(model.sampler.structure), prepared, stop_strings)


def _stream(
    model: Any, plan: Plan, prepared: Prepared, stop_strings: tuple[str, ...]
) -> Iterator[Any]:
    def decode(token_ids: np.ndarray) -> str:
        mask = np.ones(len(token_ids), bool)
        row = {"token_ids": token_ids, "padding_mask": mask}
        return model.preprocessor.generate_postprocess(row)[0]

    count = len(prepared.arrays["token_ids"])
    streams = [TextStream(decode, stop_strings) for _ in range(count)]
    session = Session(model.functions, plan, prepared.request)
    was_done = np.zeros(count, bool)
    while True:
        answers, is_done = session.answers, session.is_done[:count]
        pieces = [""] * count
        for row in np.flatnonzero(~was_done):
            tokens = answers.tokens[row, : answers.num_generated[row]]
            pieces[row] = streams[row].push(tokens, bool(is_done[row]))
        yield pieces if prepared.is_batched else pieces[0]
        was_done = is_done | [text.is_stopped for text in streams]
        if was_done.all():
            return
        session.advance(1)


def choice_probabilities(
    model: Any, arrays: dict[str, np.ndarray], answers: Sequence[Sequence[int]]
) -> np.ndarray:
    """How probable each of some answers is among them.

    Args:
        model: the `PaliGemma2CausalLM`.
        arrays: B preprocessed prompts.
        answers: the tokens of each, the end token included.

    Returns:
        float64[B, A], rows that add up to 1.
    """
    totals = answer_log_probabilities(model, arrays, answers)
    weights = np.exp(totals - totals.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def answer_log_probabilities(
    model: Any, arrays: dict[str, np.ndarray], answers: Sequence[Sequence[int]]
) -> np.ndarray:
    """The log-probability of each of some answers to each prompt.

    Args:
        model: the `PaliGemma2CausalLM`.
        arrays: B preprocessed prompts.
        answers: the tokens of each, the end token included.

    Returns:
        float64[B, A], natural logarithms, summed over the tokens of an answer.
    """
    lengths = np.array([len(row) for row in answers])
    # Both sizes in buckets; what fills them does not count.
    shape = (rows.bucket_rows(len(answers)), bucket_length(int(lengths.max())))
    token_ids = np.zeros(shape, np.int32)
    for i, row in enumerate(answers):
        token_ids[i, : len(row)] = row
    run = model.functions.get(score_answers)
    scores = ops.convert_to_numpy(run(rows.pad_to_bucket(arrays), token_ids))
    scores = scores[: len(arrays["token_ids"]), : len(answers)].astype(np.float64)
    is_own = np.arange(shape[1]) < lengths[:, None]
    return np.where(is_own, scores, 0.0).sum(axis=2)
