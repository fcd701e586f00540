"""From requests to answers: whole ones, streamed ones, and given ones.

Axes: B batch, N new tokens, A choices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_pg2.codecs.grammars import Choices
from keras_pg2.generation import rows
from keras_pg2.generation.answer_trees import Branches, join_trees
from keras_pg2.generation.compilation import CompiledFunctions
from keras_pg2.generation.decoding import Generated, Plan, embed_images
from keras_pg2.generation.samplers import BeamSearch, Sampler
from keras_pg2.generation.scoring import score_trees
from keras_pg2.generation.session import Session
from keras_pg2.modeling.backbone import with_image_axis
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.answering.answers import (
    Answers,
    TextStream,
    as_stop_strings,
    cut_answers,
    cut_at,
    decode_answers,
    scored_answers,
)
from keras_pg2.tasks.answering.finite_check import check_finite
from keras_pg2.tasks.answering.requests import (
    AnsweringModel,
    EncodedImages,
    Images,
    Inputs,
    Options,
    Prepared,
    prepare,
    preprocess,
)

TOKENS_BETWEEN_LOOKS = 8
"""How often generated text is searched for stop strings."""


def read_answers(
    model: AnsweringModel,
    prepared: Prepared,
    answers: Generated,
    stop_strings: tuple[str, ...] = (),
    strip_prompt: bool = True,
    return_scores: bool = False,
) -> Answers:
    """Turn generated tokens into what `PaliGemma2CausalLM.generate` returns.

    Raises:
        FloatingPointError: if the network computed NaN or infinity.
    """
    preprocessor = model.preprocessor
    batch_size = len(prepared.arrays["token_ids"])
    answers = Generated(*(ops.convert_to_numpy(part)[:batch_size] for part in answers))
    check_finite(model.backbone, prepared.arrays, answers.is_finite)
    # A scored text is of the tokens that are scored.
    strip_prompt = strip_prompt or (return_scores and preprocessor is not None)
    result = rows.join_rows(prepared.arrays, answers, strip_prompt)
    if preprocessor is None:
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


def answer_with_scores(
    model: AnsweringModel, inputs: Inputs, options: Options
) -> Answers:
    """Return `ScoredAnswer`s of prompts, as `PaliGemma2CausalLM.generate`."""
    prepared = prepare(model, inputs, options)
    generated = model.make_generate_function(with_scores=True)(prepared.request)
    return read_answers(model, prepared, generated, return_scores=True)


def generate_until(
    session: Session,
    preprocessor: PaliGemma2CausalLMPreprocessor,
    stop_strings: tuple[str, ...],
) -> Generated:
    """Run a session to its end, looking for stop strings every few tokens."""
    while True:
        answers = session.answers
        cut = cut_answers(preprocessor, answers, stop_strings)
        session.stop(cut.num_generated < answers.num_generated)
        if session.is_done.all():
            return cut
        session.advance(TOKENS_BETWEEN_LOOKS)


def stream(
    functions: CompiledFunctions,
    plan: Plan,
    prepared: Prepared,
    preprocessor: PaliGemma2CausalLMPreprocessor,
    stop_strings: tuple[str, ...],
) -> Iterator[str | list[str]]:
    """Yield the new text after each token; see `PaliGemma2CausalLM.stream`."""

    def decode(token_ids: np.ndarray) -> str:
        mask = np.ones(len(token_ids), bool)
        row = {"token_ids": token_ids, "padding_mask": mask}
        return preprocessor.generate_postprocess(row)[0]

    count = len(prepared.arrays["token_ids"])
    streams = [TextStream(decode, stop_strings) for _ in range(count)]
    session = Session(functions, plan, prepared.request)
    was_done = np.zeros(count, bool)
    while True:
        answers, is_done = session.answers, session.is_done[:count]
        check_finite(functions.backbone, prepared.arrays, answers.is_finite[:count])
        pieces = [""] * count
        for row in np.flatnonzero(~was_done):
            tokens = answers.tokens[row, : answers.num_generated[row]]
            pieces[row] = streams[row].push(tokens, bool(is_done[row]))
        yield pieces if prepared.is_batched else pieces[0]
        was_done = is_done | [text.is_stopped for text in streams]
        if was_done.all():
            return
        session.advance(1)


def check_no_beams(sampler: Sampler | BeamSearch, name: str) -> None:
    """Raise ValueError if the sampler knows its answer only in the end."""
    if isinstance(sampler, BeamSearch):
        raise ValueError(
            f"Expected a sampler without beams for {name}: beam search knows its "
            f"answer only in the end. Received: {sampler}. Call "
            'compile(sampler="greedy") first.'
        )


def check_stop_strings(
    model: AnsweringModel, stop_strings: str | Sequence[str] | None
) -> tuple[str, ...]:
    """Return stop strings as a tuple; raise ValueError if the model cannot stop."""
    stops = as_stop_strings(stop_strings)
    if stops:
        check_no_beams(model.sampler, "stop_strings")
        if model.preprocessor is None:
            raise ValueError(
                "Expected a model with a preprocessor together with stop_strings, "
                "to make text of tokens. Received: preprocessor=None. Pass "
                "stop_token_ids."
            )
    return stops


def encode_images(
    model: AnsweringModel, functions: CompiledFunctions, images: Images
) -> EncodedImages:
    """Return the image tokens of pictures; see `PaliGemma2CausalLM.encode_images`."""
    inputs = {"images": images, "prompts": ""}
    if isinstance(images, list | tuple):
        inputs = {"images": list(images), "prompts": [""] * len(images)}
    if model.preprocessor is not None:
        images = model.preprocessor.prepare_prompts(inputs)["images"]
    arrays = with_image_axis({"images": ops.convert_to_numpy(images)})
    count = len(arrays["images"])
    padded = rows.pad_rows(arrays["images"].astype(np.float32))
    run = functions.get(embed_images)
    # A copy, as PyTorch could not train on what it has computed without gradients.
    return EncodedImages(ops.copy(run(padded)[:count]))


def choose(
    model: AnsweringModel,
    functions: CompiledFunctions,
    inputs: Inputs,
    choices: Sequence[str],
) -> dict[str, float] | list[dict[str, float]]:
    """Return probabilities of some answers; see `PaliGemma2CausalLM.choose`."""
    if model.preprocessor is None:
        raise ValueError(
            "Expected a model with a preprocessor, to make tokens of the choices. "
            "Received: preprocessor=None."
        )
    is_list = isinstance(choices, Iterable) and not isinstance(choices, str)
    grammar = Choices(tuple(choices) if is_list else choices)
    tokens = grammar.tokens(model.preprocessor.tokenizer)
    arrays, is_batched = preprocess(model, inputs, None)
    if arrays["response_mask"].any():
        raise ValueError("Expected no responses together with choices.")
    trees = [tokens] * len(arrays["token_ids"])
    results = []
    for totals in answer_log_probabilities(functions, arrays, trees):
        weights = np.exp(totals - totals.max())
        row = weights / weights.sum()
        order = np.argsort(-row, kind="stable")
        results.append({grammar.texts[i]: float(row[i]) for i in order})
    return results if is_batched else results[0]


def answer_log_probabilities(
    functions: CompiledFunctions,
    arrays: dict[str, np.ndarray],
    answers: Sequence[Sequence[Sequence[int]]],
    image_index: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Return the log-probability of each of some answers to each prompt.

    Args:
        functions: Compiled functions of a `PaliGemma2CausalLM`.
        arrays: B preprocessed prompts.
        answers: For each prompt the tokens of each answer, the end token included.
        image_index: int32[B], which of `image_embeddings` each prompt is about; None
            for its own, or the only one.

    Returns:
        For each prompt float64[A], natural logarithms, summed over the tokens of an
        answer.

    Raises:
        FloatingPointError: if the network computes NaN or infinity.
    """
    inputs = rows.pad_to_bucket(arrays)
    num_rows = len(inputs["token_ids"])
    if image_index is not None:
        padding = (0, num_rows - len(image_index))
        inputs["image_index"] = np.pad(image_index, padding).astype(np.int32)
    trees = [Branches(each) for each in answers]
    run = functions.get(score_trees)
    scores = ops.convert_to_numpy(run(inputs, join_trees(trees, num_rows)))
    totals = [
        np.array([row[path].sum() for path in tree.paths])
        for row, tree in zip(scores.astype(np.float64), trees)
    ]
    is_finite = np.array([np.isfinite(each).all() for each in totals])
    check_finite(functions.backbone, arrays, is_finite)
    return totals
