"""gemma.cpp's `ModelConfig` as the architecture of a backbone, and back.

Serialised as 32-bit words (gemma.cpp `io/fields.cc`, `gemma/configs.h`): a structure is
the number of words that follow and its fields in order, so that a newer version's
additional fields can be skipped; a text is its number of words and padded ASCII; a
list is its length and its items.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from keras_pg2.catalogue.architecture import num_image_tokens
from keras_pg2.checks.architecture import check_part
from keras_pg2.typing import Architecture

T = TypeVar("T")

MAX_LENGTH = 8192
"""Tokens of the longest sequence; a window of as many is off."""

_MAX_CONFIG_BYTES = 2**18
"""Nearly twice as much as 1,024 layers of both parts take."""

WEIGHT_TYPES = {"float32": 1, "bfloat16": 2, "sfp": 3}
_PALIGEMMA_WRAPPING = 3
_GEMMA, _VIT = 0, 1
# gemma.cpp's models; it takes the sizes from the configuration all the same.
_MODELS = {(26, 224): 10, (26, 448): 11, (42, 224): 12, (42, 448): 13}
_LAYER_FIELDS = (
    "model_dim",
    "unused_griffin_dim",
    "ff_hidden_dim",
    "heads",
    "kv_heads",
    "qkv_dim",
    "unused_conv_width",
    "ff_biases",
    "unused_biases",
    "optimized_gating",
    "post_norm",
    "type",
    "activation",
    "post_qk",
    "use_qk_norm",
)


def _float_bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


def _structure(words: list[int]) -> list[int]:
    return [len(words), *words]


def text_words(text: str) -> list[int]:
    """A text as words: their number, then ASCII padded with zeros."""
    data = text.encode("ascii")
    data += bytes(-len(data) % 4)
    return [len(data) // 4, *struct.unpack(f"<{len(data) // 4}I", data)]


def matrix_words(
    name: str, type_number: int, itemsize: int, shape: tuple[int, int], scale: float
) -> list[int]:
    """An entry of the table of contents, `MatPtr`."""
    rows, columns = shape
    words = [*text_words(name), type_number, itemsize, rows * columns, rows, columns]
    return _structure([*words, _float_bits(scale), columns])


def _layer_words(**fields: int) -> list[int]:
    return _structure([fields.get(name, 0) for name in _LAYER_FIELDS])


def config_words(
    architecture: Architecture, weights: str, end_tokens: tuple[int, int]
) -> list[int]:
    """The configuration of a network.

    Args:
        architecture: Architecture of a backbone, its vocabulary as long as the table.
        weights: "float32", "bfloat16" or "sfp", the smallest type in the file.
        end_tokens: Ids of the tokens that end an answer.

    Raises:
        ValueError: when gemma.cpp has no such network.
    """
    vision, text = architecture["vision_encoder"], architecture["text_decoder"]
    layer = _layer_words(
        model_dim=text["hidden_dim"],
        ff_hidden_dim=text["intermediate_dim"],
        heads=text["num_query_heads"],
        kv_heads=text["num_key_value_heads"],
        qkv_dim=text["head_dim"],
        post_norm=int(text["has_post_norms"]),
        type=_GEMMA,
    )
    window = text["sliding_window"] or MAX_LENGTH
    windows = [MAX_LENGTH if i % 2 else window for i in range(text["num_layers"])]
    model = _MODELS.get((text["num_layers"], vision["image_size"]), 10)
    words = [1, *text_words("PaliGemma 2"), model, _PALIGEMMA_WRAPPING]
    words += [WEIGHT_TYPES[weights], text["num_layers"], text["hidden_dim"]]
    words += [text["vocabulary_size"], MAX_LENGTH, 0]
    words += [_float_bits(text["attention_logit_soft_cap"] or 0.0)]
    words += [_float_bits(text["final_logit_soft_cap"] or 0.0), 0, 0]
    words += [_query_scale(text), text["num_layers"], *layer * text["num_layers"]]
    words += [len(windows), *windows, 1, *_vision_words(vision), 1]
    words += [*end_tokens, 0]
    return _structure(words)


def _vision_words(vision: Mapping[str, Any]) -> list[int]:
    layer = _layer_words(
        model_dim=vision["hidden_dim"],
        ff_hidden_dim=vision["intermediate_dim"],
        heads=vision["num_heads"],
        kv_heads=vision["num_heads"],
        qkv_dim=vision["hidden_dim"] // vision["num_heads"],
        ff_biases=1,
        type=_VIT,
    )
    num_layers = vision["num_layers"]
    words = [vision["hidden_dim"], num_image_tokens(**vision), 4 * num_layers]
    words += [
        vision["patch_size"],
        vision["image_size"],
        num_layers,
        *layer * num_layers,
        1,
    ]
    return _structure(words)


def _query_scale(text: Mapping[str, Any]) -> int:
    scalar = text["query_pre_attn_scalar"]
    if scalar == text["head_dim"]:
        return 0
    if scalar == text["hidden_dim"] / text["num_query_heads"]:
        return 1
    raise ValueError(
        f"Expected a query_pre_attn_scalar of head_dim ({text['head_dim']}) or "
        f"hidden_dim / num_query_heads, which gemma.cpp has. Received: {scalar}."
    )


class _Words:
    """Reads fields one after another.

    Raises:
        ValueError: when there is no other field in the structure that is read.
    """

    def __init__(self, data: bytes) -> None:
        self._words = np.frombuffer(data, "<u4", len(data) // 4)
        self._end = len(self._words)
        self.index = 0

    @property
    def is_at_end(self) -> bool:
        return self.index >= self._end

    def number(self) -> int:
        if self.is_at_end:
            raise ValueError("it ends in the middle of a field")
        self.index += 1
        return int(self._words[self.index - 1])

    def float(self) -> float:
        return struct.unpack("<f", struct.pack("<I", self.number()))[0]

    def text(self) -> str:
        words = self.list(self.number)
        return struct.pack(f"<{len(words)}I", *words).rstrip(b"\0").decode("ascii")

    def list(self, read: Callable[[], T]) -> list[T]:
        return [read() for _ in range(self.number())]

    def structure(self, read: Callable[[], T]) -> T:
        """Reads known fields and skips those that a newer version added."""
        outer = self._end
        end = self.number() + self.index
        if end > outer:
            raise ValueError(f"a structure of {end - self.index} fields is cut off")
        self._end = end
        result = read()
        self.index, self._end = end, outer
        return result


def read_config(data: bytes, source: str | Path = "the .sbs file") -> Architecture:
    """Read the architecture of a backbone from a serialised `ModelConfig`.

    Args:
        data: The serialised configuration.
        source: The file, for errors.

    Raises:
        ValueError: when it is damaged, or of another model than a PaliGemma.
    """
    if len(data) > _MAX_CONFIG_BYTES:
        raise ValueError(
            f"Expected a configuration of at most {_MAX_CONFIG_BYTES:,} bytes in "
            f"{source}. Received: {len(data):,}."
        )
    words = _Words(data)
    try:
        return words.structure(lambda: _read_model(words))
    except ValueError as error:
        raise ValueError(
            f"Expected the configuration of a PaliGemma in {source}: {error}"
        ) from error


def _read_model(words: _Words) -> Architecture:
    words.number(), words.text(), words.number(), words.number(), words.number()
    num_layers, width, vocabulary_size, max_length, _ = (
        words.number() for _ in range(5)
    )
    attention_cap, final_cap = words.float(), words.float()
    words.number(), words.number()
    query_scale = words.number()
    layers = words.list(lambda: _read_layer(words))
    windows = words.list(words.number)
    words.number()
    vision = words.structure(lambda: _read_vision(words))
    if not vision:
        raise ValueError("it has no image encoder")
    layer = _same_layer("decoder", layers, num_layers, width)
    if query_scale not in (0, 1):
        raise ValueError(f"query scale {query_scale}")
    head_dim, heads = layer["qkv_dim"], layer["heads"]
    scalar = width // heads if query_scale and heads else head_dim
    local = [size if size < max_length else None for size in windows]
    alternates = len({*local[::2]}) == 1 and not {*local[1::2]} - {None}
    if len(windows) != num_layers or not alternates:
        raise ValueError(f"windows of {sorted(set(windows))[:8]} that do not alternate")
    text = {
        "vocabulary_size": vocabulary_size,
        "num_layers": num_layers,
        "num_query_heads": heads,
        "num_key_value_heads": layer["kv_heads"],
        "head_dim": head_dim,
        "hidden_dim": width,
        "intermediate_dim": layer["ff_hidden_dim"],
        "query_pre_attn_scalar": scalar,
        "attention_logit_soft_cap": attention_cap or None,
        "final_logit_soft_cap": final_cap or None,
        "sliding_window": local[0],
        "has_post_norms": bool(layer["post_norm"]),
    }
    architecture = {"vision_encoder": vision, "text_decoder": text}
    for part, numbers in architecture.items():
        check_part(part, numbers)
    return architecture


def _same_layer(
    part: str, layers: list[dict[str, int]], num_layers: int, width: int
) -> dict[str, int]:
    """The layer that all of a part are like, of the part's width."""
    if len(layers) != num_layers or any(layer != layers[0] for layer in layers):
        raise ValueError(
            f"{num_layers} layers of the {part} that differ or are not there"
        )
    if not layers or layers[0]["model_dim"] != width:
        raise ValueError(f"layers of the {part} of another width than {width}")
    return layers[0]


