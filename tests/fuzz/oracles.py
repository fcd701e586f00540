"""What formats' own libraries read from the files that our readers have taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors import deserialize

from tests.fuzz.judging import Arrays, differing, is_close

_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "V2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


class RefusedError(Exception):
    """The format's own library refuses a file."""


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by safetensors; of unknown types raw bytes."""
    found = {}
    try:
        tensors = deserialize(path.read_bytes())
    except Exception as error:
        raise RefusedError(str(error)) from error
    for name, tensor in tensors:
        data, shape = bytes(tensor["data"]), tuple(tensor["shape"])
        kind = _TYPES.get(tensor["dtype"])
        array = np.frombuffer(data, kind or np.uint8)
        found[name] = array.reshape(shape) if kind else array
    return found


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by NumPy, which checks sums."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if len(set(arrays.files)) < len(arrays.files):
                raise RefusedError("a name twice")
            return {key: arrays[key] for key in arrays.files}
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(str(error)) from error


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Return the datasets of a file by h5py; those outside of it have no numbers."""
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                return
            value = item[()]
            kind = item.attrs.get("dtype")
            is_bfloat16 = isinstance(kind, str) and kind == "bfloat16"
            found[name] = np.asarray(value.view("V2") if is_bfloat16 else value)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except Exception as error:
        raise RefusedError(str(error)) from error
    return found


def compare_safetensors(folder: Path, result: Any) -> str | None:
    """Compare the tensors of a directory with those that safetensors reads."""
    return _compare(result["tensors"], folder.glob("*.safetensors"), read_safetensors)


def compare_npz(folder: Path, result: Any) -> str | None:
    return _compare(result["tensors"], folder.glob("*.npz"), read_npz)


def compare_hdf5(folder: Path, result: Any) -> str | None:
    return _compare(result["tensors"], folder.glob("*.h5"), read_hdf5)


def _compare(ours: Arrays, paths: Any, read: Any) -> str | None:
    theirs: dict[str, np.ndarray] = {}
    for path in paths:
        try:
            theirs |= read(path)
        except RefusedError as error:
            return f"its own library refuses {path.name}: {error}"
    return differing(ours, theirs)


def compare_adapter(folder: Path, result: Any) -> str | None:
    """Compare the factors of an adapter with what safetensors reads."""
    ours = {
        f"{layer}/{name}": value
        for layer, factors in result.layers.items()
        for name, value in (("lora_kernel_a", factors.a), ("lora_kernel_b", factors.b))
    }
    return _compare(ours, folder.glob("*.safetensors"), read_safetensors)


def compare_transformers(folder: Path, result: Any) -> str | None:
    """Compare an architecture with what transformers reads from config.json."""
    from transformers import PaliGemmaConfig

    content = json.loads((folder / "config.json").read_bytes())
    try:
        config = PaliGemmaConfig.from_dict(content)
    except Exception:  # It checks fields that are of no use here, too.
        return None
    theirs = {
        "text_decoder": config.text_config,
        "vision_encoder": config.vision_config,
    }
    is_second = config.text_config.model_type == "gemma2"
    for part, name, their_name in (*_NUMBERS, *(_OF_GEMMA_2 if is_second else ())):
        mine = result["architecture"][part][name]
        other = getattr(theirs[part], their_name)
        if not is_close(mine, other):
            return f"{name} is {mine!r}, in transformers {other!r}"
    return None


_TEXT, _VISION = "text_decoder", "vision_encoder"
_NUMBERS = (
    (_TEXT, "hidden_dim", "hidden_size"),
    (_TEXT, "num_layers", "num_hidden_layers"),
    (_TEXT, "num_query_heads", "num_attention_heads"),
    (_TEXT, "num_key_value_heads", "num_key_value_heads"),
    (_TEXT, "head_dim", "head_dim"),
    (_TEXT, "intermediate_dim", "intermediate_size"),
    (_VISION, "image_size", "image_size"),
    (_VISION, "patch_size", "patch_size"),
    (_VISION, "hidden_dim", "hidden_size"),
    (_VISION, "num_layers", "num_hidden_layers"),
    (_VISION, "num_heads", "num_attention_heads"),
    (_VISION, "intermediate_dim", "intermediate_size"),
)
"""Parts and names of ours, and names of transformers."""
_OF_GEMMA_2 = (
    (_TEXT, "query_pre_attn_scalar", "query_pre_attn_scalar"),
    (_TEXT, "attention_logit_soft_cap", "attn_logit_softcapping"),
    (_TEXT, "final_logit_soft_cap", "final_logit_softcapping"),
)


SENTENCES = ("caption en", "a  b\tc\n\nd", "Hund schläft 猫", "<loc0001><seg001> cat")


def compare_tokenizers(folder: Path, result: Any) -> str | None:
    """Compare the ids of texts with those of the tokenizers library."""
    from tokenizers import Tokenizer

    text = (folder / "tokenizer.json").read_bytes().decode()
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception:  # It checks fields that are of no use here, too.
        return None
    for sentence, ids in zip(SENTENCES, result["ids"]):
        theirs = tokenizer.encode(sentence, add_special_tokens=False).ids
        if ids != theirs:
            return f"ids of {sentence!r} are {ids}, of tokenizers {theirs}"
    return None
