"""The files that a directory of a checkpoint has, and their one check."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from keras_pg2.files.json_files import MAX_CONFIG_BYTES
from keras_pg2.files.named_files import file_inside
from keras_pg2.files.whole_files import check_finished
from keras_pg2.preprocessing.preset_files import OWN_FILES

_CONFIGS = (
    # Of transformers.
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer.model"),
    *("preprocessor_config.json", "processor_config.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "model.safetensors.index.json"),
    # Of Keras.
    *("metadata.json", "task.json", "preprocessor.json", "image_converter.json"),
    "model.weights.json",
)
_WEIGHTS = (
    *("model.safetensors", "model-*-of-*.safetensors"),
    *("model.weights.h5", "model_*.weights.h5", "task.weights.h5"),
)
_UNREAD = ("chat_template.*", "README.md", "LICENSE*", "NOTICE*", ".gitattributes")
_VOCABULARY = "assets/tokenizer/vocabulary.spm"


def is_checkpoint_file(name: str) -> bool:
    """Return whether a checkpoint has a file of this name, a path in its directory."""
    if name == _VOCABULARY:
        return True
    patterns = (*_CONFIGS, *_WEIGHTS, *_UNREAD, *OWN_FILES)
    return "/" not in name and any(fnmatchcase(name, each) for each in patterns)


def check_files(directory: Path) -> None:
    """Check, before any is read, that the files of a checkpoint are its own.

    A link is one inside of the directory, or to a blob of the hub's cache.

    Raises:
        OSError: if one is a pipe, a directory or the like.
        ValueError: if one is a link to a file elsewhere, or none of weights and larger
            than any of its kind; if a saving into the directory has not ended.
    """
    check_finished(directory)
    for name in (*_CONFIGS, *OWN_FILES, _VOCABULARY):
        path = directory / name
        if not path.exists():
            continue
        size = file_inside(directory, name).stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise ValueError(
                f"Expected a file of at most {MAX_CONFIG_BYTES / 1e6:.0f} MB at "
                f"{path}. Received: {size / 1e6:.0f} MB."
            )
