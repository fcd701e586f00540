"""From what a checkpoint says about pictures and text to a preprocessor."""

from __future__ import annotations

from typing import Any

from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer


def build_preprocessor(
    checkpoint: Checkpoint,
    preprocessor_cls: type[PaliGemma2CausalLMPreprocessor] = (
        PaliGemma2CausalLMPreprocessor
    ),
    **kwargs: Any,
) -> PaliGemma2CausalLMPreprocessor:
    """Build the preprocessor of an opened checkpoint.

    Args:
        checkpoint: Opened checkpoint.
        preprocessor_cls: Class to build.
        **kwargs: Arguments of the class, instead of the checkpoint's.

    Raises:
        ValueError: as `build_tokenizer`, unless a tokenizer is given.
    """
    arguments = {"sequence_length": checkpoint.preprocessing.sequence_length, **kwargs}
    if "tokenizer" not in arguments:
        arguments["tokenizer"] = build_tokenizer(checkpoint)
    if "image_converter" not in arguments:
        arguments["image_converter"] = build_image_converter(checkpoint)
    return preprocessor_cls(**arguments)


def build_tokenizer(
    checkpoint: Checkpoint,
    tokenizer_cls: type[PaliGemma2Tokenizer] = PaliGemma2Tokenizer,
    **kwargs: Any,
) -> PaliGemma2Tokenizer:
    """Build the tokenizer of an opened checkpoint; arguments as `build_preprocessor`.

    Raises:
        ValueError: if the checkpoint has none, it is not one of PaliGemma, or it has
            more pieces than the network has embeddings.
    """
    is_own = "proto" not in kwargs
    proto = kwargs.pop("proto", checkpoint.preprocessing.tokenizer)
    if proto is None:
        raise ValueError(
            f"Expected a tokenizer with {checkpoint.path}, which has none. Copy "
            "PaliGemma's tokenizer.model beside it."
        )
    try:
        tokenizer = tokenizer_cls(proto=proto, **kwargs)
    except ValueError as error:
        if not is_own:
            raise
        raise ValueError(
            f"{error} It is the tokenizer of {checkpoint.path}."
        ) from error
    num_rows = checkpoint.architecture["text_decoder"]["vocabulary_size"]
    if tokenizer.vocabulary_size() > num_rows:
        raise ValueError(
            f"Expected a tokenizer of at most {num_rows} pieces, the vocabulary of the "
            f"network. Received: {tokenizer.vocabulary_size()} pieces with "
            f"{checkpoint.path}, so the tokenizer belongs to another model."
        )
    return tokenizer


def build_image_converter(
    checkpoint: Checkpoint,
    converter_cls: type[PaliGemma2ImageConverter] = PaliGemma2ImageConverter,
    **kwargs: Any,
) -> PaliGemma2ImageConverter:
    """Build the converter of an opened checkpoint; arguments as `build_preprocessor`.

    Raises:
        ValueError: if a converter has no such argument.
    """
    arguments = {
        "image_size": checkpoint.architecture["vision_encoder"]["image_size"],
        "interpolation": checkpoint.preprocessing.interpolation,
        "antialias": checkpoint.preprocessing.antialias,
    }
    return converter_cls(**{**arguments, **kwargs})
