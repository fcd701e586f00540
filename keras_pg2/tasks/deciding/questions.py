"""Questions of which the possible answers are known before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeAlias, get_args

from keras_pg2.codecs.grammars import Choices
from keras_pg2.files.json_fields import Fields
from keras_pg2.preprocessing import prompts

Kind = Literal["boolean", "choice", "number"]
Value: TypeAlias = bool | int | str
QuestionLike: TypeAlias = "Question | str | Mapping[str, Any]"
"""A question; a text, which is asked for yes or no; or an object as JSON has it."""

LARGEST_NUMBER = 10**9 - 1
"""Largest number that is looked for without a range."""
MOST_CHOICES = 1000
"""Bound of the answers to one question; their tokens are computed together."""
_FIELDS = {"type", "question", "choices", "range"}
_ALSO = {"instructions": "question", "criteria": "choices"}
"""Names that other libraries of typed questions have for ours."""
_KINDS = {"noul": "boolean"}


@dataclass(frozen=True)
class Question:
    """A question about a picture, and the answers to choose from.

        Question("is there a cat?")
        Question.one_of("what color is the cat?", ["black", "white"])
        Question.number("how many cats are there?", range(0, 21))
        Question.number("which year is it?")

    Attributes:
        text: The question alone, without "answer en".
        kind: "boolean" (yes or no), "choice" or "number".
        values: What may be decided: True and False, texts, or whole numbers; () for
            any number of up to nine digits.

    Raises:
        TypeError, ValueError: if the text is no question on one line, or there are not
            at least two answers that differ.
    """

    text: str
    kind: Kind = "boolean"
    values: tuple[Value, ...] = (True, False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", prompts.checked_text(self.text, "question"))
        if self.kind not in get_args(Kind):
            raise ValueError(
                f"Expected kind as one of {', '.join(get_args(Kind))}. Received: "
                f"{self.kind!r}."
            )
        if self.kind == "boolean" and self.values != (True, False):
            raise ValueError(
                f"Expected a question for yes or no without values of its own. "
                f"Received: {self.values!r}. Call Question.one_of."
            )
        if self.kind == "number" and not self.values:
            return
        count = len(self.values)
        if not 2 <= count <= MOST_CHOICES:
            received = count if count <= MOST_CHOICES else "more"
            raise ValueError(
                f"Expected 2 to {MOST_CHOICES} answers to choose from for "
                f"{self.text!r}. Received: {received}."
            )
        Choices(self.answers)

    @classmethod
    def one_of(cls, text: str, choices: Iterable[str]) -> Question:
        """Return a question whose answer is one of some texts.

        Raises:
            TypeError: if the choices are one text.
            ValueError: if there are not at least two, or two are the same.
        """
        if isinstance(choices, str) or not isinstance(choices, Iterable):
            raise TypeError(
                f'Expected choices as a list of texts, such as ["red", "blue"]. '
                f"Received: {choices!r}."
            )
        values = tuple(choices)
        for value in values:
            if not isinstance(value, str):
                raise TypeError(f"Expected choices as texts. Received: {value!r}.")
        return cls(text, "choice", values)

    @classmethod
    def number(cls, text: str, numbers: Iterable[int] | None = None) -> Question:
        """Return a question whose answer is a whole number.

        Args:
            text: The question.
            numbers: Those to choose from, such as `range(0, 21)`; None for any number
                from 0 to 999999999, of which the likeliest is found digit by digit.

        Raises:
            TypeError: if one is not a whole number.
            ValueError: if there are not at least two, or more than 1000.
        """
        if numbers is None:
            return cls(text, "number", ())
        if isinstance(numbers, str) or not isinstance(numbers, Iterable):
            raise TypeError(
                "Expected numbers as a range or a list of whole numbers. Received: "
                f"{numbers!r}."
            )
        # A range may be far too long to look at.
        values = tuple(islice(numbers, MOST_CHOICES + 1))
        for value in values:
            if type(value) is not int:
                raise TypeError(f"Expected whole numbers. Received: {value!r}.")
        if not values:
            raise ValueError(
                f"Expected numbers to choose from for {text!r}. Received: none."
            )
        return cls(text, "number", values)

    @property
    def answers(self) -> tuple[str, ...]:
        """What the model would write for each value."""
        return tuple(map(as_answer, self.values))

    @classmethod
    def from_dict(cls, description: Mapping[str, Any], source: str = "") -> Question:
        """Return the question that an object describes, as JSON has it.

            {"question": "is there a cat?"}
            {"type": "choice", "question": "what color is it?", "choices": ["a", "b"]}
            {"type": "number", "question": "how many?", "range": [0, 20]}

        `range` is the smallest and the largest number. Other libraries call a question
        `instructions`, choices `criteria` and yes or no "noul", which are read, too.

        Args:
            description: The object.
            source: What errors call it.

        Raises:
            ValueError: if a field is missing, unknown, or of another kind.
        """
        fields = _with_our_names(Fields(description, source or "a question"))
        given = fields.text("type", "boolean")
        kind = _KINDS.get(given, given)
        needed = {"choice": "choices", "number": "range"}.get(kind)
        for name in fields:
            if name not in {"type", "question", needed}:
                raise ValueError(
                    f"Expected {fields.source} of type {given!r} without {name!r}. "
                    "Leave it out, or choose another type."
                )
        text = fields.text("question")
        if kind == "choice":
            return cls.one_of(text, fields.items("choices", Fields.text))
        if kind == "number":
            bounds = fields.items("range", _read_number, None)
            if bounds is None:
                return cls.number(text)
            if len(bounds) != 2 or bounds[0] >= bounds[1]:
                raise fields.error("range", "the smallest and the largest number")
            return cls.number(text, range(bounds[0], bounds[1] + 1))
        if kind != "boolean":
            raise fields.error("type", f"one of {', '.join(get_args(Kind))}")
        return cls(text)


def as_answer(value: Value) -> str:
    """Return the answer that stands for a value: "yes", "no", a text, digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def read_questions(questions: Any) -> tuple[list[str] | None, list[Question]]:
    """Return the names of questions, None for a list, and the questions.

    Args:
        questions: A list, or a mapping of names, of `QuestionLike`.

    Raises:
        TypeError: if they are something else; says where.
        ValueError: if there is no question, or one is invalid; says which.
    """
    if isinstance(questions, str | Question) or not isinstance(
        questions, Mapping | Sequence
    ):
        raise TypeError(
            "Expected questions as a list, or a dict of names and questions. Received: "
            f"{questions!r:.80}. Put it into a list."
        )
    if not questions:
        raise ValueError("Expected at least one question. Received: none.")
    if isinstance(questions, Mapping):
        found = [_read(each, f"question {name!r}") for name, each in questions.items()]
        return list(map(str, questions)), found
    return None, [_read(each, f"question {i}") for i, each in enumerate(questions)]


