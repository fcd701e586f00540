"""Our ONNX directories in transformers.js under Node, token for token.

Node and the package are no part of the tests' environment: docs/onnx.md says how to
install them. Without them one test still holds what its processor does to a prompt.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.deploy import export_onnx
from scripts.check_transformers_js import (
    KINDS,
    answers_of_ours,
    answers_of_transformers_js,
    is_installed,
)
from tests.support.tiny_models import random_task

PROMPTS = (
    "caption en",
    "detect cat ; a dog",
    "ocr\t\t \n\n  é😀 <loc0012>",
    "answer en what?",
)


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task(
        vision_layers=2, num_layers=2, hidden_dim=64, intermediate_dim=40
    )


def test_the_processors_text_has_one_bos(
    task: PaliGemma2CausalLM, tmp_path: Path
) -> None:
    """transformers.js adds special tokens to a text that has `<bos>` already."""
    export_onnx(task, tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    image = task.backbone.vocabulary_size
    for prompt in PROMPTS:
        text = f"{'<image>' * 4}<bos>{prompt}\n"
        ids = task.preprocessor.tokenizer.tokenize(f"{prompt}\n").tolist()
        assert tokenizer.encode(text).ids == [*[image] * 4, 2, *ids]


@pytest.mark.skipif(
    not is_installed(), reason="Node and transformers.js are not here: docs/onnx.md"
)
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_ours(kind: str, task: PaliGemma2CausalLM, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    export_onnx(task, directory, kind)
    rng = np.random.default_rng(4)
    pictures = rng.integers(0, 256, (len(PROMPTS), 28, 28, 3)).astype("uint8")
    rows = list(zip(pictures, PROMPTS, strict=True))
    ours = answers_of_ours(directory, rows, 12)
    theirs = answers_of_transformers_js(directory, rows, 12)
    for mine, other in zip(ours, theirs, strict=True):
        assert other["pixel_sum"] == pytest.approx(mine["pixel_sum"], abs=1e-2)
        for name in ("prompt_ids", "answer_ids", "text"):
            assert other[name] == mine[name], name
    assert len({tuple(row["answer_ids"]) for row in ours}) > 1
