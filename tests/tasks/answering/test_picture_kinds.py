"""What may be a picture is one rule, whoever is asked."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_pg2 import PaliGemma2CausalLM, draw_detections, predict
from keras_pg2.codecs import parse_detections
from keras_pg2.datasets.augmentations import JpegJitter, LightCrop, ResizeJitter
from keras_pg2.datasets.loading import RowBatches
from keras_pg2.datasets.rows import check_pictures
from keras_pg2.preprocessing import image_decoding
from tests.support.tiny_models import random_task

pytestmark = pytest.mark.one_backend("pictures are read before a backend sees them")

RGB = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
OPTIONS: dict[str, Any] = {"max_new_tokens": 3, "stop_token_ids": None}
ANSWER = {"strip_prompt": True, **OPTIONS}
"""As `predict` has it."""


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task()


@pytest.fixture(scope="module")
def png(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.fromarray(RGB).save(path)
    return path


def kinds(png: Path) -> dict[str, Any]:
    content = png.read_bytes()
    return {
        "str": str(png),
        "Path": png,
        "path in bytes": str(png).encode(),
        "bytes": content,
        "bytearray": bytearray(content),
        "BytesIO": io.BytesIO(content),
        "data:": f"data:image/png;base64,{base64.b64encode(content).decode()}",
        "file:": png.as_uri(),
        "row": {"bytes": content, "path": None},
        "PIL": Image.open(io.BytesIO(content)),
        "PIL with alpha": Image.fromarray(RGB).convert("RGBA"),
        "array": RGB,
        "big-endian": RGB.astype(">i4"),
        "negative strides": RGB[::-1][::-1],
    }


def test_generate(task, png):
    inputs = {"images": RGB, "prompts": "ocr"}
    alone = task.generate(inputs, **ANSWER)
    pictures = list(kinds(png).values())
    batch = {"images": pictures, "prompts": ["ocr"] * len(pictures)}
    assert task.generate(batch, **ANSWER) == [alone] * len(pictures)
    for picture in pictures:
        assert task.generate({"images": picture, "prompts": "ocr"}, **ANSWER) == alone
    # One picture for several prompts, and several for one.
    row = kinds(png)["row"]
    batch = {"images": row, "prompts": ["ocr", "ocr"]}
    assert task.generate(batch, **ANSWER) == [alone] * 2
    pairs = {"images": [[row, png], [RGB, RGB]], "prompts": ["ocr", "ocr"]}
    first, second = task.generate(pairs, **ANSWER)
    assert first == second


def test_detect(task, png):
    alone = task.detect(RGB, ["star"], max_detections=1)
    pictures = kinds(png)
    single = [pictures[kind] for kind in ("bytes", "BytesIO", "row", "data:")]
    for found in [
        *task.detect(list(pictures.values()), ["star"], max_detections=1),
        *(task.detect(picture, ["star"], max_detections=1) for picture in single),
    ]:
        assert found.tokens == alone.tokens
        np.testing.assert_array_equal(found.boxes_xyxy, alone.boxes_xyxy)
    stacked = task.detect(np.stack([RGB, RGB]), ["star"], max_detections=1)
    assert [found.tokens for found in stacked] == [alone.tokens] * 2


def test_boxes_of_a_shrunk_picture_are_of_the_whole_one(task, tmp_path, monkeypatch):
    large = np.kron(RGB, np.ones((12, 12, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(large).save(tmp_path / "a.png", exif=exif)
    monkeypatch.setattr(image_decoding, "LARGE_PIXELS", 10_000)
    found = task.detect(tmp_path / "a.png", ["star"], max_detections=1)
    # Upright it is 480 wide and 360 high.
    expected = parse_detections(f"{found.tokens[0]} star", 480, 360)
    np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
    assert (found.boxes_xyxy != 0).any()


def test_predict(task, png):
    pictures = kinds(png)
    alone = task.generate({"images": RGB, "prompts": "ocr"}, **ANSWER)
    entries = list(pictures.values())
    for rows in (entries, [{"images": entry} for entry in entries]):
        records = predict(task, rows, "ocr", **OPTIONS).records
        assert {record["text"] for record in records} == {alone}
        ids = dict(zip(pictures, (record["id"] for record in records)))
        assert ids["str"] == ids["Path"] == ids["path in bytes"] == str(png)
        assert ids["file:"] == png.as_uri()
        assert ids["bytes"] == list(pictures).index("bytes")
        assert ids["data:"] == list(pictures).index("data:")
        images = dict(zip(pictures, (record["image"] for record in records)))
        assert images["Path"] == str(png)
        assert images["bytes"] is images["row"] is images["data:"] is None
    stacked = predict(task, np.stack([RGB, RGB]), "ocr", **OPTIONS).records
    assert [record["text"] for record in stacked] == [alone, alone]


@pytest.mark.parametrize("kind", ["bytes", "BytesIO", "row", "PIL", "array"])
def test_one_picture_is_no_source_of_rows(task, png, kind):
    with pytest.raises(TypeError, match="folder or an iterable of rows") as caught:
        predict(task, kinds(png)[kind], "ocr")
    assert len(str(caught.value)) < 500


def test_broken_ones_are_named(task, png):
    half = png.read_bytes()[:900]
    for broken in (half, io.BytesIO(half), Image.open(io.BytesIO(half))):
        with pytest.raises(ValueError, match=r"image 1.*damaged"):
            task.generate({"images": [RGB, broken], "prompts": ["ocr"] * 2}, **OPTIONS)
        with pytest.raises(ValueError, match=r"image 1.*damaged"):
            task.detect([RGB, broken], ["star"])
        records = predict(task, [RGB, broken, RGB], "ocr", **OPTIONS).records
        assert ["error" in record for record in records] == [False, True, False]


def test_drawing(task, png):
    found = task.detect(RGB, ["star"], max_detections=1)
    expected = np.asarray(draw_detections(RGB, found))
    for picture in kinds(png).values():
        np.testing.assert_array_equal(draw_detections(picture, found), expected)


@pytest.mark.parametrize(
    "change",
    [ResizeJitter(28), JpegJitter(1.0), LightCrop()],
    ids=lambda change: type(change).__name__,
)
def test_augmentations(png, change):
    def changed(picture: Any) -> np.ndarray:
        row = {"images": picture, "prompts": "ocr", "responses": "a"}
        return change(row, np.random.default_rng(0))["images"]

    expected = changed(RGB)
    for picture in kinds(png).values():
        np.testing.assert_array_equal(changed(picture), expected)


def test_checking_all_of_them(png):
    broken = {"bytes": png.read_bytes()[:900], "path": None}
    rows = [
        {"images": picture, "prompts": "ocr", "responses": "a"}
        for picture in [*kinds(png).values(), broken, np.full((2, 2), np.nan)]
    ]
    checked = check_pictures(rows, on_bad="skip")
    assert len(checked) == len(kinds(png))
    assert ["damaged" in checked.skipped[0], "NaN" in checked.skipped[1]] == [True] * 2


@pytest.mark.parametrize("image_size", [None, 28])
def test_training(task, png, image_size):
    rows = [
        {"images": picture, "prompts": "ocr", "responses": "a"}
        for picture in kinds(png).values()
    ]
    batches = RowBatches(rows, len(rows), shuffle=False, image_size=image_size)
    x, _, _ = task.preprocessor(batches[0])
    expected = task.preprocessor.image_converter.convert(RGB)
    for pixels in x["images"]:
        np.testing.assert_array_equal(pixels, expected)
