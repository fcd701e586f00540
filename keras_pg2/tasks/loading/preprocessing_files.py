"""What a preset of ours says of its preprocessor, checked before Keras builds of it.

Keras would build any class of its own or KerasHub's that a file names, of whatever the
file passes to it.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import keras

from keras_pg2.catalogue.architecture import check_known
from keras_pg2.checks.architecture import MAX_PIXELS, MAX_TOKENS
from keras_pg2.files.json_fields import Fields, read_config
from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.resizing import INTERPOLATIONS
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer

FILES = (
    "preprocessor.json",
    "tokenizer.json",
    "image_converter.json",
    "assets/tokenizer/vocabulary.spm",
)


def check_files(directory: Path) -> None:
    """Check, before long work, that a preset of ours has its preprocessor.

    Raises:
        FileNotFoundError: if a file is missing.
    """
    for name in FILES:
        if not (directory / name).is_file():
            raise FileNotFoundError(
                f"Expected the file {directory / name}, which is missing. Copy the "
                "preset again."
            )


def check_preprocessing(directory: Path) -> None:
    """Check the configurations of the preprocessor's parts that are there.

    Raises:
        ValueError: if one is no JSON, is of another class than ours or one derived from
            it, or a field is missing or not as it should be.
    """
    for name, check in (
        ("preprocessor.json", _check_preprocessor),
        ("tokenizer.json", _check_tokenizer),
        ("image_converter.json", _check_converter),
    ):
        if (directory / name).is_file():
            check(read_config(directory / name))


_OF_EVERY_LAYER = ("name", "trainable", "dtype", "config_file")
# Arguments of the classes, as Keras and KerasHub write them.
_KNOWN = {
    PaliGemma2CausalLMPreprocessor: (
        *("tokenizer", "image_converter", "audio_converter", "video_converter"),
        *("sequence_length", "add_start_token", "add_end_token", "separator"),
    ),
    PaliGemma2Tokenizer: ("proto", "sequence_length", "add_bos", "add_eos"),
    PaliGemma2ImageConverter: (
        *("image_size", "scale", "offset", "interpolation", "antialias"),
        *("crop_to_aspect_ratio", "pad_to_aspect_ratio", "bounding_box_format"),
        *("data_format",),
    ),
}


def _check_preprocessor(layer: Fields) -> None:
    config = _config(layer, PaliGemma2CausalLMPreprocessor)
    _check_tokenizer(config.fields("tokenizer"))
    converter = config.fields("image_converter", None)
    if converter is not None:
        _check_converter(converter)
    config.integer("sequence_length", at_least=1, at_most=MAX_TOKENS)
    config.flag("add_start_token", True)
    config.flag("add_end_token", True)
    config.text("separator", "\n")


def _check_tokenizer(layer: Fields) -> None:
    config = _config(layer, PaliGemma2Tokenizer)
    if config.value("proto", None) is not None:
        # Else a path of any file would be read.
        raise config.error("proto", "null, as the vocabulary is a file of the preset")
    if "dtype" in config and not _policy_name(config).startswith(("int", "string")):
        raise config.error("dtype", "int32 or string")
    config.integer("sequence_length", None, at_least=1, at_most=MAX_TOKENS)
    config.flag("add_bos", False)
    config.flag("add_eos", False)


def _check_converter(layer: Fields) -> None:
    config = _config(layer, PaliGemma2ImageConverter)
    read = partial(Fields.integer, at_least=1, at_most=MAX_PIXELS)
    if len(config.items("image_size", read)) != 2:
        raise config.error("image_size", "[height, width]")
    config.text("interpolation", "bicubic", choices=tuple(INTERPOLATIONS))
    config.flag("antialias", True)
    for name, expected in (("scale", 1 / 127.5), ("offset", -1.0)):
        number = config.number(name, None)
        if number is not None and not math.isclose(number, expected, rel_tol=1e-6):
            raise config.error(name, f"{expected:.6g}, levels to [-1, 1]")


def _config(layer: Fields, base: type) -> Fields:
    """Return the arguments of a serialised layer of a class, or one derived from it."""
    cls = keras.saving.get_registered_object(layer.text("registered_name"))
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise layer.error("registered_name", f"that of a {base.__name__}")
    config: Fields = layer.fields("config")
    if cls is base:  # One that is derived from it may have other arguments.
        check_known(config, (*_OF_EVERY_LAYER, *_KNOWN[base]))
    config.text("name", None)
    config.flag("trainable", True)
    config.text("config_file", "")
    _policy_name(config)
    return config


def _policy_name(config: Fields) -> str:
    try:
        policy = keras.dtype_policies.get(config.value("dtype", None))
    except Exception:  # Keras raises whatever comes.
        policy = None
    if not isinstance(policy, keras.DTypePolicy):
        raise config.error("dtype", "a dtype policy of Keras")
    return str(policy.name)
