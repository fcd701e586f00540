"""Decisions about many pictures, written as they come, and taken up after a stop."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.preprocessing.images import load_rgb, to_picture
from keras_pg2.tasks.answering.prediction_rows import Row, read_rows
from keras_pg2.tasks.answering.recorded_answers import (
    Numbered,
    Predictions,
    Record,
    describe,
    record_answers,
)
from keras_pg2.tasks.answering.requests import AnsweringModel
from keras_pg2.tasks.deciding.deciding import PROMPT
from keras_pg2.tasks.deciding.decisions import Decision
from keras_pg2.tasks.deciding.questions import Question, read_questions


class DecisiveModel(AnsweringModel, Protocol):
    """What is known here of a `PaliGemma2CausalLM`."""

    def decide(
        self, images: Any, questions: Any, *, prompt: str, batch_size: int
    ) -> Any:
        """Return decisions about pictures."""


def predict_decisions(
    model: DecisiveModel,
    source: str | os.PathLike[str] | Iterable[Any],
    questions: Any = None,
    output: str | os.PathLike[str] | None = None,
    *,
    prompt: str = PROMPT,
    batch_size: int = 8,
    show_progress: bool = True,
) -> Predictions:
    """Decide about any number of pictures, as `predict` answers about them.

    A record is a dict of `id`, `image`, `prompt`, `text` (the answer),
    `log_probability` of the network, and what `Decision.to_dict` has; or of `id`,
    `image`, `prompt` and `error` where the picture cannot be read. A call on an output
    that is there goes on where it stopped, as that of `predict`.

    Args:
        model: A `PaliGemma2CausalLM` with a preprocessor.
        source: Pictures as for `predict`, without prompts where there are questions.
        questions: Asked about every picture; as for `PaliGemma2CausalLM.decide`. None
            for rows that have their own prompts, as for `predict`, each answered by
            yes or no.
        output: File to write records to.
        prompt: As for `PaliGemma2CausalLM.decide`; rows' own prompts stay as they are.
        batch_size: Pictures that are encoded together.
        show_progress: Whether to show a bar, on a terminal.

    Raises:
        TypeError, ValueError, OSError, FloatingPointError: as
            `PaliGemma2CausalLM.decide` and `predict`; also ValueError if a question is
            asked twice, or the output has answers to it from another list of choices.
    """
    check_at_least_one("batch_size", batch_size)
    if questions is None:
        rows, total = read_rows(source, None)
        answerer = _Answerer(model, Question, "{question}", batch_size, 1)
        return record_answers(answerer, rows, total, output, show_progress)
    _, asked = read_questions(questions)
    by_prompt = {prompt.replace("{question}", each.text): each for each in asked}
    if len(by_prompt) < len(asked):
        raise ValueError(
            "Expected each question once, as a record is known by its prompt. "
            "Received one twice."
        )
    if output is not None:
        _check_choices(Path(os.path.expanduser(output)), by_prompt)
    rows, total = read_rows(source, list(by_prompt))
    answerer = _Answerer(
        model, by_prompt.__getitem__, prompt, batch_size, len(by_prompt)
    )
    return record_answers(answerer, rows, total, output, show_progress)


@dataclass(frozen=True)
class _Answerer:
    """Decides; a batch has whole pictures.

    Attributes:
        model: The model.
        read: Returns the question of a row's prompt.
        prompt: As for `PaliGemma2CausalLM.decide`.
        num_pictures: Pictures of a batch.
        num_questions: Questions about each.
    """

    model: DecisiveModel
    read: Callable[[str], Question]
    prompt: str
    num_pictures: int
    num_questions: int

    @property
    def batch_size(self) -> int:
        return self.num_pictures * self.num_questions

    def shape(self, row: Row) -> int:
        """Return the same for all, so that a picture's rows stay together."""
        return 0

    def answer(
        self, batches: Iterator[list[Numbered]]
    ) -> Iterator[list[tuple[int, Record]]]:
        """Yield the records of each batch."""
        converter = self.model.preprocessor and self.model.preprocessor.image_converter
        size = converter.image_size if converter else None
        for batch in batches:
            records: list[tuple[int, Record]] = []
            pictures: list[Any] = []
            asked: list[list[Numbered]] = []
            for _, group in itertools.groupby(batch, _picture_of):
                numbered = list(group)
                try:
                    levels = load_rgb(numbered[0][1].images, size=size)
                except (TypeError, ValueError, OSError) as error:
                    records += [
                        (number, {**describe(row), "error": str(error)})
                        for number, row in numbered
                    ]
                    continue
                pictures.append(to_picture(levels))
                asked.append(numbered)
            if pictures:
                records += self._decide(pictures, asked)
            yield records

    def _decide(
        self, pictures: list[Any], asked: list[list[Numbered]]
    ) -> Iterator[tuple[int, Record]]:
        questions = [[self.read(row.prompt) for _, row in rows] for rows in asked]
        decided = self.model.decide(
            pictures, questions, prompt=self.prompt, batch_size=self.num_pictures
        )
        for rows, found in zip(asked, decided):
            for (number, row), decision in zip(rows, found):
                yield number, {**describe(row), **as_record(decision)}


def as_record(decision: Decision) -> Record:
    """Return what a record says of a decision, with the fields of `predict`."""
    log_probability = decision.log_probabilities[decision.value]
    return {
        "text": decision.answer,
        "log_probability": round(log_probability, 4),
        **decision.to_dict(),
    }


def _picture_of(numbered: Numbered) -> str | int:
    """Return what rows about the same picture have in common."""
    images = numbered[1].images
    if isinstance(images, str | os.PathLike):
        return os.fspath(images)
    return id(images)


def _check_choices(path: Path, questions: Mapping[str, Question]) -> None:
    """Raise ValueError if a file has answers to a question with other choices."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
                question = questions[record["prompt"]]
                found = set(record["probabilities"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # `RecordFile` says what is no record.
            is_free = not question.values and record.get("type") == question.kind
            if found != set(question.answers) and not (is_free and len(found) == 1):
                raise ValueError(
                    f"Expected {str(path)!r} with answers to {question.text!r} from "
                    f"{', '.join(question.answers) or 'all numbers'}. Received others: "
                    f"{', '.join(sorted(found)):.200}. Choose another output."
                )
