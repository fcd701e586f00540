"""An exported LiteRT file held to the model it came from."""

from __future__ import annotations

import os
from typing import Any

from keras_pg2.deploy.comparison import (
    NUM_ANSWER_TOKENS,
    LogitComparison,
    check_comparison,
    compare_with_model,
)
from keras_pg2.deploy.runners.litert import LiteRTModel


def verify_litert(
    model: Any, directory: str | os.PathLike[str], seed: int = 0
) -> LogitComparison:
    """Runs random pictures and tokens through a file and through its model.

    For every prefill length a prompt that fills it and one that does not, each with
    some tokens of an answer after it. The model computes them in one pass without a
    cache, so that what the file does with its own is not taken for granted.

    Args:
        model: the `PaliGemma2CausalLM` that was exported.
        directory: what `export_litert` wrote.
        seed: of the random inputs.

    Raises:
        ValueError: when the logits are not the model's, by as much as the
            quantization of the file lets expect.
        FileNotFoundError, ImportError: as `LiteRTModel`.
    """
    runner = LiteRTModel(directory)
    lengths = runner.manifest["prefill_lengths"]
    room = runner.manifest["cache_length"] - model.backbone.num_image_tokens
    num_answer = min(NUM_ANSWER_TOKENS, room - lengths[-1])
    counts = [n for length in lengths for n in sorted({max(length - 3, 1), length})]
    total = lengths[-1] + num_answer
    comparison = compare_with_model(model, runner, counts, total, num_answer, seed)
    quantization = runner.manifest["quantization"]
    name = os.fspath(directory)
    check_comparison(comparison, quantization, model.backbone, name)
    return comparison
