from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from keras_pg2.datasets.vqa import (
    VqaFile,
    VqaQuestion,
    asked_rows,
    question_rows,
    read_textvqa,
    read_vqav2,
)
from tests.support.row_files import write_pictures

NAMES = {9: "COCO_val2014_000000000009.jpg", 12: "COCO_val2014_000000000012.jpg"}


@pytest.fixture
def folder(tmp_path):
    for path, name in zip(write_pictures(tmp_path), NAMES.values()):
        path.rename(tmp_path / name)
    return tmp_path


def questions():
    return {
        "data_subtype": "val2014",
        "questions": [
            {"question_id": 90, "image_id": 9, "question": "How many {cats}?"},
            {"question_id": 120, "image_id": 12, "question": "Is it red? "},
        ],
    }


def annotations():
    # Not in the order of the questions.
    return {
        "annotations": [
            {
                "question_id": 120,
                "answer_type": "yes/no",
                "answers": [{"answer": "yes", "answer_id": i} for i in range(10)],
            },
            {
                "question_id": 90,
                "answer_type": "number",
                "answers": [{"answer": a} for a in ["2"] * 7 + ["two", "", "3"]],
            },
        ]
    }


def read(folder, asked=None, answered=None, **options):
    paths = [folder / "questions.json", folder / "annotations.json"]
    for path, content in zip(paths, (asked or questions(), answered or annotations())):
        path.write_text(json.dumps(content))
    return read_vqav2(*paths, folder, **options)


def test_what_files_hold(folder):
    file = read(folder)
    assert file.skipped == ()
    first, second = file.questions
    assert first == VqaQuestion(
        90,
        str(folder / NAMES[9]),
        "How many {cats}?",
        ("2",) * 7 + ("two", "", "3"),
        "number",
    )
    assert second.answers == ("yes",) * 10
    assert second.question == "Is it red?"


def test_rows_to_train_and_to_ask(folder):
    file = read(folder)
    first, second = question_rows(file)
    assert first["images"] == str(folder / NAMES[9])
    assert first["prompts"] == "answer en How many {cats}?"
    assert second == {
        "images": str(folder / NAMES[12]),
        "prompts": "answer en Is it red?",
        "responses": "yes",
    }
    assert asked_rows(file, "{question}")[1] == {
        "id": 120,
        "images": str(folder / NAMES[12]),
        "prompts": "Is it red?",
    }
    with pytest.raises(ValueError, match=r"a prompt with \{question\} in it"):
        question_rows(file, prompt="answer en")


def test_every_answer_has_its_turn_before_one_comes_again(folder):
    file = read(folder)

    def answers(epochs, seed=0):
        return [question_rows(file, seed=seed, epoch=e)[0]["responses"] for e in epochs]

    # Nine answers are not empty.
    for turn in range(3):
        seen = Counter(answers(range(9 * turn, 9 * turn + 9)))
        assert seen == {"2": 7, "two": 1, "3": 1}
    assert answers(range(9)) != answers(range(9, 18))
    assert answers(range(9)) != answers(range(9), seed=1)


def test_test_splits_have_no_answers(folder):
    path = folder / "questions.json"
    content = questions()
    content["data_subtype"] = "test-dev2015"
    path.write_text(json.dumps(content))
    for name in NAMES.values():
        (folder / name).rename(folder / name.replace("val2014", "test2015"))
    file = read_vqav2(path, None, folder)
    assert [one.answers for one in file.questions] == [(), ()]
    assert len(asked_rows(file)) == 2
    with pytest.raises(
        ValueError, match=r"Question 90 about .*: expected an answer.*received \[\]"
    ):
        question_rows(file)


def changed(content, key, index, **values):
    entry = {**content[key][index], **values}
    content[key][index] = {k: v for k, v in entry.items() if v is not ...}
    return content


def asked(index=1, **values):
    return changed(questions(), "questions", index, **values), None


def answered(index=0, **values):
    return None, changed(annotations(), "annotations", index, **values)


