"""What exporters check in a model, and what files say about preparing its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_pg2.modeling import PaliGemma2Backbone
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.answering.detection_files import DetectionFiles

BYTES_PER_WEIGHT = {None: 4, "float16": 2, "int8": 1, "int4": 0.5}
"""By quantization of LiteRT and ONNX files, None for float32."""


def checked_parts(
    model: PaliGemma2CausalLM,
) -> tuple[PaliGemma2Backbone, PaliGemma2CausalLMPreprocessor]:
    """Return the network and the preprocessor of a model that can be exported.

    Raises:
        TypeError: if it is not a `PaliGemma2CausalLM`.
        ValueError: if it has no preprocessor, or one for pictures of another size.
    """
    if not isinstance(model, PaliGemma2CausalLM):
        raise TypeError(
            f"Expected a PaliGemma2CausalLM. Received: {type(model).__name__}. Pass "
            "the whole model: its preprocessor is needed too."
        )
    backbone, preprocessor = model.backbone, model.preprocessor
    if preprocessor is None or preprocessor.image_converter is None:
        raise ValueError(
            "Expected a model with a preprocessor that has an image converter, since "
            "the files hold its vocabulary and sizes. Received: a model without."
        )
    size = preprocessor.image_converter.image_size
    if tuple(size) != (backbone.image_size, backbone.image_size):
        raise ValueError(
            f"Expected an image converter to {backbone.image_size} pixels, as the "
            f"network wants. Received: {tuple(size)}."
        )
    return backbone, preprocessor


def write_own_files(model: PaliGemma2CausalLM, directory: Path) -> None:
    """Write the mask codec and the calibration of scores of a model, if it has them."""
    files = DetectionFiles()
    files.mask_codec = model.mask_codec
    files.score_calibration = model.score_calibration
    files.save(directory)


def describe_preparation(
    preprocessor: PaliGemma2CausalLMPreprocessor,
) -> dict[str, Any]:
    """Describe what a runner needs to prepare pictures and prompts as the model."""
    converter, tokenizer = preprocessor.image_converter, preprocessor.tokenizer
    assert converter is not None  # As `checked_parts` returned it.
    starts = [tokenizer.start_token_id] if preprocessor.add_start_token else []
    separator, separator_ids = preprocessor.separator, []
    if separator:
        [separator_ids] = tokenizer.tokenize([separator])
    return {
        "image_size": converter.image_size[0],
        "interpolation": converter.interpolation,
        "antialias": converter.antialias,
        "separator": separator,
        "separator_ids": [int(token) for token in separator_ids],
        "start_token_ids": [int(token) for token in starts],
        "end_token_id": int(tokenizer.end_token_id),
        "special_token_ids": [int(token) for token in tokenizer.special_token_ids],
    }
