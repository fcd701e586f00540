"""What a Hugging Face directory says about the way from a picture to the network.

PaliGemma's pictures are stretched to a square and their levels mapped to [-1, 1].
Settings of anything else belong to another model, or to weights trained otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_pg2.files.json_fields import Fields

RESAMPLE = {2: "bilinear", 3: "bicubic"}
"""Filters by Pillow's numbers, as the files have them."""
_PROCESSOR = "processor_config.json"
_IMAGE_PROCESSOR = "preprocessor_config.json"
# transformers' classes for one and the same arithmetic.
_TYPES = tuple(f"SiglipImageProcessor{kind}" for kind in ("", "Fast", "Pil"))
_STEPS = ("do_resize", "do_rescale", "do_normalize")
_OTHER_STEPS = ("do_center_crop", "do_pad")
_LEVELS = {"image_mean": 0.5, "image_std": 0.5, "rescale_factor": 1 / 255}


def read_interpolation(directory: Path, side: int) -> str:
    """Return the filter by which pictures are stretched.

    As transformers 5, it takes the `image_processor` inside processor_config.json
    before preprocessor_config.json, which is all that older ones write. Without either
    it is bicubic.

    Args:
        directory: of the checkpoint.
        side: Height and width of the model's images, by config.json.

    Returns:
        "bilinear" or "bicubic".

    Raises:
        ValueError: if a file says what PaliGemma's pictures are not.
    """
    config = _image_processor(directory)
    config.text("image_processor_type", _TYPES[0], choices=_TYPES)
    _check_size(config, side)
    for name in _STEPS:
        if config.flag(name, None) is False:
            raise config.error(name, "true, as pictures of PaliGemma are made")
    for name in _OTHER_STEPS:
        if config.flag(name, None):
            raise config.error(name, "false, as pictures of PaliGemma are not cut")
    for name, expected in _LEVELS.items():
        if any(abs(value - expected) > 1e-6 for value in _numbers(config, name)):
            what = f"{expected:.6g}, which maps levels to [-1, 1] as PaliGemma has them"
            raise config.error(name, what)
    resample = config.integer("resample", None)
    if resample not in (None, *RESAMPLE):
        raise config.error("resample", "2 (bilinear) or 3 (bicubic)")
    return RESAMPLE[3 if resample is None else resample]


def _image_processor(directory: Path) -> Fields:
    if (directory / _PROCESSOR).is_file():
        nested = Fields.read(directory / _PROCESSOR).fields("image_processor", None)
        if nested is not None:
            found: Fields = nested
            return found
    own = directory / _IMAGE_PROCESSOR
    return Fields.read(own) if own.is_file() else Fields({}, own)


def _check_size(config: Fields, side: int) -> None:
    size: Any = config.value("size", None)
    if isinstance(size, dict):
        size = {key: value for key, value in size.items() if value is not None}
    # One number would be the shorter edge, to which the other is in proportion.
    if size not in (None, {"height": side, "width": side}):
        what = f"images of {side} x {side} pixels, the image_size of config.json"
        raise config.error("size", what)


def _numbers(config: Fields, name: str) -> list[float]:
    value = config.value(name, None)
    if value is None:
        return []
    if isinstance(value, list):
        found: list[float] = config.items(name, Fields.number)
        return found
    return [config.number(name)]
