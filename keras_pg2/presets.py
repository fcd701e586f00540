"""Names of models: the released checkpoints, the bundled ones, directories, URIs."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

from keras_pg2.model_numbers import count_parameters as count_parameters
from keras_pg2.model_numbers import override_numbers as override_numbers
from keras_pg2.released_models import PRESETS, Preset
from keras_pg2.released_models import text_length as text_length

NANO_ALIAS = "pali_gemma2_nano"
"""Stands for the newest bundled preset of the small trained model."""

_ALIASES = {alias: p.name for p in PRESETS.values() for alias in p.aliases}


def bundled_presets() -> dict[str, Path]:
    """Name and directory of the presets that come with the package, oldest first."""
    package = Path(__file__).parent
    in_wheel = package / "_presets"
    root = in_wheel if in_wheel.is_dir() else package.parent / "presets"
    found = [path.parent for path in root.glob("*/config.json")]
    return {path.name: path for path in sorted(found, key=_date_saved)}


def _date_saved(preset: Path) -> tuple[str, str]:
    """KerasHub's metadata has dates that sort as text."""
    metadata = preset / "metadata.json"
    saved = json.loads(metadata.read_text()) if metadata.exists() else {}
    return saved.get("date_saved", ""), preset.name


def resolve(name_or_path: str | Path) -> Preset | Path | str:
    """Finds what a user's word for a model stands for.

    Args:
        name_or_path: a preset's name or alias, a directory, or a URI.

    Returns:
        The record of a released checkpoint, the directory of a bundled preset or
        of the user's own, or a URI of another model, unchanged.

    Raises:
        ValueError: when it is none of these.
    """
    name = str(name_or_path)
    if name in PRESETS or name in _ALIASES:
        return PRESETS[_ALIASES.get(name, name)]
    bundled = bundled_presets()
    if name in bundled:
        return bundled[name]
    nanos = [path for key, path in bundled.items() if key.startswith(NANO_ALIAS)]
    if name == NANO_ALIAS and nanos:
        return nanos[-1]
    directory = _as_directory(name)
    if directory is not None:
        return directory
    if "://" in name:
        return name
    near = _near_names(name, [*bundled, NANO_ALIAS, *PRESETS])
    raise ValueError(
        "Expected the name of a preset, an existing directory, or a URI such as "
        f"'hf://organisation/model'. Received: {name!r}. "
        + (f"Did you mean {' or '.join(map(repr, near))}? " if near else "")
        + "The command `keras-pg2 presets` lists all presets."
    )


def _near_names(name: str, known: list[str]) -> list[str]:
    """Known names of nearly the same words, in any order."""
    by_words = {_sorted_words(other): other for other in known}
    near = difflib.get_close_matches(_sorted_words(name), by_words, n=3)
    return [by_words[words] for words in near]


def _sorted_words(name: str) -> str:
    return " ".join(sorted(re.findall("[a-z0-9]+", name.lower())))


def _as_directory(name: str) -> Path | None:
    """The directory of that name; None for what names none, or cannot."""
    try:
        path = Path(name).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError):  # A name too long, or the home of nobody.
        return None


def resolve_directory(name_or_path: str | Path) -> Path:
    """As `resolve`, for a model whose files are on this machine.

    Raises:
        FileNotFoundError: for a released checkpoint or a URI, which has to be
            downloaded first; says how.
        ValueError: when the name stands for nothing.
    """
    found = resolve(name_or_path)
    if isinstance(found, Path):
        return found
    if isinstance(found, Preset):
        raise FileNotFoundError(
            f"Expected the files of {found.name} on this machine. Accept the licence "
            f"at https://huggingface.co/{found.huggingface_id}, run `hf download "
            f"{found.huggingface_id} --local-dir DIRECTORY`, and pass that directory "
            f"instead of {str(name_or_path)!r}."
        )
    raise FileNotFoundError(
        f"Expected a directory on this machine, received the URI {found!r}. Download "
        "it (`hf download`, `kaggle models`) and pass the directory."
    )
