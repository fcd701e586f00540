"""What we write, read by transformers itself."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from keras import ops
from PIL import Image
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from keras_pg2.conversion import safetensors_files
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import from_model, write_model
from tests.support.released_kinds import KINDS, assert_same_weights
from tests.support.tiny_models import random_task
from tests.support.tiny_vocabulary import SENTENCES

TEXTS = [*SENTENCES, "  two  spaces", "<loc0001><seg127> ; x", "zażółć 漢字", "\n\n"]


def picture() -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (37, 50, 3))
    return Image.fromarray(levels.astype(np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_computes_the_same(kind: str, tmp_path: Path) -> None:
    task = random_task(**KINDS[kind])
    write_model(task, tmp_path / "model", "hf")
    model, info = AutoModelForImageTextToText.from_pretrained(
        tmp_path / "model", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys"))
    assert not info["mismatched_keys"]
    assert model.config.image_token_id == task.backbone.vocabulary_size
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    theirs = processor(images=picture(), text="<image>caption en", return_tensors="pt")
    ours = task.preprocessor.generate_preprocess(
        {"images": [np.asarray(picture())], "prompts": ["caption en"]}
    )
    is_text = ours["padding_mask"][0].astype(bool)
    token_ids = ours["token_ids"][0][is_text]
    num_image_tokens = task.backbone.num_image_tokens
    expected = [task.backbone.vocabulary_size] * num_image_tokens + token_ids.tolist()
    assert theirs["input_ids"][0].tolist() == expected
    pixels = theirs["pixel_values"].numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(
        pixels, ops.convert_to_numpy(ours["images"]).reshape(pixels.shape)
    )
    theirs.pop("labels", None)
    with torch.no_grad():
        logits = model.eval()(**theirs).logits[0, num_image_tokens:]
    inputs = {
        "images": ours["images"],
        "token_ids": token_ids[None],
        "padding_mask": np.ones((1, len(token_ids)), bool),
        "response_mask": np.zeros((1, len(token_ids)), bool),
    }
    mine = ops.convert_to_numpy(task(inputs))[0]
    vocabulary_size = task.backbone.vocabulary_size
    scale = np.abs(mine).max()
    np.testing.assert_allclose(
        logits.numpy()[:, :vocabulary_size] / scale, mine / scale, atol=1e-5
    )


def test_tokenizer_json_is_the_same_tokenizer(tmp_path: Path) -> None:
    task = random_task()
    write_model(task, tmp_path / "model", "hf")
    (tmp_path / "model" / "tokenizer.model").unlink()
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in TEXTS:
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        assert ids == task.preprocessor.tokenizer.tokenize(text).tolist(), text
        assert theirs.decode(ids) == task.preprocessor.tokenizer.detokenize(ids)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_is_rounded_to_nearest(dtype: str, tmp_path: Path) -> None:
    task = random_task()
    write_model(task, tmp_path / "model", "hf", dtype)
    with safe_open(tmp_path / "model" / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}
        name = "multi_modal_projector.linear.weight"
        stored = file.get_tensor(name)
    kernel = ops.convert_to_numpy(task.backbone.vision_projection.kernel)
    number_type = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16
    np.testing.assert_array_equal(stored, kernel.T.astype(number_type))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["torch_dtype"] == dtype


def test_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors_files, "MAX_SHARD_BYTES", 100_000)
    task = random_task()
    directory = write_model(task, tmp_path / "model", "hf")
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    shards = sorted(p.name for p in directory.glob("*.safetensors"))
    assert len(shards) > 1
    assert shards == sorted(set(index["weight_map"].values()))
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    assert_same_weights(open_checkpoint(directory), from_model(task.backbone))
    _, info = AutoModelForImageTextToText.from_pretrained(
        directory, output_loading_info=True
    )
    assert not info["missing_keys"]


def test_a_network_transformers_does_not_have(tmp_path: Path) -> None:
    task = random_task(has_post_norms=False)
    with pytest.raises(ValueError, match="attention_logit_soft_cap=50"):
        write_model(task, tmp_path / "model", "hf")
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_of_another_size(tmp_path: Path) -> None:
    task = random_task(vocabulary_size=1600)
    with pytest.raises(ValueError, match="1600 pieces"):
        write_model(task, tmp_path / "model", "hf")
