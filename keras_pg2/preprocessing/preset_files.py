"""Small files of a preset for detection: what masks mean, and how scores are made."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

CODEC_FILE = "mask_codec.npz"
"""Meaning of `<seg...>` tokens; without it that of the released checkpoints."""
CALIBRATION_FILE = "detection_scores.json"
"""What makes token probabilities the scores of detections."""


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
        """Read the files of a directory."""
        paths = [Path(directory) / name for name in (CODEC_FILE, CALIBRATION_FILE)]
        found = {path.name: path.read_bytes() for path in paths if path.is_file()}
        return cls(str(directory), found)

    def save(self, directory: str | Path) -> None:
        """Write the files into a directory."""
        for name, content in self.contents.items():
            (Path(directory) / name).write_bytes(content)
