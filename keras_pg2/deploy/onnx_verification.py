"""Exported ONNX files held to the model they came from."""

from __future__ import annotations

import os
from typing import Any

from keras_pg2.deploy.comparison import (
    NUM_ANSWER_TOKENS,
    LogitComparison,
    check_comparison,
    compare_with_model,
)
from keras_pg2.deploy.runners.onnx import ONNXModel

PROMPT_LENGTHS = (3, 12)


def verify_onnx(
    model: Any, directory: str | os.PathLike[str], seed: int = 0
) -> LogitComparison:
    """Runs random pictures and tokens through files and through their model.

    Prompts of some lengths, each with some tokens of an answer after it.

    Args:
        model: the `PaliGemma2CausalLM` that was exported.
        directory: what `export_onnx` wrote.
        seed: of the random inputs.

    Raises:
        ValueError: when the logits are not the model's, by as much as the
            quantization of the files lets expect.
        FileNotFoundError, ImportError: as `ONNXModel`.
    """
    runner = ONNXModel(directory)
    total = PROMPT_LENGTHS[-1] + NUM_ANSWER_TOKENS
    comparison = compare_with_model(
        model, runner, PROMPT_LENGTHS, total, NUM_ANSWER_TOKENS, seed
    )
    quantization = runner.manifest["quantization"]
    name = os.fspath(directory)
    check_comparison(comparison, quantization, model.backbone, name)
    return comparison
