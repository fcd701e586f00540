"""Small files of a preset: what masks mean, and what makes probabilities of scores."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import NamedTuple

from keras_pg2.checks.texts import printable
from keras_pg2.files.json_fields import read_config
from keras_pg2.files.json_files import MAX_CONFIG_BYTES, parse_json, read_file
from keras_pg2.files.named_files import file_inside

CODEC_FILE = "mask_codec.npz"
"""Meaning of `<seg...>` tokens; without it that of the released checkpoints."""
CALIBRATION_FILE = "detection_scores.json"
"""What makes token probabilities the scores of detections."""
DECISION_FILE = "decisions.json"
"""What makes token probabilities those of decisions to be right."""
OWN_FILES = (CODEC_FILE, CALIBRATION_FILE, DECISION_FILE)
"""Names of those files."""


METADATA_FILE = "metadata.json"
"""What a preset is, in KerasHub's words; with a "note" it is told when it is loaded."""
_logger = logging.getLogger("keras_pg2")


@cache
def log_note(directory: Path) -> None:
    """Log the note of a preset's metadata, if there is one, once a process.

    Raises:
        ValueError: if the metadata are no JSON, or the note is no text.
    """
    path = directory / METADATA_FILE
    note = read_config(path).text("note", None) if path.is_file() else None
    if note:
        _logger.warning("%s: %s", printable(directory.name), printable(note))


def read_own_file(directory: Path, name: str) -> bytes:
    """Return the content of one of `OWN_FILES`.

    Raises:
        OSError: if it is no file.
        ValueError: if it is a link to a file elsewhere, larger than any of its kind, or
            a JSON file by its name and none.
    """
    path = file_inside(directory, name)
    content = read_file(path, MAX_CONFIG_BYTES)
    if path.suffix == ".json":
        parse_json(content, path)
    return content


class PresetFiles(NamedTuple):
    """Those files as bytes, carried by the preprocessor.

    KerasHub's loader tells a task's preprocessor which preset it loads, not the task.

    Attributes:
        preset: Name, URI or directory of the preset.
        contents: Content of each file that is there.
    """

    preset: str
    contents: dict[str, bytes]

    @classmethod
    def read(cls, directory: str | Path) -> PresetFiles:
        """Read the files of a directory.

        Raises:
            OSError, ValueError: as `read_own_file`.
        """
        names = [name for name in OWN_FILES if (Path(directory) / name).exists()]
        found = {name: read_own_file(Path(directory), name) for name in names}
        return cls(str(directory), found)

    def save(self, directory: str | Path) -> None:
        """Write the files into a directory."""
        for name, content in self.contents.items():
            (Path(directory) / name).write_bytes(content)
