"""What `predict` is questions: pictures and prompts, from folders and iterables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_pg2.preprocessing.image_folders import list_pictures
from keras_pg2.preprocessing.image_sources import source_name
from keras_pg2.preprocessing.images import is_picture
from keras_pg2.tasks.answering.requests import EncodedImages, Images


class Row(NamedTuple):
    """One prompt about one picture, several, or none.

    Attributes:
        id: what the record is known by: given by the user, the path or address of the
            picture, or the row's index.
        images: as in `generate`; None for text alone.
        prompt: the prompt.
    """

    id: str | int
    images: Images
    prompt: str

    @property
    def key(self) -> tuple[str, str]:
        """What a record is found again by."""
        return (str(self.id), self.prompt)


def read_rows(
    source: Any, prompts: str | Sequence[str] | None
) -> tuple[Iterator[Row], int | None]:
    """The rows, and how many there are if that is known."""
    if isinstance(prompts, str):
        questions = [prompts]
    elif prompts is None or isinstance(prompts, Iterable):
        questions = list(prompts or [])
    else:
        raise TypeError(
            f"Expected prompts as a text or a list of texts. Received: {prompts!r}."
        )
    if isinstance(source, str | os.PathLike):
        source = list_pictures(Path(os.path.expanduser(source)))
    is_iterable = isinstance(source, Iterable) or hasattr(source, "__getitem__")
    if is_picture(source) or isinstance(source, Mapping) or not is_iterable:
        raise TypeError(
            "Expected source as a folder or an iterable of rows. Received: "
            f"{source!r:.200}."
        )
    total = len(source) * max(1, len(questions)) if hasattr(source, "__len__") else None
    return _rows(source, questions), total


def _rows(source: Iterable[Any], questions: list[str]) -> Iterator[Row]:
    for index, entry in enumerate(source):
        if is_picture(entry):
            entry = {"images": entry}
        if not isinstance(entry, Mapping):
            raise TypeError(
                "Expected each row as a picture, as its path, or a dict of images and "
                f"prompts. Received: {type(entry).__name__} at index {index}."
            )
        unknown = entry.keys() - {"images", "prompts", "id"}
        if unknown:
            raise ValueError(
                "Expected rows of images, prompts and id. Received others at index "
                f"{index}: {', '.join(sorted(map(str, unknown)))}."
            )
        images = entry.get("images")
        if isinstance(images, EncodedImages):
            raise TypeError(
                f"Expected pictures, received encoded images at index {index}. Pass "
                "the picture, or call `generate`."
            )
        own = entry.get("prompts")
        texts = questions or ([own] if own is not None else [])
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(
                "Expected a prompt (a text) for every row, in the row or as prompts. "
                f"Received none at index {index}."
            )
        path = source_name(images)
        name = index if path is None else path
        for text in texts:
            yield Row(_check_id(entry.get("id", name), index), images, text)


def _check_id(given: Any, index: int) -> str | int:
    if isinstance(given, str | int):
        return given
    if isinstance(given, np.integer):
        return int(given)
    if isinstance(given, os.PathLike | bytes):
        return os.fsdecode(given)
    raise TypeError(
        "Expected id as a text or a whole number. Received: "
        f"{given!r} at index {index}."
    )
