"""Reads a Hugging Face directory of PaliGemma or PaliGemma 2.

The directory is what `hf download google/paligemma2-3b-pt-224` or transformers'
`save_pretrained` leaves: `config.json`, safetensors files and, for the
preprocessor, `tokenizer.model` and `preprocessor_config.json`. PyTorch and
transformers are not needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_pg2.conversion.huggingface_config import read_numbers
from keras_pg2.conversion.huggingface_weights import (
    IGNORABLE,
    HuggingFaceSource,
    weight_rows,
)
from keras_pg2.conversion.weight_table import assign, check_keys
from keras_pg2.json_files import read_json
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from keras_pg2.presets import override_numbers, text_length

# Pillow's numbers of resampling filters, as `preprocessor_config.json` has them.
_RESAMPLE = {2: "bilinear", 3: "bicubic"}
_LEVELS = {"image_mean": 0.5, "image_std": 0.5, "rescale_factor": 1 / 255}


def is_huggingface_directory(path: str | Path) -> bool:
    """Whether a directory has a `config.json` of transformers (not of Keras)."""
    config = Path(path) / "config.json"
    if not config.is_file():
        return False
    content = read_json(config)
    return "model_type" in content and "registered_name" not in content


def load_backbone(
    directory: str | Path,
    load_weights: bool = True,
    dtype: Any = None,
    **overrides: Any,
) -> PaliGemma2Backbone:
    """Builds a backbone from `config.json` and fills it from the weights.

    All layouts of keys that transformers has written are read, in one file or in
    shards, of float32, bfloat16 or float16. Tensors pass to their variables one at
    a time. The embedding rows of `<image>` and of padding are left out.

    Args:
        directory: a Hugging Face directory.
        load_weights: False leaves the weights random; no weight files are needed.
        dtype: dtype policy of the backbone; None for Keras' own.
        **overrides: numbers of the vision encoder or text decoder by name, as in
            `presets.override_numbers`.

    Raises:
        FileNotFoundError: when `config.json`, the weights or a shard is missing.
        ValueError: when the directory holds another model, a file is cut off, or
            keys or shapes of the weights do not fit; before tensors are read.
        TypeError: for an override no part has.
    """
    directory = Path(directory)
    numbers = override_numbers(read_numbers(_read_config(directory)), **overrides)
    if not load_weights:
        return PaliGemma2Backbone(**numbers, dtype=dtype)
    source = HuggingFaceSource(directory)
    rows = weight_rows(**numbers)
    check_keys(rows, source.keys(), IGNORABLE)
    source.check_float(rows)
    source.check_tied()
    backbone = PaliGemma2Backbone(**numbers, dtype=dtype)
    assign(rows, source, {v.path: v for v in backbone.variables})
    return backbone


def load_tokenizer(directory: str | Path) -> PaliGemma2Tokenizer:
    """Reads `tokenizer.model`; a `tokenizer.json` alone is not enough.

    Raises:
        FileNotFoundError: when there is no `tokenizer.model`.
        ValueError: when it lacks the location and segment pieces.
    """
    path = Path(directory) / "tokenizer.model"
    if not path.is_file():
        other = Path(directory) / "tokenizer.json"
        raise FileNotFoundError(
            f"Expected the SentencePiece file tokenizer.model in {directory}. "
            + ("Only tokenizer.json is there, which is not read. " * other.is_file())
            + "Take tokenizer.model from the repository the model was tuned from, "
            "such as google/paligemma2-3b-pt-224: all PaliGemmas share it."
        )
    return PaliGemma2Tokenizer(proto=path.read_bytes())


def load_image_converter(directory: str | Path) -> PaliGemma2ImageConverter:
    """Reads image size and filter from the preprocessor's or processor's config.

    Without these files: the size of `config.json`, bicubic.

    Raises:
        FileNotFoundError: when there is no `config.json`.
        ValueError: when the files say what the model's images are not.
    """
    directory = Path(directory)
    numbers = read_numbers(_read_config(directory))
    side = numbers["vision_encoder"]["image_size"]
    config = _image_processor_config(directory)
    size = config.get("size", {"height": side, "width": side})
    if size != {"height": side, "width": side}:
        raise ValueError(
            f"Expected images of {side} x {side} pixels, the image_size of "
            f"config.json. Received: size {size} in the preprocessor's config."
        )
    resample = config.get("resample", 3)
    if resample not in _RESAMPLE:
        raise ValueError(
            "Expected resample 2 (bilinear) or 3 (bicubic) in the preprocessor's "
            f"config. Received: {resample!r}."
        )
    for name, expected in _LEVELS.items():
        value = config.get(name, expected)
        values = value if isinstance(value, list) else [value]
        if any(abs(v - expected) > 1e-6 for v in values):
            raise ValueError(
                f"Expected {name} {expected} in the preprocessor's config, which maps "
                f"levels to [-1, 1] as PaliGemma takes them. Received: {value}."
            )
    return PaliGemma2ImageConverter(
        image_size=(side, side), interpolation=_RESAMPLE[resample]
    )


def load_preprocessor(
    directory: str | Path, sequence_length: int | None = None, **kwargs: Any
) -> PaliGemma2CausalLMPreprocessor:
    """Reads tokenizer and image sizes into a preprocessor.

    Args:
        directory: a Hugging Face directory.
        sequence_length: number of text tokens; None for what models of this image
            size were trained with (128 at 224 pixels, else 512).
        **kwargs: further arguments of `PaliGemma2CausalLMPreprocessor`.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when a file is not that of a PaliGemma, or the tokenizer has
            more pieces than the model has embeddings.
    """
    directory = Path(directory)
    numbers = read_numbers(_read_config(directory))
    image_converter = load_image_converter(directory)
    tokenizer = load_tokenizer(directory)
    num_rows = numbers["text_decoder"]["vocabulary_size"]
    if tokenizer.vocabulary_size() > num_rows:
        raise ValueError(
            f"Expected a tokenizer of at most {num_rows} pieces, the vocabulary of "
            f"config.json. Received: {tokenizer.vocabulary_size()} pieces in "
            f"{directory / 'tokenizer.model'}, so it belongs to another model."
        )
    if sequence_length is None:
        sequence_length = text_length("pt", numbers["vision_encoder"]["image_size"])
    return PaliGemma2CausalLMPreprocessor(
        tokenizer, image_converter, sequence_length=sequence_length, **kwargs
    )


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    if path.is_file():
        return read_json(path)
    is_adapter = (directory / "adapter_config.json").is_file()
    raise FileNotFoundError(
        f"Expected a Hugging Face PaliGemma directory with a config.json. Received: "
        f"{directory} without one. "
        + (
            "It is a PEFT adapter: load the model it was trained on."
            if is_adapter
            else "Download the whole repository."
        )
    )


def _image_processor_config(directory: Path) -> dict[str, Any]:
    """transformers 5 nests it in `processor_config.json`; the hub's is by itself."""
    own, nested = directory / "preprocessor_config.json", "processor_config.json"
    if own.is_file():
        return read_json(own)
    if (directory / nested).is_file():
        return read_json(directory / nested).get("image_processor", {})
    return {}
