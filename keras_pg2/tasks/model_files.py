"""What a model has besides its network: the meaning of masks, and calibrations."""

from __future__ import annotations

from pathlib import Path

from keras_pg2.catalogue.names import Preset, locate, resolve
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.preprocessing.preset_files import (
    CALIBRATION_FILE,
    CODEC_FILE,
    DECISION_FILE,
    OWN_FILES,
    PresetFiles,
    log_note,
)
from keras_pg2.tasks.answering.detection_scores import ScoreCalibration
from keras_pg2.tasks.deciding.calibration import DecisionCalibration


class ModelFiles:
    """The mask codec and the calibrations of a model.

    Args:
        files: Those of a preset, of which the codec is made when it is needed.

    Attributes:
        score_calibration: Calibration of the scores of detections, if there is one.
        decision_calibration: Calibration of decisions, if there is one.

    Raises:
        ValueError: if a calibration is damaged.
    """

    def __init__(self, files: PresetFiles | None = None) -> None:
        self._preset, contents = files or PresetFiles("", {})
        self._codec: MaskCodec | None = None
        self._codec_file = contents.get(CODEC_FILE)
        self.score_calibration: ScoreCalibration | None = None
        self.decision_calibration: DecisionCalibration | None = None
        if CALIBRATION_FILE in contents:
            self.score_calibration = ScoreCalibration.from_bytes(
                contents[CALIBRATION_FILE], f"{self._preset}/{CALIBRATION_FILE}"
            )
        if DECISION_FILE in contents:
            self.decision_calibration = DecisionCalibration.from_bytes(
                contents[DECISION_FILE], f"{self._preset}/{DECISION_FILE}"
            )

    @classmethod
    def of_preset(cls, preset: str | Path) -> ModelFiles:
        """Return those of what `from_preset` has put on this machine.

        What the preset says of itself is logged.
        """
        found = resolve(preset)
        if isinstance(found, Preset):
            return cls()
        path = found if isinstance(found, Path) else locate(found, with_weights=False)
        if not path.is_dir():
            return cls()
        log_note(path)
        return cls(PresetFiles.read(path))

    @property
    def mask_codec(self) -> MaskCodec | None:
        """The one that was set, or the preset's own; None if there is neither."""
        if self._codec is None and self._codec_file is not None:
            source = f"{self._preset}/{CODEC_FILE}"
            self._codec = MaskCodec.from_bytes(self._codec_file, source)
        return self._codec

    @mask_codec.setter
    def mask_codec(self, codec: MaskCodec | None) -> None:
        self._codec = codec

    def save(self, directory: Path) -> None:
        """Write the codec and the calibrations; remove files of absent ones."""
        for name in OWN_FILES:
            (directory / name).unlink(missing_ok=True)
        if self.mask_codec is not None:
            self.mask_codec.save(directory / CODEC_FILE)
        for calibration in (self.score_calibration, self.decision_calibration):
            if calibration is not None:
                calibration.save(directory)
