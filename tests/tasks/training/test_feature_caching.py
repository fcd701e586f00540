"""Training on kept features of a frozen vision tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image
from safetensors.numpy import load_file

from keras_pg2 import PaliGemma2CausalLM, cache_image_features
from keras_pg2.datasets.loading import RowBatches
from keras_pg2.datasets.rows import columns
from tests.support.tiny_models import random_task

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    directory = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    found = []
    for i, response in enumerate(["a red ball", "blue", "a dog"]):
        path = directory / f"{i}.png"
        pixels = rng.integers(0, 256, (30 + i, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        found.append(
            {"images": str(path), "prompts": "caption en", "responses": response}
        )
    return found


def frozen_task() -> PaliGemma2CausalLM:
    task = random_task(sequence_length=24)
    task.backbone.trainable_parts = ("projection", "decoder")
    return task


def trained(task: PaliGemma2CausalLM, data: Any) -> tuple[list[float], dict]:
    # With larger steps the second one enlarges what processors round differently.
    task.compile(keras.optimizers.SGD(1e-4))
    options = {"batch_size": 3} if isinstance(data, dict) else {}
    history = task.fit(data, epochs=2, verbose=0, shuffle=False, **options)
    weights = {v.path: np.array(ops.convert_to_numpy(v)) for v in task.weights}
    return history.history["loss"], weights


@pytest.mark.eager
def test_loss_and_gradients_are_those_of_pixels(rows: Rows, tmp_path: Path) -> None:
    expected_losses, expected = trained(frozen_task(), columns(rows))
    task = frozen_task()
    start = {v.path: np.array(ops.convert_to_numpy(v)) for v in task.weights}
    cache_image_features(task, rows, tmp_path, dtype="float32", batch_size=2)
    # Nothing looks at the pixels, or the tower, any more.
    task.preprocessor.convert_images = None
    kernel = task.backbone.vision_encoder.patch_embedding.kernel
    kernel.assign(np.zeros(kernel.shape))
    losses, weights = trained(task, columns(rows))
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for path, value in expected.items():
        if not path.startswith("vision_encoder"):
            change = np.abs(value - start[path]).max()
            error = np.abs(weights[path] - value).max()
            assert error <= 1e-4 * change + 1e-7, path
    assert np.abs(weights["vision_projection/kernel"]).max() > 0


@pytest.mark.one_backend("files are of NumPy")
def test_files_are_of_a_picture_and_a_tower(rows: Rows, tmp_path: Path) -> None:
    task = frozen_task()
    features = cache_image_features(task, rows[:1], tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    [file] = files
    value = load_file(file)["features"]
    assert (value.shape, value.dtype) == ((4, 16), np.float16)
    with pytest.raises(FileNotFoundError, match=r"Call keras_pg2\.cache_image_fe"):
        task.preprocessor(columns(rows))
    # It goes on where it stopped, and a picture counts once.
    cache_image_features(task, [*rows, *rows], tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    assert file.stat().st_mtime_ns == files[file]
    read = features.read([[rows[0]["images"], rows[1]["images"]]])
    assert read.shape == (1, 8, 16)
    np.testing.assert_array_equal(read[0, :4], value)
    bias = task.backbone.vision_encoder.final_norm.beta
    bias.assign(bias + 1)
    cache_image_features(task, rows, tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.one_backend("what is refused before training")
def test_what_changes_pictures_or_the_tower_is_refused(
    rows: Rows, tmp_path: Path
) -> None:
    task = random_task(sequence_length=24)
    with pytest.raises(ValueError, match=r"Expected a frozen vision tower"):
        cache_image_features(task, rows, tmp_path)
    task.enable_lora(2, parts=["decoder"])
    cache_image_features(task, rows, tmp_path)
    batches = RowBatches(rows, batch_size=3, image_size=28)
    task.compile(keras.optimizers.SGD(1e-3))
    with pytest.raises(ValueError, match=r"Leave augmentations and image_size of"):
        task.fit(batches, verbose=0)
    task.adapters.activate("none")
    task.enable_lora(2, parts=["vision"], name="other")
    task.compile(keras.optimizers.SGD(1e-3))
    with pytest.raises(ValueError, match=r"Expected a frozen vision tower"):
        task.fit(columns(rows), batch_size=3, verbose=0, shuffle=False)
