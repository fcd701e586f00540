"""Questions with several answers: the files of VQAv2 (also OK-VQA) and of TextVQA.

Ten people answered each question. Training takes one answer at a time: over the epochs
all of a question's answers in random order before one comes again (big_vision
`choice_no_replacement` in `configs/proj/paligemma/transfers/vqav2.py`, `textvqa.py`),
so an answer that many gave is trained on often. Evaluation compares with all of them:
`VqaQuestion.answers` has them as they are in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_pg2.checks.texts import first_names, shown
from keras_pg2.datasets.answer_turns import answer_of_epoch
from keras_pg2.datasets.checks import OnBad, Problems, as_integer, check_text
from keras_pg2.datasets.entries import fill_prompt
from keras_pg2.datasets.image_finder import ImageFinder
from keras_pg2.datasets.rows import Row, Rows
from keras_pg2.datasets.text_files import read_json_object
from keras_pg2.metrics.metric import Truth

PROMPT = "answer en {question}"


@dataclass(frozen=True)
class VqaQuestion:
    """A question about a picture.

    Attributes:
        id: as in the file.
        image: the path of the picture.
        question: the question.
        answers: what people answered, in the order of the file; () where the file has
            none, as those of test splits.
        answer_type: "yes/no", "number" or "other"; TextVQA has only the last.
    """

    id: int | str
    image: str
    question: str
    answers: tuple[str, ...]
    answer_type: str = "other"


@dataclass(frozen=True)
class VqaFile:
    """What question files hold.

    Attributes:
        questions: in the order of the file.
        skipped: what was wrong with each question that was left out.
    """

    questions: tuple[VqaQuestion, ...]
    skipped: tuple[str, ...] = ()


def read_vqav2(
    questions: str | Path,
    annotations: str | Path | None,
    image_folder: str | Path,
    *,
    image_name: str | None = None,
    on_bad: OnBad = "raise",
) -> VqaFile:
    """Reads and checks `*_questions.json` and `*_annotations.json` of VQAv2 or OK-VQA.

    Args:
        questions: the file with "questions" of question_id, image_id and question.
        annotations: the file with "annotations" of question_id, answers and
            answer_type; None for a test split.
        image_folder: the folder of the pictures.
        image_name: their names, as "{image_id:012d}.jpg"; None for COCO's,
            `COCO_train2014_000000000009.jpg`, by "data_subtype" of the file.
        on_bad: "skip" leaves questions that cannot be used out and lists them in
            `skipped` of the result.

    Raises:
        FileNotFoundError, PermissionError: when a file or picture is not there or not
            readable.
        ValueError: when a key is missing or of another type, an id occurs twice, a
            question has no annotation or one of another picture, or none is left;
            names file and question.
    """
    path = Path(questions).expanduser()
    problems = Problems(on_bad)
    content = read_json_object(path)
    entries = _list(content, "questions", path)
    if image_name is None:
        subtype = content.get("data_subtype")
        # Braces of a name would be filled in.
        if not isinstance(subtype, str) or not re.fullmatch(r"[\w.-]+", subtype):
            raise ValueError(
                f"{path}: expected 'data_subtype', by which COCO names its pictures, "
                f"received {shown(subtype)}. Pass image_name, as "
                "'COCO_train2014_{image_id:012d}.jpg', or for the command line add it "
                'to the file, as "train2014".'
            )
        # The pictures of test-dev are those of the test split.
        image_name = f"COCO_{subtype.replace('test-dev', 'test')}" + (
            "_{image_id:012d}.jpg"
        )
    answers: dict[int | str, Mapping[str, Any]] | None = None
    if annotations is not None:
        path_of_answers = Path(annotations).expanduser()
        listed = _list(
            read_json_object(path_of_answers), "annotations", path_of_answers
        )
        answers = {}
        for index, entry in enumerate(listed):
            with problems.of(f"{path_of_answers}, annotation {index}"):
                answers[_id(entry, "question_id", answers)] = entry

    def answers_of(entry: Mapping[str, Any]) -> tuple[Any, str]:
        if answers is None:
            return [], "other"
        found = answers.get(_id(entry, "question_id", {}))
        if found is None:
            raise ValueError(
                "expected an annotation of the question, received none. Are both "
                "files of one split?"
            )
        if "image_id" in found and not _is_same_id(found["image_id"], entry):
            raise ValueError(
                "expected an annotation of the question's picture, received image_id "
                f"{shown(found['image_id'])} for a question of "
                f"{shown(entry.get('image_id'))}. Are both files of one split?"
            )
        given = found.get("answers")
        if isinstance(given, list):
            given = [
                one.get("answer") if isinstance(one, dict) else one for one in given
            ]
        return given, check_text(found.get("answer_type", "other"), "answer_type")

    return _read(path, entries, image_folder, image_name, answers_of, problems)


def read_textvqa(
    path: str | Path,
    image_folder: str | Path,
    *,
    image_name: str = "{image_id}.jpg",
    on_bad: OnBad = "raise",
) -> VqaFile:
    """Reads and checks `TextVQA_0.5.1_*.json`.

    Args:
        path: the file with "data" of question_id, image_id, question and answers.
        image_folder: the folder of the pictures.
        image_name: their names.
        on_bad: "skip" leaves questions that cannot be used out and lists them in
            `skipped` of the result.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as `read_vqav2`.
    """
    path = Path(path).expanduser()
    entries = _list(read_json_object(path), "data", path)

    def answers_of(entry: Mapping[str, Any]) -> tuple[Any, str]:
        return entry.get("answers", []), "other"

    return _read(path, entries, image_folder, image_name, answers_of, Problems(on_bad))


def question_rows(
    file: VqaFile,
    *,
    prompt: str = PROMPT,
    seed: int = 0,
    epoch: int = 0,
    on_bad: OnBad = "raise",
) -> Rows:
    """Training rows, one per question, with one of its answers.

    Args:
        file: of `read_vqav2` or `read_textvqa`.
        prompt: the prompt, with "{question}" in it.
        seed: of the order of the answers.
        epoch: another epoch has another answer, until all had their turn.
        on_bad: "skip" leaves questions without an answer out and lists them in
            `skipped` of the result.

    Raises:
        ValueError: when the prompt has no "{question}", or other names in braces, or a
            question no answer.
    """
    problems = Problems(on_bad)
    rows, sources, truths = [], [], []
    for position, question in enumerate(file.questions):
        answers = [answer for answer in question.answers if answer.strip()]
        row, source = _asked(question, prompt), f"Question {question.id!r}"
        with problems.of(f"{source} about {question.image}"):
            if not answers:
                raise ValueError(
                    f"expected an answer to train on, received "
                    f"{list(question.answers)}. Take a split that has answers."
                )
            answer = answer_of_epoch(answers, seed=seed, position=position, epoch=epoch)
            rows.append({**row, "responses": answer})
            sources.append(source)
            kind = question.answer_type
            truths.append(Truth(answers=question.answers, kind=kind))
    if file.questions:
        problems.check_some_left(len(rows), "Questions")
    skipped = [*file.skipped, *problems.messages]
    return Rows(rows, skipped, sources, truths=truths)


def asked_rows(file: VqaFile, prompt: str = PROMPT) -> list[Row]:
    """Rows for `predict`: `{"id", "images", "prompts"}`, in the file's order.

    Raises:
        ValueError: when the prompt has no "{question}".
    """
    return [{"id": one.id, **_asked(one, prompt)} for one in file.questions]


def _asked(question: VqaQuestion, prompt: str) -> Row:
    if "{question}" not in prompt:
        raise ValueError(
            f"Expected a prompt with {{question}} in it, as {PROMPT!r}, received "
            f"{prompt!r}."
        )
    text = fill_prompt(prompt, {"question": question.question})
    return {"images": question.image, "prompts": text}


def _read(
    path: Path,
    entries: list[Any],
    image_folder: str | Path,
    image_name: str,
    answers_of: Callable[[Mapping[str, Any]], tuple[Any, str]],
    problems: Problems,
) -> VqaFile:
    finder = ImageFinder(image_folder)
    found: dict[int | str, VqaQuestion] = {}
    for index, entry in enumerate(entries):
        with problems.of(f"{path}, question {index}"):
            question_id = _id(entry, "question_id", found)
            answers, answer_type = answers_of(entry)
            if not isinstance(answers, list):
                raise ValueError(
                    f"expected a list of answers, received {shown(answers)}."
                )
            question = VqaQuestion(
                id=question_id,
                image=finder.find(_name_image(image_name, entry), "image_id"),
                question=check_text(entry.get("question"), "question").strip(),
                answers=tuple(
                    check_text(answer, "answers", True) for answer in answers
                ),
                answer_type=answer_type,
            )
            found[question_id] = question
    problems.check_some_left(len(found), str(path))
    return VqaFile(tuple(found.values()), tuple(problems.messages))


def _list(content: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list):
        raise ValueError(
            f"{path}: expected a list under {key!r}, received "
            f"{type(value).__name__ if key in content else 'none'}. The file has "
            f"{first_names(content)}."
        )
    return value


def _id(entry: object, key: str, seen: Mapping[int | str, object]) -> int | str:
    value = as_integer(entry.get(key)) if isinstance(entry, dict) else None
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError(
            f"expected {key!r} as a number or text, received {shown(value)}."
        )
    if value in seen:
        raise ValueError(f"expected every {key} once, received {shown(value)} twice.")
    return value


def _is_same_id(value: object, question: Mapping[str, Any]) -> bool:
    """Whether an image_id is that of a question, also as a text of the number."""
    own = as_integer(question.get("image_id"))
    return value == own or str(value) == str(own)


def _name_image(template: str, entry: Mapping[str, Any]) -> str:
    image_id = _id(entry, "image_id", {})
    try:
        return template.format(image_id=image_id)
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(
            f"expected an image_id that fits image_name {template!r}, received "
            f"{shown(image_id)} ({error})."
        ) from error
