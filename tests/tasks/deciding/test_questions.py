from __future__ import annotations

import pytest

from keras_pg2 import Question
from keras_pg2.tasks.deciding.questions import read_questions


def test_kinds_and_their_answers():
    assert Question(" is there a cat? ").answers == ("yes", "no")
    assert Question("is there a cat?").text == "is there a cat?"
    color = Question.one_of("what color?", (c for c in ["red", "blue"]))
    assert (color.kind, color.values) == ("choice", ("red", "blue"))
    count = Question.number("how many?", range(-1, 3))
    assert count.answers == ("-1", "0", "1", "2")
    assert Question.number("how many?").values == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Question(""), "received an empty text"),
        (lambda: Question("a\nb"), "on one line"),
        (lambda: Question("a <loc0001>?"), "in plain words"),
        (lambda: Question(3), "as text"),
        (lambda: Question("a?", "maybe"), "boolean, choice, number"),
        (lambda: Question("a?", values=("a", "b")), "Call Question.one_of"),
        (lambda: Question.one_of("a?", "red,blue"), "list of texts"),
        (lambda: Question.one_of("a?", ["red"]), "2 to 1000 .* Received: 1"),
        (lambda: Question.one_of("a?", ["red", "red"]), "that differ"),
        (lambda: Question.one_of("a?", ["red", " "]), "not empty"),
        (lambda: Question.one_of("a?", ["red", 3]), "Received: 3"),
        (lambda: Question.number("a?", []), "Received: none"),
        (lambda: Question.number("a?", [1, 2.0]), "Received: 2.0"),
        (lambda: Question.number("a?", [True, False]), "Received: True"),
        (lambda: Question.number("a?", 20), "as a range"),
        (lambda: Question.number("a?", range(10**12)), "Received: more"),
    ],
)
def test_what_is_no_question(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_questions_as_json_has_them():
    names, questions = read_questions(
        {
            "cat": "is there a cat?",
            "dog": {"question": "is there a dog?"},
            "color": {"type": "choice", "question": "what?", "choices": ["a", "b"]},
            "count": {"type": "number", "question": "how many?", "range": [0, 3]},
            "year": {"type": "number", "question": "when?"},
            "also": Question("is it day?"),
        }
    )
    assert names == ["cat", "dog", "color", "count", "year", "also"]
    assert questions == [
        Question("is there a cat?"),
        Question("is there a dog?"),
        Question.one_of("what?", ["a", "b"]),
        Question.number("how many?", range(4)),
        Question.number("when?"),
        Question("is it day?"),
    ]


def test_words_of_other_libraries():
    """As transformers 5.23 documents `pipeline("decision")`."""
    description = {
        "type": "choice",
        "instructions": "what color?",
        "criteria": {"red": "", "blue": ""},
    }
    expected = Question.one_of("what color?", ["red", "blue"])
    assert Question.from_dict(description) == expected
    noul = {"type": "noul", "instructions": "is there a cat?"}
    assert Question.from_dict(noul) == Question("is there a cat?")
    described = {**description, "criteria": {"red": "like blood", "blue": ""}}
    with pytest.raises(ValueError, match="not shown what each means"):
        Question.from_dict(described)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ("is there a cat?", "Put it into a list"),
        (Question("is there a cat?"), "Put it into a list"),
        ([], "at least one"),
        ({}, "at least one"),
        (None, "list, or a dict"),
        ([3], "question 0 as a Question"),
        (["a?", ""], "Question 1: .* empty text"),
        ({"x": {"question": "a?", "color": 1}}, "question 'x' .* 'color'"),
        ([{"type": "choice", "question": "a?"}], "choices in question 0"),
        ([{"type": "choice", "question": "a?", "choices": "ab"}], "as a list"),
        ([{"type": "number", "question": "a?", "range": [3, 0]}], "smallest"),
        ([{"type": "number", "question": "a?", "range": [0, 1.5]}], "whole number"),
        ([{"type": "score", "question": "a?"}], "boolean, choice, number"),
        ([{"question": "a?", "choices": ["a", "b"]}], "without 'choices'"),
        ([{"question": "a?", "instructions": "b?"}], "'question' .* once"),
        ([{"type": "boolean"}], "Expected question in question 0"),
    ],
)
def test_what_is_wrong_is_named(questions, message):
    with pytest.raises((TypeError, ValueError), match=message):
        read_questions(questions)