def _read(question: Any, name: str) -> Question:
    if isinstance(question, Question):
        return question
    try:
        if isinstance(question, str):
            return Question(question)
        if isinstance(question, Mapping):
            return Question.from_dict(question, name)
    except (TypeError, ValueError) as error:
        prefix = "" if name in str(error) else f"{name.capitalize()}: "
        raise type(error)(f"{prefix}{error}") from error
    raise TypeError(
        f"Expected {name} as a Question, a text or a dict. Received: {question!r:.80}."
    )


def _with_our_names(fields: Fields) -> Fields:
    """Return the fields by our own names, checked."""
    values: dict[str, Any] = {}
    for name in fields:
        value = fields.value(name)
        own = _ALSO.get(name, name)
        if own not in _FIELDS:
            raise ValueError(
                f"Expected {fields.source} with the fields "
                f"{', '.join(sorted(_FIELDS))}. Received: {name!r}."
            )
        if own in values:
            raise ValueError(f"Expected {own!r} of {fields.source} once.")
        if isinstance(value, Mapping):
            if any(value.values()):
                raise ValueError(
                    f"Expected {name!r} of {fields.source} as a list of texts: the "
                    "model is not shown what each means. Name them so that they say it."
                )
            value = list(value)
        values[own] = list(value) if isinstance(value, tuple) else value
    return Fields(values, fields.source)


def _read_number(fields: Fields, name: str) -> int:
    number: int = fields.integer(name, at_least=-LARGEST_NUMBER, at_most=LARGEST_NUMBER)
    return number
