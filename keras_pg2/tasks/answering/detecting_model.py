"""What a model finds in pictures: `detect` and `segment`, and what they go by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Unpack, overload

from keras_pg2.codecs.detection_scores import ScoreCalibration
from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.searching import (
    Asked,
    DetectionOptions,
    Labels,
    Thresholds,
)
from keras_pg2.generation.decoding import Generated, Request
from keras_pg2.generation.samplers import BeamSearch, Sampler
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.preprocessing.images import ImageInput
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.answering.detecting import find_detections
from keras_pg2.tasks.answering.detection_files import DetectionFiles
from keras_pg2.tasks.answering.requests import Images, Pictures


class DetectingModel:
    """A model that finds things; a plain class, as `causal_lm.CausalLM` is."""

    backbone: PaliGemma2Backbone
    preprocessor: PaliGemma2CausalLMPreprocessor | None
    sampler: Sampler | BeamSearch

    @property
    def _model_files(self) -> DetectionFiles:
        """Those that were loaded or set, otherwise those of the preset."""
        raise NotImplementedError

    def _keep_files(self) -> DetectionFiles:
        """Return those files after making them the model's own."""
        raise NotImplementedError

    def make_generate_function(
        self, with_scores: bool = False
    ) -> Callable[[Request], Generated]:
        """Return the compiled function of requests to answers."""
        raise NotImplementedError

    @property
    def mask_codec(self) -> MaskCodec | None:
        """What `<seg...>` tokens mean: the preset's own codec, or one that was set.

        None is that of the released checkpoints, downloaded when it is first needed.
        """
        return self._model_files.mask_codec

    @mask_codec.setter
    def mask_codec(self, codec: MaskCodec | None) -> None:
        self._keep_files().mask_codec = codec

    @property
    def score_calibration(self) -> ScoreCalibration | None:
        """Makes token probabilities the scores of detections; may be None.

        Without one a score is the geometric mean of the probabilities of an
        instance's location and label tokens: an order, but no probability.
        """
        return self._model_files.score_calibration

    @score_calibration.setter
    def score_calibration(self, calibration: ScoreCalibration | None) -> None:
        self._keep_files().score_calibration = calibration

    # A path is a sequence of texts too, but is taken as a path.
    @overload
    def detect(  # type: ignore[overload-overlap]
        self, images: ImageInput, labels: Labels, **options: Unpack[Thresholds]
    ) -> Detections: ...

    @overload
    def detect(
        self, images: Pictures, labels: Labels, **options: Unpack[Thresholds]
    ) -> list[Detections]: ...

    @overload
    def detect(
        self,
        images: Iterator[ImageInput],
        labels: Sequence[str],
        **options: Unpack[Thresholds],
    ) -> Iterator[Detections]: ...

    def detect(
        self,
        images: Images,
        labels: Labels,
        *,
        max_detections: int = 20,
        max_overlap: float | None = None,
        min_score: float | None = None,
        batch_size: int = 8,
        asked: Asked = "together",
    ) -> Detections | list[Detections] | Iterator[Detections]:
        """Find named things: boxes with labels and scores.

        Every answer is held to the form of a detection, by the sampler set in
        `compile`.

        Args:
            images: a picture of any size (a file path, PIL image, array or whatever
                else `preprocessing.images.load_rgb` takes), or a list of pictures (also
                an array [B, H, W, 3]), or an iterator of them, such as `iter(paths)`,
                for more than memory holds.
            labels: the names to look for, in all pictures; or, for a list of pictures,
                a list of such lists, one for each.
            max_detections: most things in a picture.
            max_overlap: largest IoU, in [0, 1], of two boxes with one label; where they
                overlap by more, the one with the lower score is dropped. None keeps
                all, except that it is 0.5 for "both".
            min_score: things with a lower score are left out. None is 0.5 for a model
                with a `score_calibration`, whose scores are probabilities: what is
                rather wrong than right is left out. Without one it is 0.
            batch_size: pictures at a time.
            asked: "together" is one prompt with all labels, "each" a prompt for each
                label, "both" is both, which takes longest and finds most.

        Returns:
            `keras_pg2.codecs.Detections` for one picture, a list of them for a list,
            an iterator for an iterator, which takes `batch_size` pictures at a time:
            boxes in pixels of the picture as it was given (upright), scores in [0, 1]
            (`score_calibration`), the tokens as written.

        Raises:
            TypeError, ValueError: if labels are invalid, empty, doubled, or hold ";",
                a line break or tokens; numbers are out of range; the model has no
                preprocessor, or beam search as its sampler.
            FileNotFoundError, ValueError: if a picture cannot be read.
            FloatingPointError: if the network computes NaN or infinity.
        """
        options = DetectionOptions(
            task="detect",
            max_detections=max_detections,
            max_overlap=max_overlap,
            min_score=min_score,
            batch_size=batch_size,
            asked=asked,
        )
        return find_detections(self, self._model_files, images, labels, options)

    # A path is a sequence of texts too, but is taken as a path.
    @overload
    def segment(  # type: ignore[overload-overlap]
        self, images: ImageInput, labels: Labels, **options: Unpack[Thresholds]
    ) -> Detections: ...

    @overload
    def segment(
        self, images: Pictures, labels: Labels, **options: Unpack[Thresholds]
    ) -> list[Detections]: ...

    @overload
    def segment(
        self,
        images: Iterator[ImageInput],
        labels: Sequence[str],
        **options: Unpack[Thresholds],
    ) -> Iterator[Detections]: ...

    def segment(
        self,
        images: Images,
        labels: Labels,
        *,
        max_detections: int = 20,
        max_overlap: float | None = None,
        min_score: float | None = None,
        batch_size: int = 8,
        asked: Asked = "together",
    ) -> Detections | list[Detections] | Iterator[Detections]:
        """Find named things: masks, with boxes, labels and scores.

        The arguments are those of `detect`.

        Returns:
            As `detect`, with masks bool[N, H, W] of the size of the picture, decoded
            by `mask_codec`.

        Raises:
            TypeError, ValueError, FileNotFoundError, FloatingPointError: as `detect`.
            ConnectionError: if the codec of the released checkpoints is needed and
                cannot be downloaded.
        """
        options = DetectionOptions(
            task="segment",
            max_detections=max_detections,
            max_overlap=max_overlap,
            min_score=min_score,
            batch_size=batch_size,
            asked=asked,
        )
        return find_detections(self, self._model_files, images, labels, options)
