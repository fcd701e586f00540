"""The released checkpoints, as their directories in `presets/` describe them.

A directory has everything of a checkpoint but its weights and vocabulary, in the layout
that `from_preset` reads; `scripts/write_presets.py` writes it. Nothing is read before
it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from keras_pg2.catalogue.architecture import read_architecture
from keras_pg2.files.json_fields import Fields, read_config
from keras_pg2.typing import Architecture

NUM_EXTRA_ROWS = 64
"""Rows the hub's tables have beyond the vocabulary: `<image>` and padding."""


@dataclass(frozen=True)
class Preset:
    """A released checkpoint.

    Attributes:
        name: the name `from_preset` takes.
        directory: the files that describe it.
        kind: "pt" (pretrained, to be fine-tuned), "mix" (many tasks) or "ft_docci"
            (long captions).
        license: name of the licence, as Hugging Face has it.
        sequence_length: text tokens (prompt, response) it was trained with.
        num_parameters: number of weights of the backbone.
        kaggle_handle: `kaggle://` URI of the weights in KerasHub's format.
        huggingface_id: repository of the weights in transformers' format.
        aliases: other names for it: KerasHub's, Kaggle handles, Hugging Face ids.
        download_bytes: size of the weights on Hugging Face.
        memory_bytes: size of the weights in memory by their type: "bfloat16", "int8",
            "int4"; what `quantize` leaves floats is bfloat16.
        vision_encoder: arguments of the `SigLIPEncoder`.
        text_decoder: arguments of the `Gemma2Decoder`.
    """

    name: str
    directory: Path
    kind: str
    license: str
    sequence_length: int
    num_parameters: int
    kaggle_handle: str
    huggingface_id: str
    aliases: tuple[str, ...]
    download_bytes: int
    memory_bytes: dict[str, int]
    vision_encoder: dict[str, Any]
    text_decoder: dict[str, Any]

    @property
    def architecture(self) -> Architecture:
        """Arguments of the backbone."""
        return {
            "vision_encoder": self.vision_encoder,
            "text_decoder": self.text_decoder,
        }

    @property
    def image_size(self) -> int:
        """Height and width of the input images in pixels."""
        size: int = self.vision_encoder["image_size"]
        return size


class ReleasedPresets(Mapping[str, Preset]):
    """The presets of a folder that have no weights, by name.

    Args:
        root: Folder of directories, one for each preset.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[str, Preset] = {}

    def __getitem__(self, name: str) -> Preset:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = read_preset(self.root / name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def find(self, name: str) -> Preset | None:
        """Return the preset of a name or alias; None if unknown."""
        name = self._aliases.get(name, name)
        return self[name] if name in self._names else None

    @cached_property
    def _names(self) -> dict[str, None]:
        found = [p.parent for p in sorted(self.root.glob("*/config.json"))]
        return {p.name: None for p in found if not has_weights(p)}

    @cached_property
    def _aliases(self) -> dict[str, str]:
        return {
            alias: name
            for name in self._names
            for alias in _read_aliases(self.root / name)
        }


def read_preset(directory: Path) -> Preset:
    """Return what a directory says about a released checkpoint.

    Raises:
        OSError: if a file is missing or cannot be read.
        ValueError: if one is no JSON, or a field of it is missing or not as it should
            be.
    """
    config = read_config(directory / "config.json").fields("config")
    metadata = read_config(directory / "metadata.json")
    return Preset(
        name=directory.name,
        directory=directory,
        kind=metadata.text("kind"),
        license=metadata.text("license"),
        sequence_length=metadata.integer("sequence_length", at_least=1),
        num_parameters=_count(metadata, "parameter_count"),
        kaggle_handle=metadata.text("kaggle_handle"),
        huggingface_id=metadata.text("huggingface_id"),
        aliases=_read_aliases(directory),
        download_bytes=_count(metadata, "download_bytes"),
        memory_bytes=metadata.table("memory_bytes", _count),
        **read_architecture(config),
    )


def _read_aliases(directory: Path) -> tuple[str, ...]:
    metadata = read_config(directory / "metadata.json")
    return tuple(metadata.items("aliases", Fields.text))


def _count(fields: Fields, name: str) -> int:
    """Return a number of bytes or weights, which is often above 2**31."""
    count: int = fields.integer(name, at_most=2**63 - 1)
    return count


def has_weights(directory: Path) -> bool:
    """Whether a directory has weights in the layout of Keras."""
    names = ("model.weights.h5", "model.weights.json")
    return any((directory / name).is_file() for name in names)


def text_length(image_size: int, kind: str = "") -> int:
    """Return the text tokens of training: big_vision, `configs/proj/paligemma`.

    Args:
        image_size: Height and width of the pictures.
        kind: Kind of a released checkpoint, as `Preset.kind`; "" for a checkpoint whose
            files do not say what it was trained on: it gets the room that those for
            many tasks ("mix") have, so that no answer is cut.
    """
    if image_size > 224:
        return 512
    return 128 if kind == "pt" else 256


def _root() -> Path:
    """The folder of presets: in the wheel, or in the repository."""
    package = Path(__file__).parents[1]
    in_wheel = package / "_presets"
    return in_wheel if in_wheel.is_dir() else package.parent / "presets"


PRESETS = ReleasedPresets(_root())
"""The 17 released PaliGemma 2 and 5 PaliGemma checkpoints by name."""
