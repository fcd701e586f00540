"""Names of models: the released checkpoints, the bundled ones, directories, URIs."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from keras_pg2.catalogue import download
from keras_pg2.catalogue.download import WEIGHT_FILES
from keras_pg2.catalogue.released import PRESETS, Preset, has_weights
from keras_pg2.files.json_fields import read_config
from keras_pg2.files.whole_files import readable

NANO_ALIAS = "pali_gemma2_nano"
"""Stands for the newest bundled preset of the small trained model."""


def bundled_presets() -> dict[str, Path]:
    """Name and directory of the presets that come with the package, oldest first."""
    found = [path.parent for path in PRESETS.root.glob("*/config.json")]
    whole = [path for path in found if has_weights(path)]
    return {path.name: path for path in sorted(whole, key=_date_saved)}


def bundled_names() -> dict[str, Path]:
    """Name and directory of the bundled presets, the alias of the newest among them."""
    bundled = bundled_presets()
    nanos = [path for name, path in bundled.items() if name.startswith(NANO_ALIAS)]
    return {**bundled, **({NANO_ALIAS: nanos[-1]} if nanos else {})}


def _date_saved(preset: Path) -> tuple[str, str]:
    """KerasHub's metadata has dates that sort as text."""
    metadata = preset / "metadata.json"
    if not metadata.is_file():
        return "", preset.name
    return read_config(metadata).text("date_saved", ""), preset.name


def resolve(name_or_path: str | Path) -> Preset | Path | str:
    """Finds what a user's word for a model stands for.

    Args:
        name_or_path: a preset's name or alias, a directory, a .npz or .sbs file, or
            a URI.

    Returns:
        The record of a released checkpoint, which the directory of the package that
        describes it stands for too; the directory of a bundled preset or a path of the
        user's own; or a URI of another model, unchanged.

    Raises:
        TypeError: if it is no text and no path.
        ValueError: if it is not one of these.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(
            "Expected a preset as the name of one, a URI or a path. Received: "
            f"{name_or_path!r}."
        )
    if not str(name_or_path).strip():
        raise ValueError(
            "Expected the name of a preset, a URI or a path. Received: an empty text. "
            "The command `keras-pg2 presets` lists all presets."
        )
    name = str(name_or_path)
    released = PRESETS.find(_without_revision(name))
    if released is not None:
        return released
    bundled = bundled_names()
    if name in bundled:
        return bundled[name]
    path = _as_path(name)
    if path is not None and path.resolve().parent == PRESETS.root.resolve():
        # Its weights are where those of its name are.
        return PRESETS.get(path.resolve().name, path)
    if path is not None:
        return path
    if "://" in name:
        return name
    near = near_names(name, [*bundled, *PRESETS])
    is_file = os.path.isfile(os.path.expanduser(name))
    what = "a file of another kind" if is_file else "where nothing is"
    is_repository = _is_repository(name) and not is_file
    raise ValueError(
        "Expected the name of a preset, the path of a checkpoint, of a run, of an "
        "adapter or of exported files, or a URI such as 'hf://organisation/model'. "
        f"Received: {name!r}, {what}. "
        + (f"Did you mean {' or '.join(map(repr, near))}? " if near else "")
        + (f"On Hugging Face that is 'hf://{name}'. " if is_repository else "")
        + "The command `keras-pg2 presets` lists all presets."
    )


def is_name(word: object) -> bool:
    """Return whether a word is the name of a preset, or an address of a released one.

    As such it is no path, whatever is in the working folder.
    """
    name = str(word)
    return PRESETS.find(_without_revision(name)) is not None or name in bundled_names()


def short_name(word: str | Path) -> str:
    """Return a preset's name; of a directory or file the last part of its path."""
    path = Path(word).expanduser()
    return path.resolve().name if path.exists() else str(word)


def _without_revision(name: str) -> str:
    """A URI as aliases have it: `hf://o/m@main` and `kaggle://o/m/f/v/3` name both.

    The record of a checkpoint is that of all its revisions; what is downloaded is the
    one that was asked for.
    """
    if name.startswith("hf://"):
        return name.partition("@")[0]
    if name.startswith("kaggle://"):
        return re.sub(r"/\d+$", "", name)
    return name


def _is_repository(name: str) -> bool:
    """Whether it has the form of a repository on Hugging Face."""
    return download.HUGGING_FACE_URI.fullmatch(f"hf://{name}") is not None


def near_names(name: str, known: list[str]) -> list[str]:
    """Return up to three known names of nearly the same words, in any order."""
    by_words = {_sorted_words(other): other for other in known}
    near = difflib.get_close_matches(_sorted_words(name), by_words, n=3)
    return [by_words[words] for words in near]


def _sorted_words(name: str) -> str:
    return " ".join(sorted(re.findall("[a-z0-9]+", name.lower())))


def _as_path(name: str) -> Path | None:
    """The directory or weight file of that name; None where there is none."""
    try:
        path = readable(Path(name).expanduser())
        is_file = path.is_file() and path.suffix.lower() in WEIGHT_FILES
        return path if is_file or path.is_dir() else None
    except (OSError, RuntimeError):  # A name too long, or the home of nobody.
        return None


def locate(name_or_path: str | Path, with_weights: bool = True) -> Path:
    """The files of a model on this machine, downloaded if they are not there yet.

    A released checkpoint comes from Hugging Face, unless it is named by its
    `kaggle://` handle. Downloads go through the caches of huggingface_hub and
    kagglehub, are resumed, and use the tokens of their own logins.

    Args:
        name_or_path: as for `resolve`.
        with_weights: False downloads no weights.

    Raises:
        ValueError: when the name stands for nothing.
        PermissionError, FileNotFoundError, ConnectionError: see `download.download`.
    """
    found = resolve(name_or_path)
    if isinstance(found, Path):
        return found
    uri = str(name_or_path)
    if isinstance(found, Preset) and "://" not in uri:
        uri = f"hf://{found.huggingface_id}"
    return download.download(uri, with_weights)
