"""Which layers the configuration of a PEFT adapter names.

The rules are PEFT's (peft 0.21, `tuners/tuners_utils.py`, check_target_module_exists).
Its names are those of the modules of the transformers that was installed, which the
names in the file tell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

ALL_LINEAR = "all-linear"


def module_name(key: str) -> str:
    """Return the name that transformers 5 gives the module of a key of the hub."""
    return _since_4_52(key).replace("vision_tower.vision_model.", "vision_tower.")


def _since_4_52(key: str) -> str:
    name = _before(key).replace("language_model.model.", "language_model.")
    return f"model.{name}"


def _before(key: str) -> str:
    return key.removesuffix(".weight")


_STYLES = (module_name, _since_4_52, _before)


def layers_without_factors(
    config: Mapping[str, Any], modules: Collection[str], layers: Mapping[str, str]
) -> list[str]:
    """Return layers that a configuration names and a file has no factors of.

    Args:
        config: Configuration of the adapter.
        modules: Names of the modules whose factors are in the file.
        layers: All dense layers, by the hub's keys of their kernels.

    Raises:
        ValueError: if the configuration has an invalid regular expression.
    """
    missing: list[set[str]] = []
    for style in _STYLES:
        names = {style(key): layer for key, layer in layers.items()}
        if not all(module in names for module in modules):
            continue  # Another version of transformers.
        try:
            named = {name for name in names if _is_named(config, name)}
        except re.error as error:
            raise ValueError(
                "Expected target_modules and exclude_modules as names or regular "
                f"expressions. Received an invalid one: {error}."
            ) from error
        missing.append({names[name] for name in named.difference(modules)})
    # A file may fit several versions, of which only one was there.
    return sorted(set.intersection(*missing)) if missing else []


def _is_named(config: Mapping[str, Any], name: str) -> bool:
    """Return whether PEFT would give a module factors."""
    targets = config.get("target_modules")
    if not targets or _matches(config.get("exclude_modules"), name):
        return False
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        return True
    if not _matches(targets, name):
        return False
    if isinstance(targets, str) or name in targets:
        return True
    wanted = config.get("layers_to_transform")
    if wanted is None or wanted == []:
        return True
    patterns = config.get("layers_pattern") or r"[^.]*"
    patterns = [patterns] if isinstance(patterns, str) else patterns
    found = (re.match(rf"(?:^|.*?\.){each}\.(\d+)\.", name) for each in patterns)
    index = next((int(match[1]) for match in found if match), None)
    return index in ([wanted] if isinstance(wanted, int) else wanted)


def _matches(targets: str | Collection[str] | None, name: str) -> bool:
    """Return whether names or an expression of the configuration mean a module."""
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == each or name.endswith(f".{each}") for each in targets or ())
