"""Training without a frozen vision tower, whose features are cached in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from keras_pg2.conversion.adapters.bases import hash_weights
from keras_pg2.datasets.rows import paths_of
from keras_pg2.generation import rows as generation_rows
from keras_pg2.generation.compilation import CompiledFunctions
from keras_pg2.modeling.backbone import PaliGemma2Backbone, with_image_axis
from keras_pg2.modeling.cpu.scheduling import by_rows
from keras_pg2.preprocessing.image_features import ImageFeatures
from keras_pg2.tasks.adapters.base import as_floats
from keras_pg2.tasks.training.causal_lm import CausalLM
from keras_pg2.typing import Tensor


def cache_image_features(
    model: CausalLM,
    rows: Iterable[Mapping[str, Any]],
    directory: str | Path,
    *,
    dtype: str = "float16",
    batch_size: int = 8,
    on_progress: Callable[[int, int], None] = lambda num_done, num_missing: None,
) -> ImageFeatures:
    """Run the frozen vision tower once over pictures, for `fit` without it.

    From here on `fit` and `evaluate` take features from the files in place of
    pixels, wherever pictures are given as paths; `generate` goes on with pixels,
    and so does training after `model.preprocessor.image_features = None`. Files
    that exist already stay, so that a run goes on where it stopped. A saved or copied
    model takes pixels until this is called on it.

        model.backbone.trainable_parts = ("projection", "text_decoder")
        keras_pg2.cache_image_features(model, rows, "features")
        model.fit(columns(rows))

    Args:
        model: A `PaliGemma2CausalLM` with a preprocessor.
        rows: Dicts of images (paths), prompts and responses.
        directory: Folder for the files, num_image_tokens * hidden_dim numbers of the
            vision encoder a picture (590 KB in float16 at 224 pixels).
        dtype: Type of the files; "float16", to which a bfloat16 model loses nothing
            except what is below 6e-5, or "float32".
        batch_size: Pictures at a time.
        on_progress: Called after each batch with the number of pictures done, and of
            those that had no features.

    Returns:
        The features, now `preprocessor.image_features`.

    Raises:
        ValueError: if weights of the vision tower are trainable (also later, in `fit`),
            it has LoRA, pictures are no paths (also after augmentations, in `fit`), or
            features are too large for float16.
        FileNotFoundError: if there is no such picture.
    """
    preprocessor = model.preprocessor
    if preprocessor is None or preprocessor.image_converter is None:
        raise ValueError(
            "Expected a model with a preprocessor that reads pictures. Received: none."
        )
    backbone = model.backbone
    check_is_frozen(backbone)
    encoder, converter = backbone.vision_encoder, preprocessor.image_converter
    weights = ((weight.path, as_floats(weight.value)) for weight in encoder.weights)
    way = (converter.interpolation, converter.antialias, encoder.image_size)
    tower = f"{hash_weights(weights)} {encoder.compute_dtype} {way}"
    shape = (encoder.num_image_tokens, encoder.hidden_dim)
    features = ImageFeatures(directory, tower, shape, dtype)
    missing = features.missing(picture for row in rows for picture in paths_of(row))
    run = CompiledFunctions(model).get(_encode)
    for start in range(0, len(missing), batch_size):
        pictures = missing[start : start + batch_size]
        pixels = preprocessor.convert_images(pictures, len(pictures))
        pixels = with_image_axis({"images": pixels})["images"]
        found = run(generation_rows.pad_rows(pixels))[: len(pictures)]
        found = ops.convert_to_numpy(ops.cast(found, "float32"))
        features.write(pictures, np.asarray(found))
        on_progress(start + len(pictures), len(missing))
    preprocessor.image_features = features
    return features


def _encode(backbone: PaliGemma2Backbone, images: Tensor) -> Tensor:
    """float32[B, 1, h, w, 3] -> float[B, I, D]"""
    return by_rows(backbone.vision_encoder, images, backbone.num_image_tokens)


def check_is_frozen(backbone: PaliGemma2Backbone) -> None:
    """Raise ValueError if the vision tower trains, so that features would change."""
    trained = backbone.vision_encoder.trainable_variables
    if trained or any("/lora_" in v.path for v in backbone.vision_encoder.variables):
        raise ValueError(
            "Expected a frozen vision tower without LoRA for cached features. "
            f"Received: {len(trained)} of its weights are trainable. Freeze it "
            '(backbone.trainable_parts = ("projection", "text_decoder"), or '
            'enable_lora(parts=["text_decoder"])), or train on pixels: '
            "preprocessor.image_features = None."
        )


def hidden_of_features(
    backbone: PaliGemma2Backbone, inputs: dict[str, Tensor], training: bool | None
) -> Tensor:
    """As a call of the backbone, from `image_features` float[B, M * I, D]."""
    check_is_frozen(backbone)
    decoder = backbone.text_decoder
    if training:
        decoder.noise.advance()
    dtype = backbone.vision_encoder.compute_dtype
    features = ops.cast(inputs["image_features"], dtype)
    return decoder(
        backbone.vision_projection(features, training=training),
        inputs["token_ids"],
        inputs["padding_mask"],
        inputs["response_mask"],
        training=training,
    )
