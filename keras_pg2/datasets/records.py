"""Rows of the library `datasets`, of Parquet files and of tables in memory."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from keras_pg2.checks.texts import reason
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.entries import EntryReader
from keras_pg2.datasets.image_finder import ImageFinder
from keras_pg2.datasets.rows import Rows
from keras_pg2.preprocessing.images import is_array


def read_records(
    records: Iterable[Mapping[str, Any]],
    image_folder: str | Path = ".",
    *,
    prompt: str | None = None,
    default_prompt: str | None = None,
    image_key: str = "image",
    prompt_key: str = "prefix",
    response_key: str = "suffix",
    on_bad: OnBad = "raise",
) -> Rows:
    """Checks records and makes rows of them.

        rows = read_records(datasets.load_dataset("parquet", data_files=path)["train"])

    Args:
        records: one after another, such as a `datasets.Dataset` or `to_pylist()` of a
            pyarrow table. A picture is a PIL image, an array, `{"bytes", "path"}` as
            `datasets` stores it, or a path; pictures that are no files stay in memory.
        image_folder: what paths of pictures are relative to.
        prompt: as in `read_jsonl`.
        default_prompt: likewise.
        image_key: the key of the picture or of a list of pictures.
        prompt_key: the key of the prompt, which may be empty.
        response_key: the key of the answer.
        on_bad: "skip" leaves records that cannot be used out and lists them in
            `skipped` of the result.

    Raises:
        FileNotFoundError, PermissionError: when a picture is not there or not readable.
        ValueError: when a key is missing, a picture is damaged, a text is empty or of
            another type, or no record is left; names its index, from 0.
    """
    finder = _PictureFinder(image_folder)
    reader = EntryReader(
        finder, image_key, prompt_key, response_key, prompt, default_prompt
    )
    named = ((f"Record {index}", record) for index, record in enumerate(records))
    return reader.read_all(named, Problems(on_bad), "Records")


class _PictureFinder(ImageFinder):
    """Takes pictures themselves beside their paths."""

    def find(self, value: object, key: str) -> Any:
        """Return a picture, or its path; see `ImageFinder.find`."""
        if isinstance(value, Image.Image) or is_array(value):
            return value
        if isinstance(value, Mapping) and "bytes" in value:
            content = value["bytes"]
            if content is not None:
                return _decode(content, key)
            value = value.get("path")
        return super().find(value, key)


def _decode(content: bytes, key: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return picture
    except (
        TypeError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:
        raise ValueError(
            f"expected a picture under {key!r} that Pillow can read, received bytes "
            f"that are not one or are damaged: {reason(error)}."
        ) from error
