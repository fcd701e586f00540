"""What a model that finds things has besides its network: masks, a calibration."""

from __future__ import annotations

from pathlib import Path

from keras_pg2.codecs.detection_scores import ScoreCalibration
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.preprocessing.preset_files import (
    CALIBRATION_FILE,
    CODEC_FILE,
    OWN_FILES,
    PresetFiles,
)


class DetectionFiles:
    """The mask codec and the calibration of the scores of a model.

    Args:
        files: Those of a preset, of which the codec is made when it is needed.

    Attributes:
        score_calibration: Calibration of the scores of detections, if there is one.

    Raises:
        ValueError: if the calibration is damaged.
    """

    def __init__(self, files: PresetFiles | None = None) -> None:
        self._preset, contents = files or PresetFiles("", {})
        self._codec: MaskCodec | None = None
        self._codec_file = contents.get(CODEC_FILE)
        self.score_calibration: ScoreCalibration | None = None
        if CALIBRATION_FILE in contents:
            self.score_calibration = ScoreCalibration.from_bytes(
                contents[CALIBRATION_FILE], f"{self._preset}/{CALIBRATION_FILE}"
            )

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
        """Write the codec and the calibration; remove files of absent ones."""
        for name in OWN_FILES:
            (directory / name).unlink(missing_ok=True)
        if self.mask_codec is not None:
            self.mask_codec.save(directory / CODEC_FILE)
        if self.score_calibration is not None:
            self.score_calibration.save(directory)
