"""Named things in pictures, found by what runs an exported model.

Needs numpy and Pillow; no Keras, except for masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack, overload

from PIL import Image

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.detection_scores import ScoreCalibration
from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.grammars import LocationGrammar
from keras_pg2.codecs.searching import DetectionOptions, Labels, Search, Thresholds
from keras_pg2.deploy.runners.tokens import ScoredText, VocabularyTokenizer
from keras_pg2.preprocessing.images import ImageInput
from keras_pg2.preprocessing.preset_files import CODEC_FILE

if TYPE_CHECKING:
    from keras_pg2.codecs.mask_codec import MaskCodec


class FindingRunner:
    """A runner that finds things.

    Attributes:
        tokenizer: Vocabulary of the model.
        score_calibration: Makes the scores of what is found; None for the geometric
            mean of probabilities. It is that of the model that was exported.
        mask_codec: What `segment` decodes masks with; None until it is set.
    """

    tokenizer: VocabularyTokenizer
    score_calibration: ScoreCalibration | None
    mask_codec: MaskCodec | None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures that the network sees."""
        raise NotImplementedError

    @property
    def generate(self) -> Callable[..., Any]:
        """The method that answers a prompt about a picture."""
        raise NotImplementedError

    # A path is a sequence of texts too, but is taken as a path.
    @overload
    def detect(  # type: ignore[overload-overlap]
        self,
        images: ImageInput,
        labels: Labels,
        max_new_tokens: int | None = None,
        **options: Unpack[Thresholds],
    ) -> Detections: ...

    @overload
    def detect(
        self,
        images: Sequence[ImageInput],
        labels: Labels,
        max_new_tokens: int | None = None,
        **options: Unpack[Thresholds],
    ) -> list[Detections]: ...

    @overload
    def detect(
        self,
        images: Iterator[ImageInput],
        labels: Sequence[str],
        max_new_tokens: int | None = None,
        **options: Unpack[Thresholds],
    ) -> Iterator[Detections]: ...

    def detect(
        self,
        images: Any,
        labels: Labels,
        max_new_tokens: int | None = None,
        **options: Unpack[Thresholds],
    ) -> Detections | list[Detections] | Iterator[Detections]:
        """Find named things: boxes in pixels of the picture as it was given.

        Everything is as for `PaliGemma2CausalLM.detect`, except that pictures go
        through the network one at a time.

        Args:
            images: A picture, a list of them or an iterator, each as for `generate`.
            labels: The names to look for, or for a list of pictures a list for each.
            max_new_tokens: Most tokens of an answer; None for `max_detections` things.
            **options: `max_detections`, `max_overlap`, `min_score`, `batch_size` and
                `asked`.

        Returns:
            `Detections` with scores, a list or an iterator of them.

        Raises:
            FileNotFoundError, PermissionError, ConnectionError, TypeError, ValueError:
                as `generate`; and if labels are invalid, or a number is out of range.
        """
        found = DetectionOptions(task="detect", **options)
        return self._look(images, labels, max_new_tokens, found)

    # A path is a sequence of texts too, but is taken as a path.
    @overload
    def segment(  # type: ignore[overload-overlap]
        self,
        images: ImageInput,
        labels: Labels,
        max_new_tokens: int | None = None,
        **options: Unpack[Thresholds],
    ) -> Detections: ...

    @overload
    def segment(
        self,
        images: Sequence[ImageInput],
        labels: Labels,
        max_new_tokens: int | None = None,
        **options: Unpack[Thresholds],
    ) -> list[Detections]: ...

    @overload
    def segment(
        self,
        images: Iterator[ImageInput],
        labels: Sequence[str],
        max_new_tokens: int | None = None,
        **options: Unpack[Thresholds],
    ) -> Iterator[Detections]: ...

    def segment(
        self,
        images: Any,
        labels: Labels,
        max_new_tokens: int | None = None,
        **options: Unpack[Thresholds],
    ) -> Detections | list[Detections] | Iterator[Detections]:
        """Find named things: masks, with boxes, labels and scores.

        The arguments are those of `detect`. `mask_codec` decodes the masks.

        Raises:
            FileNotFoundError, PermissionError, ConnectionError, TypeError, ValueError:
                as `detect`; ValueError if there is no `mask_codec`.
        """
        found = DetectionOptions(task="segment", **options)
        self._codec()
        return self._look(images, labels, max_new_tokens, found)

    def _look(
        self,
        images: Any,
        labels: Labels,
        max_new_tokens: int | None,
        options: DetectionOptions,
    ) -> Detections | list[Detections] | Iterator[Detections]:
        if max_new_tokens is not None:
            check_at_least_one("max_new_tokens", max_new_tokens, ", or None")
        answering = _Answering(self, max_new_tokens)
        search = Search(answering, options, self.score_calibration, self._codec)
        return search.look(images, labels)

    def _codec(self) -> MaskCodec:
        if self.mask_codec is None:
            raise ValueError(
                "Expected a codec of masks to segment, which needs Keras. Received: "
                "mask_codec=None. Set it: model.mask_codec = "
                "keras_pg2.MaskCodec.released(), or MaskCodec.from_file(...) of the "
                f"{CODEC_FILE} in the model's directory, if there is one."
            )
        return self.mask_codec


@dataclass(frozen=True)
class _Answering:
    """A runner that is asked about pictures, one after another.

    Attributes:
        runner: The runner.
        max_new_tokens: Most tokens of an answer; None for as many as are asked for.
    """

    runner: FindingRunner
    max_new_tokens: int | None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures that it is shown."""
        return self.runner.image_size

    @property
    def vocabulary(self) -> VocabularyTokenizer:
        """Its tokens."""
        return self.runner.tokenizer

    def ask(
        self,
        pictures: list[Image.Image],
        prompt: str,
        max_new_tokens: int,
        constraint: LocationGrammar,
    ) -> list[ScoredText]:
        """Return the answer to one prompt about each picture."""
        limit = self.max_new_tokens or max_new_tokens
        return [
            self.runner.generate(picture, prompt, limit, constraint, return_scores=True)
            for picture in pictures
        ]
