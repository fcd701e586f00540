"""Logits of exported files held to those of the model they came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_pg2.deploy.runners.runner import ExportedModel

LOWEST_CORRELATION = {None: 0.99999, "float16": 0.999, "int8": 0.95, "int4": 0.8}
"""Of logits with the model's, at any token, by quantization; of whole numbers in a
network of up to 8 layers."""
LARGEST_DIFFERENCE = {None: 1e-3, "float16": 0.01, "int8": 0.5, "int4": 1.0}
"""Of two logits, as a share of the model's largest, likewise."""
_NUM_LAYERS = 8
OF_HALF = (0.99, 0.1)
"""Both where the model itself computes in 16 bits, and the file in 32."""
NUM_ANSWER_TOKENS = 4


@dataclass(frozen=True)
class LogitComparison:
    """Logits of files beside the model's, over some tokens.

    Attributes:
        num_tokens: how many, at prefill and at decoding.
        largest_difference: of two logits.
        largest_logit: of the model's, to compare with.
        lowest_correlation: of all logits of a token with the model's.
        num_same_choice: tokens at which the likeliest next one is the same.
    """

    num_tokens: int
    largest_difference: float
    largest_logit: float
    lowest_correlation: float
    num_same_choice: int

    def __str__(self) -> str:
        return (
            f"logits differ by at most {self.largest_difference:.2g} (of "
            f"{self.largest_logit:.2g}), correlate by at least "
            f"{self.lowest_correlation:.6f}; {self.num_same_choice} of "
            f"{self.num_tokens} greedy choices are the same"
        )


def compare_with_model(
    model: Any,
    runner: ExportedModel,
    counts: Sequence[int],
    total: int,
    num_answer: int,
    seed: int,
) -> LogitComparison:
    """Runs random pictures and tokens through files and through their model.

    The model computes them in one pass without a cache, so that what the files do with
    theirs is not taken for granted.

    Args:
        model: the `PaliGemma2CausalLM` that was exported.
        runner: of its files.
        counts: tokens of prompts, each with an answer after it.
        total: tokens that the model is given, padding included: of one length, as it
            is compiled for each on some backends.
        num_answer: tokens of answers.
        seed: of the random inputs.
    """
    rng = np.random.default_rng(seed)
    size, backbone = runner.manifest["image_size"], model.backbone
    inputs = [
        (
            rng.uniform(-1, 1, (1, size, size, 3)).astype(np.float32),
            rng.integers(0, backbone.vocabulary_size, count + num_answer),
            count,
        )
        for count in counts
    ]
    # One after the other: a large model and its files need much memory to compute.
    ours = [model_logits(backbone, *each, total) for each in inputs]
    theirs = [
        _file_logits(runner, images, token_ids.tolist(), count)
        for images, token_ids, count in inputs
    ]
    return compare(np.concatenate(ours), np.concatenate(theirs))


def check_comparison(
    comparison: LogitComparison, quantization: str | None, backbone: Any, name: str
) -> None:
    """Raises ValueError when logits differ by more than a quantization explains.

    Args:
        comparison: of a file with its model.
        quantization: of the file.
        backbone: of the model; says how many layers' rounding adds up, and the dtype
            that it computes in.
        name: of the file, for the message.
    """
    lowest, largest = bounds(quantization, backbone.text_decoder.num_layers)
    if backbone.compute_dtype != "float32":
        lowest, largest = min(lowest, OF_HALF[0]), max(largest, OF_HALF[1])
    limit = largest * comparison.largest_logit
    # Written so that NaN is no agreement.
    if not (
        comparison.lowest_correlation >= lowest
        and comparison.largest_difference <= limit
    ):
        advice = (
            "The files may be of another model, or of this one with another adapter: "
            "export it again. "
        )
        if quantization:
            advice += "Else export with less quantization."
        else:
            advice += "Where a new export is as far off, please tell us."
        raise ValueError(
            f"Expected the logits of {name!r} (quantization={quantization!r}) to "
            f"correlate with the model's by at least {lowest:.5g}, and to differ by at "
            f"most {limit:.2g}. Received: {comparison}. {advice}"
        )


def bounds(quantization: str | None, num_layers: int) -> tuple[float, float]:
    """The lowest correlation and the largest difference, for float32 models.

    What whole numbers round off is noise that each layer adds to. Random networks of 8
    and 26 layers (width 768, int8 of LiteRT) correlated by 0.991 and 0.968: noise that
    grows as the number of layers, a correlation being 1 / sqrt(1 + noise / signal) of
    their powers.
    """
    lowest, largest = LOWEST_CORRELATION[quantization], LARGEST_DIFFERENCE[quantization]
    if quantization in ("int8", "int4"):
        growth = max(1.0, num_layers / _NUM_LAYERS)
        lowest = 1 / math.sqrt(1 + growth * (1 / lowest**2 - 1))
        largest *= math.sqrt(growth)
    return lowest, largest


def model_logits(
    backbone: Any, images: np.ndarray, token_ids: np.ndarray, count: int, total: int
) -> np.ndarray:
    """float32[1 + answer, V], after the prompt and after each token of the answer."""
    place = np.arange(total)[None]
    hidden = backbone(
        {
            "images": images,
            "token_ids": np.resize(token_ids, (1, total)).astype(np.int32),
            "padding_mask": place < len(token_ids),
            "response_mask": (place >= count) & (place < len(token_ids)),
        }
    )
    first = backbone.num_image_tokens + count - 1
    end = backbone.num_image_tokens + len(token_ids)
    hidden = ops.convert_to_numpy(hidden)[0, first:end]
    return ops.convert_to_numpy(backbone.project_to_vocabulary(hidden))


def _file_logits(
    runner: ExportedModel, images: np.ndarray, token_ids: Sequence[int], count: int
) -> np.ndarray:
    features = runner.encode_pixels(images)
    logits, state = runner.prefill(features, token_ids[:count])
    rows = [logits]
    for token in token_ids[count:]:
        logits, state = runner.decode(token, state)
        rows.append(logits)
    return np.stack(rows)


def compare(ours: np.ndarray, theirs: np.ndarray) -> LogitComparison:
    """Compares the model's logits float32[T, V] with a file's."""
    correlations = [
        np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1]
        for a, b in zip(ours, theirs)
    ]
    return LogitComparison(
        num_tokens=len(ours),
        largest_difference=float(np.abs(ours - theirs).max()),
        largest_logit=float(np.abs(ours).max()),
        lowest_correlation=float(np.min(correlations)),
        num_same_choice=int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum()),
    )