def _read_layer(words: _Words) -> dict[str, int]:
    def read() -> dict[str, int]:
        # An older version has fewer fields; those it lacks are 0 for gemma.cpp too.
        return {
            name: 0 if words.is_at_end else words.number() for name in _LAYER_FIELDS
        }

    return words.structure(read)


def _read_vision(words: _Words) -> dict[str, Any]:
    width, _, _, patch_size, image_size = (words.number() for _ in range(5))
    layers = words.list(lambda: _read_layer(words))
    if not layers:
        return {}
    layer = _same_layer("image encoder", layers, len(layers), width)
    heads = layer["heads"]
    if layer["kv_heads"] != heads or layer["qkv_dim"] * heads != width:
        raise ValueError("heads of the image encoder that do not make its width")
    return {
        "image_size": image_size,
        "patch_size": patch_size,
        "num_layers": len(layers),
        "num_heads": heads,
        "hidden_dim": width,
        "intermediate_dim": layer["ff_hidden_dim"],
    }


def read_contents(
    data: bytes, path: Path
) -> list[tuple[str, int, tuple[int, int], float]]:
    """Reads the table of contents: name, type, (rows, columns) and scale of each.

    Raises:
        ValueError: when it is damaged.
    """
    words = _Words(data)

    def read_entry() -> tuple[str, int, tuple[int, int], float]:
        name, type_number = words.text(), words.number()
        words.number(), words.number()
        shape = (words.number(), words.number())
        return name, type_number, shape, words.float()

    entries = []
    try:
        while not words.is_at_end:
            entries.append(words.structure(read_entry))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(
            f"Expected the table of contents of a .sbs file in {path}: {error}."
        ) from error
    return entries
