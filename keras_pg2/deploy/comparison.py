"""Logits of exported files held to those of the model they came from."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from keras import ops

from keras_pg2.deploy.runners.litert import LiteRTModel
from keras_pg2.deploy.runners.onnx import ONNXModel
from keras_pg2.deploy.runners.runner import ExportedModel
from keras_pg2.modeling import PaliGemma2Backbone
from keras_pg2.tasks import PaliGemma2CausalLM

LOWEST_CORRELATION = {None: 0.99999, "float16": 0.999, "int8": 0.95, "int4": 0.8}
"""Of logits with the model's, at any token, by quantization; of whole numbers in a
network of up to 8 layers."""
LARGEST_DIFFERENCE = {None: 1e-3, "float16": 0.01, "int8": 0.5, "int4": 1.0}
"""Of two logits, as a share of the model's largest, likewise."""
_NUM_LAYERS = 8
HALF_PRECISION_BOUNDS = (0.99, 0.1)
"""Both if the model itself computes in 16 bits, and the file in 32."""
NUM_ANSWER_TOKENS = 4
ONNX_PROMPT_LENGTHS = (3, 12)

Example = tuple[np.ndarray, np.ndarray, int]
"""Images float32[1, h, w, 3] in [-1, 1], integer token ids, and how many of them are
the prompt's; the others are the answer's."""


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


def verify_litert(
    model: PaliGemma2CausalLM, directory: str | os.PathLike[str], seed: int = 0
) -> LogitComparison:
    """Compare LiteRT files with their model on random pictures and tokens.

    Every prefill length gets a prompt that fills it and one that does not, each with
    some answer tokens after it.

    Args:
        model: The model that was exported.
        directory: Directory that `export_litert` wrote.
        seed: Seed for the random inputs.

    Raises:
        ValueError: if logits differ by more than the files' quantization explains.
        FileNotFoundError, ImportError: as `LiteRTModel`.
    """
    runner = LiteRTModel(directory)
    lengths = runner.manifest["prefill_lengths"]
    cache_left = runner.manifest["cache_length"] - model.backbone.num_image_tokens
    num_answer = min(NUM_ANSWER_TOKENS, cache_left - lengths[-1])
    counts = [n for length in lengths for n in sorted({max(length - 3, 1), length})]
    return _verify(model, runner, os.fspath(directory), counts, num_answer, seed)


def verify_onnx(
    model: PaliGemma2CausalLM, directory: str | os.PathLike[str], seed: int = 0
) -> LogitComparison:
    """Compare ONNX files with their model on random pictures and tokens.

    Args:
        model: The model that was exported.
        directory: Directory that `export_onnx` wrote.
        seed: Seed for the random inputs.

    Raises:
        ValueError: if logits differ by more than the files' quantization explains.
        FileNotFoundError, ImportError: as `ONNXModel`.
    """
    runner, name = ONNXModel(directory), os.fspath(directory)
    return _verify(model, runner, name, ONNX_PROMPT_LENGTHS, NUM_ANSWER_TOKENS, seed)


def _verify(
    model: PaliGemma2CausalLM,
    runner: ExportedModel,
    name: str,
    counts: Sequence[int],
    num_answer: int,
    seed: int,
) -> LogitComparison:
    """Compare files and model on prompts of `counts` tokens, an answer after each."""
    backbone = model.backbone
    inputs = random_inputs(backbone, counts, num_answer, seed)
    comparison = compare_logits(backbone, partial(_file_logits, runner), inputs)
    check_comparison(comparison, runner.manifest["quantization"], backbone, name)
    return comparison


def random_inputs(
    backbone: PaliGemma2Backbone, counts: Sequence[int], num_answer: int, seed: int
) -> list[Example]:
    """Return random examples with prompts of `counts` tokens, an answer after each."""
    rng = np.random.default_rng(seed)
    shape = (1, backbone.image_size, backbone.image_size, 3)
    return [
        (
            rng.uniform(-1, 1, shape).astype(np.float32),
            rng.integers(0, backbone.vocabulary_size, count + num_answer),
            count,
        )
        for count in counts
    ]


def compare_logits(
    backbone: PaliGemma2Backbone,
    file_logits: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    examples: Sequence[Example],
) -> LogitComparison:
    """Compare logits after prompts and after each token of their answers.

    The model computes them in one pass without a cache, so that what the files do with
    theirs is not taken for granted.

    Args:
        backbone: The model's network.
        file_logits: Returns float32[1 + answer, V] for an example.
        examples: What both are given.
    """
    # Padded to one length, as some backends compile the model for each.
    total = max(len(token_ids) for _, token_ids, _ in examples)
    # One after the other: a large model and its files need much memory to compute.
    ours = [model_logits(backbone, *example, total) for example in examples]
    theirs = [file_logits(*example) for example in examples]
    return compare(np.concatenate(ours), np.concatenate(theirs))


def check_comparison(
    comparison: LogitComparison,
    quantization: str | None,
    backbone: PaliGemma2Backbone,
    name: str,
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
        half_lowest, half_largest = HALF_PRECISION_BOUNDS
        lowest, largest = min(lowest, half_lowest), max(largest, half_largest)
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
    backbone: PaliGemma2Backbone,
    images: np.ndarray,
    token_ids: np.ndarray,
    count: int,
    total: int,
) -> np.ndarray:
    """float32[1 + answer, V], after the prompt and after each token of the answer."""
    index = np.arange(total)[None]
    hidden = backbone(
        {
            "images": images,
            "token_ids": np.resize(token_ids, (1, total)).astype(np.int32),
            "padding_mask": index < len(token_ids),
            "response_mask": (index >= count) & (index < len(token_ids)),
        }
    )
    first = backbone.num_image_tokens + count - 1
    end = backbone.num_image_tokens + len(token_ids)
    hidden = ops.convert_to_numpy(hidden)[0, first:end]
    return ops.convert_to_numpy(backbone.project_to_vocabulary(hidden))


def _file_logits(
    runner: ExportedModel, images: np.ndarray, token_ids: np.ndarray, count: int
) -> np.ndarray:
    features = runner.encode_pixels(images)
    logits, state = runner.prefill(features, token_ids[:count].tolist())
    rows = [logits]
    for token in token_ids[count:].tolist():
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