BAD_QUESTIONS = [
    (asked(question=""), "question 1: expected a text under 'question'"),
    (asked(question=...), "question 1: .*'question' as text, received NoneType"),
    (asked(question=5), "question 1: .*received int 5"),
    (asked(question_id=90), "question 1: .*every question_id once, received 90 twice"),
    (asked(question_id=...), "question 1: expected 'question_id'.*null"),
    (asked(question_id=True), "question 1: .*received True"),
    (asked(question_id=7), "question 1: expected an annotation.*none"),
    (asked(image_id="x"), "question 1: expected an image_id that fits image_name"),
    (asked(image_id=...), "question 1: expected 'image_id'"),
    (answered(answers=...), "question 1: expected a list of answers, received null"),
    (answered(answers="yes"), "question 1: expected a list of answers"),
    (
        answered(answers=[{"answer": 3}]),
        "question 1: .*'answers' as text, received int",
    ),
    (answered(answers=[{}]), "question 1: .*'answers' as text, received NoneType"),
    (answered(answer_type=3), "question 1: .*'answer_type' as text"),
    (answered(question_id=...), "annotation 0: expected 'question_id'"),
    (answered(question_id=90), "annotation 1: expected every question_id once"),
]


@pytest.mark.parametrize(("contents", "message"), BAD_QUESTIONS)
def test_bad_questions_are_named_or_skipped(folder, contents, message):
    with pytest.raises(ValueError, match=message) as raised:
        read(folder, *contents)
    assert str(folder) in str(raised.value)
    file = read(folder, *contents, on_bad="skip")
    assert len(file.questions) == 1
    assert re.search(message, file.skipped[0])


def test_answers_are_of_the_picture_of_the_question(folder):
    content = annotations()
    content["annotations"][0]["image_id"] = "12"
    content["annotations"][1]["image_id"] = 9.0
    assert len(read(folder, answered=content).questions) == 2
    content["annotations"][0]["image_id"] = 9
    with pytest.raises(ValueError, match=r"question 1: .*image_id 9 for a question of"):
        read(folder, answered=content)
    assert len(read(folder, answered=content, on_bad="skip").questions) == 1


def test_missing_pictures(folder):
    (folder / NAMES[12]).unlink()
    with pytest.raises(FileNotFoundError, match=r"question 1: .*000012\.jpg"):
        read(folder)
    assert len(read(folder, on_bad="skip").questions) == 1


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (({"questions": []}, None), "'data_subtype'.*Pass image_name"),
        (({"data": []}, None), "a list under 'questions', received none.*has data"),
        (({**questions(), "questions": {}}, None), "received dict"),
        ((None, {"annotations": 3}), "a list under 'annotations', received int"),
        (({**questions(), "questions": []}, None), "at least one entry"),
    ],
)
def test_files_that_are_none(folder, contents, message):
    with pytest.raises(ValueError, match=message):
        read(folder, *contents)


def test_textvqa(tmp_path):
    for path, name in zip(write_pictures(tmp_path), ("ab12.jpg", "cd34.jpg")):
        path.rename(tmp_path / name)
    entries = [
        {"question_id": 0, "image_id": "ab12", "question": "what brand?"},
        {"question_id": 1, "image_id": "cd34", "question": "what year?", "answers": 3},
    ]
    entries[0]["answers"] = ["nokia"] * 9 + ["Nokia"]
    path = tmp_path / "TextVQA_0.5.1_val.json"
    path.write_text(json.dumps({"data": entries}))
    with pytest.raises(ValueError, match="question 1: expected a list of answers"):
        read_textvqa(path, tmp_path)
    file = read_textvqa(path, tmp_path, on_bad="skip")
    [question] = file.questions
    assert question.image == str(tmp_path / "ab12.jpg")
    assert question.answers == ("nokia",) * 9 + ("Nokia",)
    assert question.answer_type == "other"
    rows = question_rows(file)
    assert rows.num_skipped == 1
    del entries[1]["answers"]  # As in the test split.
    path.write_text(json.dumps({"data": entries}))
    assert read_textvqa(path, tmp_path).questions[1].answers == ()
    assert isinstance(file, VqaFile)
