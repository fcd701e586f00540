"""The command `decide`: typed questions about pictures, each with its probability."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_pg2.checks.texts import printable
from keras_pg2.cli import options
from keras_pg2.cli.answering import Destination, Language
from keras_pg2.cli.inputs import check_pictures, describe, find_pictures, read_picture
from keras_pg2.cli.loading import ChosenModel, choose_checkpoint
from keras_pg2.cli.messages import fail_in_part, print_json, print_result, progress
from keras_pg2.cli.options import ModelChoice, with_options
from keras_pg2.cli.outputs import expand_user
from keras_pg2.cli.record_files import check_record_file, print_written
from keras_pg2.start.backends import use_backend

if TYPE_CHECKING:
    from keras_pg2.tasks import Decision, Question

_RANGE = re.compile(r"\s*(-?\d{1,9})\s*\.\.\s*(-?\d{1,9})\s*")


def _several(*names: str, metavar: str, help: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, show_default=False)


@with_options
def decide(
    images: options.Pictures,
    *,
    question: Annotated[
        list[str] | None,
        _several(
            "--question",
            "-q",
            metavar="QUESTION",
            help="A question for yes or no; several may be given.",
        ),
    ] = None,
    one_of: Annotated[
        list[str] | None,
        _several(
            "--one-of",
            metavar="QUESTION=A,B,...",
            help="A question and the answers to choose from.",
        ),
    ] = None,
    number: Annotated[
        list[str] | None,
        _several(
            "--number",
            metavar="QUESTION[=LOW..HIGH]",
            help="A question for a number, of a range or any.",
        ),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="An object of names and questions: a text (yes or no), or an object "
            "of type (boolean, choice, number), question, and choices or range.",
            show_default=False,
        ),
    ] = None,
    language: Language = "en",
    choice: ModelChoice,
    destination: Destination,
) -> None:
    """Decide between known answers, and say how probable each is."""
    use_backend(choice.backend)
    from keras_pg2.preprocessing import prompts

    chosen = choose_checkpoint(choice)
    names, asked = _read(question or [], one_of or [], number or [], questions)
    prompt = prompts.answer("{question}", language)
    paths = find_pictures(images)
    if destination.output is not None:
        _write(paths, asked, prompt, chosen, destination, destination.output)
        return
    paths, errors = check_pictures(paths, is_drawn=False)
    model = chosen.load()
    records = []
    for i, path in enumerate(paths):
        picture = read_picture(path)
        count = f" ({i + 1} of {len(paths)})" if len(paths) > 1 else ""
        with progress(f"Deciding about {describe(path)}{count}"):
            decided = model.decide(picture, asked, prompt=prompt)
        for name, decision in zip(names, decided):
            named = {} if name is None else {"name": name}
            records.append({"image": describe(path), **named, **decision.to_dict()})
        if not destination.as_json:
            heading = [printable(describe(path))] if len(paths) > 1 else []
            print_result("\n".join([*heading, *_table(decided)]))
    if destination.as_json:
        print_json(records)
    fail_in_part(errors, len(paths) + len(errors))


def _write(
    paths: Sequence[Path],
    asked: Sequence[Question],
    prompt: str,
    chosen: ChosenModel,
    destination: Destination,
    output: Path,
) -> None:
    """Write JSON lines, and say how many."""
    from keras_pg2.tasks.deciding.predictions import predict_decisions

    check_record_file(output)
    done = predict_decisions(
        chosen.load(),
        paths,
        asked,
        output,
        prompt=prompt,
        batch_size=destination.batch_size,
    )
    print_written(done, output, "decided", destination.as_json)


def _read(
    yes_no: Sequence[str],
    one_of: Sequence[str],
    numbers: Sequence[str],
    file: Path | None,
) -> tuple[list[str | None], list[Question]]:
    """Return all questions, with the names that those of a file have.

    Raises:
        ValueError, TypeError: if there is no question, or one is invalid.
        OSError: if the file cannot be read.
    """
    from keras_pg2.files.json_files import read_json
    from keras_pg2.tasks.deciding.questions import Question, read_questions

    names: list[str | None] = []
    asked: list[Question] = []
    if file is not None:
        path = expand_user(file)
        try:
            keys, asked = read_questions(read_json(path))
        except (TypeError, ValueError) as error:
            told = str(path) in str(error)
            raise ValueError(str(error) if told else f"{path}: {error}") from error
        names += keys or []
    made = [Question(text) for text in yes_no]
    for text in one_of:
        question, answers = _parts(text, "--one-of", "what color is it?=red,blue")
        choices = [answer.strip() for answer in answers.split(",")]
        made.append(Question.one_of(question, choices))
    for text in numbers:
        if "=" not in text:
            made.append(Question.number(text))
            continue
        question, bounds = _parts(text, "--number", "how many are there?=0..20")
        found = _RANGE.fullmatch(bounds)
        low, high = map(int, found.groups()) if found else (0, 0)
        if low >= high:
            raise ValueError(
                "Expected --number with the smallest and the largest number, such as "
                f'"how many are there?=0..20". Received: {text!r}.'
            )
        made.append(Question.number(question, range(low, high + 1)))
    names += [None] * len(made)
    if not names:
        raise ValueError(
            "Expected at least one question. Write for example: keras-pg2 decide "
            'scene.png -q "is there a star?"'
        )
    return names, [*asked, *made]


def _parts(text: str, option: str, example: str) -> tuple[str, str]:
    question, found, rest = text.rpartition("=")
    if not found:
        raise ValueError(
            f'Expected {option} as a question and answers, such as "{example}". '
            f"Received: {text!r}."
        )
    return question, rest


def _table(decided: Sequence[Decision]) -> list[str]:
    """Return a line for each decision; its next likely answers beside it."""
    rows = []
    for decision in decided:
        shares = list(decision.probabilities.items())
        others = [
            f"{printable(str(value))} {share:.3f}"
            for value, share in shares[1:4]
            if share >= 0.0005 and decision.question.kind != "boolean"
        ]
        answer, text = printable(decision.answer), printable(decision.question.text)
        rows.append((text, answer, f"{decision.probability:.3f}", ", ".join(others)))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return [
        f"{text:<{widths[0]}}  {answer:<{widths[1]}}  {share}"
        + (f"  ({others})" if others else "")
        for text, answer, share, others in rows
    ]
