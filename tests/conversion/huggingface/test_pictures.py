"""How pictures are stretched, by the files that transformers reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import AutoImageProcessor

from keras_pg2.conversion.huggingface.pictures import read_interpolation
from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter

SIDE = 28
BILINEAR, BICUBIC = 2, 3


def processor(**changes: object) -> dict:
    return {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": SIDE, "width": SIDE},
        "resample": BILINEAR,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "rescale_factor": 0.00392156862745098,
        **changes,
    }


def write(folder: Path, **files: dict) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"preprocessor_config": processor()}, "bilinear"),
        ({"preprocessor_config": processor(resample=BICUBIC)}, "bicubic"),
        ({"processor_config": {"image_processor": processor()}}, "bilinear"),
        (
            {
                "processor_config": {"image_processor": processor()},
                "preprocessor_config": processor(resample=BICUBIC),
            },
            "bilinear",
        ),
        (
            {
                "processor_config": {"processor_class": "PaliGemmaProcessor"},
                "preprocessor_config": processor(resample=BICUBIC),
            },
            "bicubic",
        ),
    ],
)
def test_pictures_are_those_of_transformers(
    files: dict, expected: str, tmp_path: Path
) -> None:
    write(tmp_path, **files)
    assert read_interpolation(tmp_path, SIDE) == expected
    levels = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    theirs = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(
        images=Image.fromarray(levels), return_tensors="np"
    )["pixel_values"]
    ours = PaliGemma2ImageConverter(SIDE, interpolation=expected)(levels)
    np.testing.assert_allclose(
        np.asarray(ours), theirs[0].transpose(1, 2, 0), atol=1e-6
    )


def test_without_files(tmp_path: Path) -> None:
    assert read_interpolation(tmp_path, SIDE) == "bicubic"


@pytest.mark.parametrize("name", ["preprocessor_config", "processor_config"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": {"height": 448, "width": 448}}, "size .*images of 28 x 28"),
        ({"size": {"shortest_edge": SIDE}}, "size .*images of 28 x 28"),
        ({"size": SIDE}, "size .*images of 28 x 28"),  # Of the shorter edge.
        ({"resample": 0}, r"resample .*2 \(bilinear\)"),
        ({"resample": "bicubic"}, "resample .*whole number"),
        ({"image_mean": [0.48, 0.46, 0.41]}, "image_mean .*as 0.5, which maps"),
        ({"image_std": ["0.5"] * 3}, "image_std.0 .*finite number"),
        ({"rescale_factor": 1}, "rescale_factor .*0.00392157"),
        ({"do_normalize": False}, "do_normalize .*true"),
        ({"do_rescale": False}, "do_rescale .*true"),
        ({"do_resize": False}, "do_resize .*true"),
        ({"do_center_crop": True}, "do_center_crop .*false"),
        ({"image_processor_type": "CLIPImageProcessor"}, "image_processor_type"),
    ],
)
def test_pictures_of_another_model(
    changes: dict, message: str, name: str, tmp_path: Path
) -> None:
    config = processor(**changes)
    nested = {"image_processor": config} if name == "processor_config" else config
    write(tmp_path, **{name: nested})
    with pytest.raises(ValueError, match=f"Expected .*{message}"):
        read_interpolation(tmp_path, SIDE)
