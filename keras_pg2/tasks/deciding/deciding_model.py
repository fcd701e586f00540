"""What a model decides about pictures: `decide` and `check_caption`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

from keras_pg2.generation.compilation import CompiledFunctions
from keras_pg2.preprocessing import prompts
from keras_pg2.preprocessing.images import ImageInput
from keras_pg2.tasks.answering.answering import encode_images, read_answers
from keras_pg2.tasks.answering.detecting_model import DetectingModel
from keras_pg2.tasks.answering.requests import (
    EncodedImages,
    Images,
    Options,
    Pictures,
    prepare,
)
from keras_pg2.tasks.deciding.calibration import DecisionCalibration
from keras_pg2.tasks.deciding.captions import CheckedCaption, CheckedThing
from keras_pg2.tasks.deciding.deciding import PROMPT, Decider, check_one, decide
from keras_pg2.tasks.deciding.decisions import Decision
from keras_pg2.tasks.deciding.model_files import ModelFiles
from keras_pg2.tasks.deciding.named_things import find_things, find_words, with_article
from keras_pg2.tasks.deciding.questions import Question, QuestionLike

IS_THERE = "is there {thing}?"
"""The question for a thing; its article is put before it."""


class DecidingModel(DetectingModel):
    """A model that decides; a plain class, as `causal_lm.CausalLM` is."""

    _functions: CompiledFunctions
    _own_files: ModelFiles | None = None

    @property
    def _model_files(self) -> ModelFiles:
        """Those that were loaded or set, otherwise those of the preprocessor's preset.

        KerasHub's loader tells the preprocessor alone what preset it loads.
        """
        if self._own_files is None:
            files = getattr(self.preprocessor, "preset_files", None)
            if files is None:
                return ModelFiles()
            self._own_files = ModelFiles(files)
        return self._own_files

    def _keep_files(self) -> ModelFiles:
        """Return those files after making them the model's own."""
        self._own_files = self._model_files
        return self._own_files

    @property
    def decision_calibration(self) -> DecisionCalibration | None:
        """Makes token probabilities those of decisions to be right; may be None.

        Without one they are those of the network, which is often too sure.
        """
        return self._model_files.decision_calibration

    @decision_calibration.setter
    def decision_calibration(self, calibration: DecisionCalibration | None) -> None:
        self._keep_files().decision_calibration = calibration

    # A path is a sequence of texts too, but is taken as a path.
    @overload
    def decide(  # type: ignore[overload-overlap]
        self,
        images: ImageInput | EncodedImages,
        questions: Mapping[str, QuestionLike],
        *,
        prompt: str = PROMPT,
        batch_size: int = 16,
    ) -> dict[str, Decision]: ...

    @overload
    def decide(  # type: ignore[overload-overlap]
        self,
        images: ImageInput | EncodedImages,
        questions: Sequence[QuestionLike],
        *,
        prompt: str = PROMPT,
        batch_size: int = 16,
    ) -> list[Decision]: ...

    @overload
    def decide(
        self,
        images: Pictures,
        questions: Mapping[str, QuestionLike],
        *,
        prompt: str = PROMPT,
        batch_size: int = 16,
    ) -> list[dict[str, Decision]]: ...

    @overload
    def decide(
        self,
        images: Pictures,
        questions: Sequence[QuestionLike] | Sequence[Sequence[QuestionLike]],
        *,
        prompt: str = PROMPT,
        batch_size: int = 16,
    ) -> list[list[Decision]]: ...

    def decide(
        self,
        images: Images,
        questions: Any,
        *,
        prompt: str = PROMPT,
        batch_size: int = 16,
    ) -> (
        list[Decision]
        | dict[str, Decision]
        | list[list[Decision]]
        | list[dict[str, Decision]]
    ):
        """Answer typed questions about a picture, each with its probability.

            decided = model.decide("scene.png", {
                "has_star": "is there a yellow star?",
                "color": Question.one_of("what color is the star?", ["red", "yellow"]),
                "count": Question.number("how many objects are there?", range(4)),
            })
            decided["has_star"].value, decided["count"].probabilities

        The picture is encoded once, each prompt is computed once, and all answers to
        it together. Nothing is drawn: the sampler of `compile` does not matter.

        Args:
            images: One picture, or what `encode_images` made of it; or a list of
                pictures.
            questions: A list of questions, or a dict of names and questions: a
                `Question`, a text (yes or no), or a dict as `Question.from_dict` reads.
                For a list of pictures also a list of such lists, one for each.
            prompt: What the model is asked, with "{question}" in it.
            batch_size: Questions that go through the decoder together, and pictures
                that are encoded together.

        Returns:
            A `Decision` for each question, a list for a list and a dict for a dict; for
            a list of pictures a list of these.

        Raises:
            TypeError, ValueError: if a question, its choices or the batch size are
                wrong, two choices have the same tokens, or the model has no
                preprocessor; before anything is computed.
            FileNotFoundError, ValueError: if a picture cannot be read.
            FloatingPointError: if the network computes NaN or infinity.
        """
        return decide(self._decider(prompt, batch_size), images, questions)

    def check_caption(
        self,
        image: ImageInput | EncodedImages,
        caption: str | None = None,
        *,
        objects: Iterable[str] | None = None,
        question: str = IS_THERE,
        caption_prompt: str = "caption en",
        prompt: str = PROMPT,
        batch_size: int = 16,
    ) -> CheckedCaption:
        """Ask for each thing in a caption whether it is in the picture.

        What a model puts into a caption and denies when it is asked is often not
        there. All questions are asked in one batch about the picture, encoded once.

        Args:
            image: A picture, or what `encode_images` made of it.
            caption: An English text about it; None has the model write one.
            objects: Names of the things to look for in the caption, such as the
                classes of a data set; None finds them by lists of English words.
            question: What is asked, with "{thing}" in it.
            caption_prompt: What a caption is asked with.
            prompt: As for `decide`.
            batch_size: As for `decide`.

        Returns:
            The caption, where it names things, and how probable each one is.

        Raises:
            TypeError, ValueError, FileNotFoundError, FloatingPointError: as `decide`
                and `generate`.
        """
        if not isinstance(question, str) or "{thing}" not in question:
            raise ValueError(
                f"Expected question as a text with {{thing}} in it, such as "
                f"{IS_THERE!r}. Received: {question!r}."
            )
        if isinstance(objects, str):
            raise TypeError(
                f"Expected objects as a list of names. Received: {objects!r}."
            )
        known = [prompts.checked_text(each, "object") for each in objects or ()]
        decider = self._decider(prompt, batch_size)
        if not isinstance(image, EncodedImages):
            image = encode_images(self, self._functions, image)
        check_one(image)
        if caption is None:
            caption = self._write_caption(image, caption_prompt)
        is_open = objects is None
        things = find_things(caption) if is_open else find_words(caption, known)
        names = list(dict.fromkeys(thing.name for thing in things))
        if not names:
            return CheckedCaption(caption, ())
        asked = [
            Question(question.replace("{thing}", with_article(name))) for name in names
        ]
        found = dict(zip(names, decider.run(image, [asked])))
        return CheckedCaption(
            caption,
            tuple(CheckedThing(*thing, found[thing.name]) for thing in things),
        )

    def _write_caption(self, image: EncodedImages, prompt: str) -> str:
        prepared = prepare(self, {"images": image, "prompts": prompt}, Options())
        generated = self.make_generate_function()(prepared.request)
        return str(read_answers(self, prepared, generated))

    def _decider(self, prompt: str, batch_size: int) -> Decider:
        return Decider(
            model=self,
            functions=self._functions,
            calibration=self.decision_calibration,
            prompt=prompt,
            batch_size=batch_size,
        )
