"""Reads a Hugging Face directory of PaliGemma or PaliGemma 2.

The directory is what `hf download google/paligemma2-3b-pt-224` or transformers'
`save_pretrained` leaves: `config.json`, safetensors files and, for the
preprocessor, `tokenizer.model` or `tokenizer.json` and `preprocessor_config.json`.
PyTorch and transformers are not needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_pg2.catalogue.released import text_length
from keras_pg2.checks.vocabularies import piece_texts
from keras_pg2.conversion.huggingface.config import read_architecture
from keras_pg2.conversion.huggingface.tokenizer.directory import read_tokenizer
from keras_pg2.conversion.huggingface.weights import (
    IGNORABLE,
    check_float,
    check_tied,
    hub_names,
    weight_rows,
)
from keras_pg2.conversion.safetensors_files import SafetensorsSource
from keras_pg2.conversion.tables.blocks import RenamedSource
from keras_pg2.conversion.tables.checkpoint import Checkpoint, Preprocessing
from keras_pg2.files.json_files import read_json
from keras_pg2.typing import Architecture

# Pillow's numbers of resampling filters, as `preprocessor_config.json` has them.
RESAMPLE = {2: "bilinear", 3: "bicubic"}
_LEVELS = {"image_mean": 0.5, "image_std": 0.5, "rescale_factor": 1 / 255}


def is_huggingface_directory(path: str | Path) -> bool:
    """Whether a directory has a `config.json` of transformers (not of Keras)."""
    config = Path(path) / "config.json"
    if not config.is_file():
        return False
    content = read_json(config)
    return "model_type" in content and "registered_name" not in content


def open_huggingface(directory: Path, with_weights: bool = True) -> Checkpoint:
    """Opens a Hugging Face directory as `open_checkpoint`.

    All layouts of keys that transformers has written are read, in one file or in
    shards, of float32, bfloat16 or float16. The embedding rows of `<image>` and of
    padding are left out.

    Raises:
        FileNotFoundError: when `config.json`, the weights or a shard is missing.
        ValueError: when the directory holds another model, a file is cut off, or
            keys or shapes of the weights do not fit; before tensors are read.
    """
    path = directory / "config.json"
    config = read_json(path)
    tokenizer = read_tokenizer(directory)
    tokens = [] if tokenizer is None else piece_texts(tokenizer)
    architecture = read_architecture(config, path, tokens)
    checkpoint = Checkpoint(
        format="huggingface",
        path=directory,
        architecture=architecture,
        preprocessing=_read_preprocessing(directory, architecture, tokenizer),
    )
    if not with_weights:
        return checkpoint
    files = SafetensorsSource(directory)
    source = RenamedSource(files, hub_names(files.keys()))
    checkpoint = checkpoint.with_weights(weight_rows(**architecture), source, IGNORABLE)
    keys = [row.theirs for row in checkpoint.rows]
    check_float({key: files.type_name(source.names[key]) for key in keys})
    check_tied(source)
    return checkpoint


def _read_preprocessing(
    directory: Path, architecture: Architecture, tokenizer: bytes | None
) -> Preprocessing:
    """Reads the filter from the preprocessor's or processor's config.

    Without these files: bicubic. The text length is what models of
    this image size were trained with (256 up to 224 pixels, else 512).

    Raises:
        ValueError: when the files say what the model's images are not.
    """
    side = architecture["vision_encoder"]["image_size"]
    config = _image_processor_config(directory)
    size = config.get("size", {"height": side, "width": side})
    if size != {"height": side, "width": side}:
        raise ValueError(
            f"Expected images of {side} x {side} pixels, the image_size of "
            f"config.json. Received: size {size} in the preprocessor's config."
        )
    resample = config.get("resample", 3)
    if resample not in RESAMPLE:
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
    return Preprocessing(
        tokenizer=tokenizer,
        sequence_length=text_length(side),
        interpolation=RESAMPLE[resample],
    )


def _image_processor_config(directory: Path) -> dict[str, Any]:
    """transformers 5 nests it in `processor_config.json`; the hub's is by itself."""
    own, nested = directory / "preprocessor_config.json", "processor_config.json"
    if own.is_file():
        return read_json(own)
    if (directory / nested).is_file():
        return read_json(directory / nested).get("image_processor", {})
    return {}
