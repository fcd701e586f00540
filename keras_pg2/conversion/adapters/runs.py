"""The folder of a fine-tuning run: what others find in it, and by which names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_pg2.conversion.adapters.files import ADAPTER_FILE
from keras_pg2.files.json_fields import Fields, read_config
from keras_pg2.files.whole_files import readable

SETTINGS_FILE = "settings.json"
LAST, BEST, PRESET = "last", "best", "preset"
"""Folders in it: two checkpoints, and the result of a run that trained all weights."""
PROGRESS_FILE = "progress.json"
"""File in a checkpoint: steps and evaluations until then."""
PARTS = ("model", "data", "settings")
"""What its record says: on what was trained, with what, and how."""


@dataclass(frozen=True)
class RunFolder:
    """A run, as its record describes it.

    Attributes:
        path: The folder.
        base_name: Name of the model that it trained; "" if that is not known.
        base_path: Where that was, if it was no name; "" otherwise.
        base_adapters: Adapters that were merged into it first, in their order.
        lora: What LoRA it trains, in words; "" if it trains whole weights.
        record: All of the record.
    """

    path: Path
    base_name: str
    base_path: str
    base_adapters: tuple[Path, ...]
    lora: str
    record: Fields

    @property
    def trains_lora(self) -> bool:
        """Whether the result is an adapter, not a preset."""
        return bool(self.lora)

    @property
    def is_finished(self) -> bool:
        """Whether the result is there."""
        return self._result.exists()

    @property
    def _result(self) -> Path:
        if self.trains_lora:
            return self.path / ADAPTER_FILE
        return readable(self.path / PRESET)

    def result(self) -> Path:
        """Return the adapter or the preset that the run has written.

        Raises:
            ValueError: if the run has not ended.
        """
        if self.is_finished:
            return self._result
        advice = "Go on with it: keras-pg2 finetune ... --resume."
        if self.trains_lora and (self.path / BEST / ADAPTER_FILE).is_file():
            advice += f" Or take its best adapter until now: {self.path / BEST}."
        raise ValueError(
            f"Expected a run that has ended, with {self._result.name} in {self.path}. "
            f"Received: one without. {advice}"
        )


def read_run(path: Path) -> RunFolder | None:
    """Return the run of a folder; None if it is something else.

    Raises:
        ValueError: if its record is damaged; names the file and the field.
    """
    file = path / SETTINGS_FILE
    if not file.is_file():
        return None
    record = read_config(file)
    if not all(part in record for part in PARTS):
        return None
    model = record.fields("model")
    return RunFolder(
        path=path,
        base_name=model.text("base"),
        base_path=model.text("base_path", None) or "",
        base_adapters=tuple(
            map(Path, model.items("base_adapters", Fields.text, None) or ())
        ),
        lora=model.text("lora", None) or "",
        record=record,
    )


def trained_length(adapter: Path) -> int:
    """Return how many tokens the run of an adapter gave to a text; 0 without a run.

    Raises:
        ValueError: as `read_run`.
    """
    run = run_around(adapter)
    if run is None:
        return 0
    length = run.record.fields("settings").integer("text_length", None, at_least=1)
    return length or 0


def run_around(path: Path) -> RunFolder | None:
    """Return the run whose adapter or checkpoint something is; None if it is of none.

    Raises:
        ValueError: as `read_run`.
    """
    folder = path if path.is_dir() else path.parent
    for each in (folder, folder.absolute().parent):
        run = read_run(each)
        if run is not None and (each == folder or folder.name in (LAST, BEST)):
            return run
    return None
