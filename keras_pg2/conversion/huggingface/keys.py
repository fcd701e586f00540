"""The keys of a file, whatever tool has saved it, by their names on the hub.

Trainers and other libraries save a PaliGemma as a part of a module of theirs, so all
keys begin alike, or weights together with what is no weight of the network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from keras_pg2.conversion.huggingface.weights import (
    OUTPUT_TABLE,
    TOKEN_TABLE,
    hub_key,
)

# What torch.compile and FSDP put between the names of modules.
_WRAPPER = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_MOST_MODULES = 8
"""Modules around a PaliGemma; keys of a stranger may be of any length."""
_ORIGINAL = "Load the checkpoint that was not quantised, then call `quantize`."
# What keys say about a file that holds no plain weights, the surest first.
_SIGNS = (
    (
        r"(.*\.)?(custom_text_proj|embedding_proj_layer)\..*",
        "a ColPali, which embeds pages to search in them and answers no prompts. Load "
        "it with ColPaliForRetrieval of transformers, or with colpali-engine.",
    ),
    (
        r".*\.(lora_\w+|base_layer|modules_to_save)\..*",
        "adapters that are not merged. Merge them in peft (`merge_and_unload()`), and "
        "save the model with `save_pretrained`.",
    ),
    (r".*\.(qweight|qzeros|g_idx)", f"GPTQ or AWQ, quantised. {_ORIGINAL}"),
    (
        r".*\.(absmax|quant_map|quant_state\..*|SCB)",
        f"bitsandbytes, quantised. {_ORIGINAL}",
    ),
    (
        r".*\.(weight_scale|weight_scale_inv|weight_packed|input_scale)",
        f"weights quantised to 8 bits or fewer. {_ORIGINAL}",
    ),
    (r".*\.(scales|biases)", f"MLX, quantised. {_ORIGINAL}"),
)


class HubNames(NamedTuple):
    """The tensors of a directory.

    Attributes:
        names: name of each tensor in its file, by its name on the hub.
        notes: what was taken off the names and left out, a sentence each.
    """

    names: dict[str, str]
    notes: tuple[str, ...]


def hub_names(names: Iterable[str], needed: Collection[str]) -> HubNames:
    """Return the tensors of a directory by their names on the hub.

    Args:
        names: names in the files.
        needed: names on the hub of all tensors of the network.

    Raises:
        ValueError: if two tensors have the same name on the hub, keys begin with
            something and are no whole PaliGemma without it, or they are of adapters, of
            quantised weights or of ColPali.
    """
    names = list(names)
    _check_plain(names)
    notes = []
    unwrapped = {name: _WRAPPER.sub("", name) for name in names}
    if any(name != key for name, key in unwrapped.items()):
        notes.append("the keys have names of torch.compile or FSDP, which are left out")
    prefix = _prefix(list(unwrapped.values()), {*needed, OUTPUT_TABLE})
    inside = {n: key for n, key in unwrapped.items() if key.startswith(prefix)}
    found = _by_hub_key({n: key.removeprefix(prefix) for n, key in inside.items()})
    if TOKEN_TABLE not in found and OUTPUT_TABLE in found:
        found[TOKEN_TABLE] = found.pop(OUTPUT_TABLE)
        notes.append(f"the embedding is {found[TOKEN_TABLE]}, which it is tied to")
    if prefix:
        _check_whole(prefix, sorted(set(needed) - found.keys()), len(needed))
        notes.append(f"the keys begin with {prefix!r}, which is left out")
    outside = sorted(unwrapped.keys() - inside.keys())
    if outside:
        notes.append(
            f"{len(outside)} tensors without that beginning are left out, as of a "
            f"model around this PaliGemma: {', '.join(outside[:3])}"
            + (", ..." if len(outside) > 3 else "")
        )
    return HubNames(found, tuple(notes))


def _check_plain(names: list[str]) -> None:
    for pattern, what in _SIGNS:
        found = [name for name in names if re.fullmatch(pattern, name)]
        if found:
            raise ValueError(
                f"Expected the plain weights of a PaliGemma. Received: {found[0]} "
                f"({len(found)} such), of {what}"
            )


def _prefix(keys: list[str], known: Collection[str]) -> str:
    """What most tensors of a PaliGemma begin with before the names that are known.

    Raises:
        ValueError: if that could be one of two, of equally many tensors.
    """
    counts = Counter(
        next((start for start, rest in _cuts(key) if hub_key(rest) in known), None)
        for key in keys
    )
    del counts[None]
    most = counts.most_common(2)
    if len(most) == 2 and most[0][1] == most[1][1] and "" not in counts:
        raise ValueError(
            f"Expected one PaliGemma. Received: two, whose keys begin with "
            f"{most[0][0]!r} and {most[1][0]!r}. Save one of them alone."
        )
    if not most or counts[""] == most[0][1]:
        return ""
    return str(most[0][0])


def _cuts(key: str) -> Iterator[tuple[str, str]]:
    """Yield beginnings and rests of a key, the shortest beginning first."""
    parts = key.split(".", _MOST_MODULES)
    for i in range(len(parts)):
        start = "".join(f"{part}." for part in parts[:i])
        yield start, key.removeprefix(start)


def _check_whole(prefix: str, missing: list[str], num_needed: int) -> None:
    if missing:
        raise ValueError(
            f"Expected all tensors of a PaliGemma after {prefix!r}, which keys begin "
            f"with. Received: all but {len(missing)} of {num_needed}, without "
            f"{', '.join(missing[:8])}. Save the whole model again."
        )


def _by_hub_key(keys: dict[str, str]) -> dict[str, str]:
    """Return names in the files by the hub's names of their keys."""
    by_hub_key: dict[str, str] = {}
    for name, key in keys.items():
        hub = hub_key(key)
        if hub in by_hub_key:
            raise ValueError(
                f"Expected one tensor for {hub}, received two: "
                f"{by_hub_key[hub]} and {name}. Remove one of them."
            )
        by_hub_key[hub] = name
    return by_hub_key
