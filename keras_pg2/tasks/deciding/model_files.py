"""What a model has besides its network: the meaning of masks, and calibrations."""

from __future__ import annotations

from pathlib import Path

from keras_pg2.catalogue.names import Preset, locate, resolve
from keras_pg2.conversion.found_models import FoundModel, find_checkpoint
from keras_pg2.preprocessing.preset_files import DECISION_FILE, PresetFiles, log_note
from keras_pg2.tasks.answering.detection_files import DetectionFiles
from keras_pg2.tasks.deciding.calibration import DecisionCalibration


class ModelFiles(DetectionFiles):
    """The mask codec and the calibrations of a model.

    Args:
        files: Those of a preset.

    Attributes:
        decision_calibration: Calibration of decisions, if there is one.

    Raises:
        ValueError: if a calibration is damaged.
    """

    def __init__(self, files: PresetFiles | None = None) -> None:
        super().__init__(files)
        self.decision_calibration: DecisionCalibration | None = None
        preset, contents = files or PresetFiles("", {})
        if DECISION_FILE in contents:
            self.decision_calibration = DecisionCalibration.from_bytes(
                contents[DECISION_FILE], f"{preset}/{DECISION_FILE}"
            )

    @classmethod
    def of_preset(cls, preset: str | Path | FoundModel) -> ModelFiles:
        """Return those of what `from_preset` has put on this machine.

        What the preset says of itself is logged.
        """
        found = resolve(find_checkpoint(preset).base)
        if isinstance(found, Preset):
            return cls()
        path = found if isinstance(found, Path) else locate(found, with_weights=False)
        if not path.is_dir():
            return cls()
        log_note(path)
        return cls(PresetFiles.read(path))

    def save(self, directory: Path) -> None:
        """Write the codec and the calibrations; remove files of absent ones."""
        super().save(directory)
        if self.decision_calibration is not None:
            self.decision_calibration.save(directory)
