from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import (
    BeamSearch,
    Decision,
    DecisionCalibration,
    PaliGemma2CausalLM,
    Question,
)
from keras_pg2.tasks.deciding.deciding import Decider
from keras_pg2.tasks.deciding.predictions import predict_decisions
from tests.support.tiny_models import random_task

QUESTIONS = [
    "is there a ball?",
    Question.number("how many dogs are there?", range(12)),
    Question.one_of("what is next to the small green house?", ["dog", "a red ball"]),
    Question.number("when?"),
    "is there a dog in front of the house?",
]
# Each shape is compiled; PyTorch asks all.
ALONE = range(5) if keras.backend.backend() == "torch" else (1, 3)


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task()


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    shape = (3, 40, 60, 3)
    return list(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def calibrated(task) -> Iterator[DecisionCalibration]:
    task.decision_calibration = DecisionCalibration(
        boolean=3.0, yes_bias=1.0, choice=2.0, number=2.0
    )
    yield task.decision_calibration
    task.decision_calibration = None


def assert_equal(found: Decision, expected: Decision) -> None:
    assert (found.question, found.value) == (expected.question, expected.value)
    for value, probability in expected.probabilities.items():
        assert found.probabilities[value] == pytest.approx(probability, abs=1e-5)


def test_a_batch_of_questions_is_each_alone(task, pictures):
    decided = task.decide(pictures[0], QUESTIONS)
    assert [each.question.text for each in decided] == [
        each if isinstance(each, str) else each.text for each in QUESTIONS
    ]
    for i in ALONE:
        assert_equal(decided[i], *task.decide(pictures[0], [QUESTIONS[i]]))
    for found in decided:
        shares = list(found.probabilities.values())
        assert shares == sorted(shares, reverse=True)
        if found.question.values:
            assert set(found.probabilities) == set(found.question.values)
            assert sum(shares) == pytest.approx(1)


@pytest.mark.one_backend("which rows go together")
def test_chunks_pictures_and_names_change_nothing(task, pictures):
    decided = [task.decide(picture, QUESTIONS) for picture in pictures]
    together = task.decide(pictures, QUESTIONS, batch_size=2)
    own = [QUESTIONS[:1], QUESTIONS[1:4], QUESTIONS[4:]]
    apart = task.decide(np.stack(pictures), own, batch_size=4)
    named = task.decide(pictures[:1], {"a": QUESTIONS[0], "b": QUESTIONS[3]})
    encoded = task.decide(task.encode_images(pictures[2]), QUESTIONS)
    for rows, expected in zip(together, decided, strict=True):
        for found, other in zip(rows, expected, strict=True):
            assert_equal(found, other)
    assert [len(rows) for rows in apart] == [1, 3, 1]
    pairs = {
        "apart": (
            [each for rows in apart for each in rows],
            [decided[0][0], *decided[1][1:4], decided[2][4]],
        ),
        "named": (named[0].values(), [decided[0][0], decided[0][3]]),
        "encoded": (encoded, decided[2]),
    }
    for rows, expected in pairs.values():
        for found, other in zip(rows, expected, strict=True):
            assert_equal(found, other)
    assert list(named[0]) == ["a", "b"]


@pytest.mark.one_backend("what choose computes on all")
def test_probabilities_are_those_of_choose(task, pictures):
    found = task.decide(pictures[0], QUESTIONS[1:3])
    for question, decided in zip(QUESTIONS[1:3], found):
        inputs = {"images": pictures[0], "prompts": f"answer en {question.text}"}
        expected = task.choose(inputs, question.answers)
        shares = {str(k): v for k, v in decided.probabilities.items()}
        assert shares == pytest.approx(expected, abs=1e-5)
        assert str(decided.value) == next(iter(expected))


@pytest.mark.one_backend("a tree of digits")
def test_a_number_without_a_range_is_the_likeliest_digit_by_digit(task, pictures):
    """Beside a full forward pass for each digit, among what may stand there."""
    task.compile(sampler=BeamSearch(num_beams=2))  # It does not matter.
    [decided] = task.decide(pictures[1], [QUESTIONS[3]])
    task.compile()
    arrays = task.preprocessor.generate_preprocess(
        {"images": pictures[1:2], "prompts": ["answer en when?"]}
    )
    prompt = arrays["token_ids"][0, : int(arrays["padding_mask"].sum())]
    tokenizer = task.preprocessor.tokenizer
    digits = [row[0] for row in tokenizer.tokenize(list("0123456789"))]
    written: list[int] = []
    total = 0.0
    while not written or written[-1] != tokenizer.end_token_id:
        token_ids = np.array([[*prompt, *written]])
        logits = task(
            {
                "images": arrays["images"],
                "token_ids": token_ids,
                "padding_mask": np.ones_like(token_ids, bool),
                "response_mask": np.arange(token_ids.size)[None] >= len(prompt),
            }
        )
        last = ops.convert_to_numpy(logits)[0, -1].astype("float64")
        allowed = digits if not written else [*digits, tokenizer.end_token_id]
        if len(written) == 9 or written == digits[:1]:
            allowed = [tokenizer.end_token_id]
        scores = last[allowed]
        total += scores.max() - np.logaddexp.reduce(scores)
        written.append(allowed[int(scores.argmax())])
    number = "".join(str(digits.index(token)) for token in written[:-1])
    assert decided.value == int(number)
    assert str(decided.value) == number
    assert decided.probability == pytest.approx(np.exp(total), rel=1e-3)
    assert decided.log_probabilities[decided.value] == pytest.approx(total, abs=1e-3)


@pytest.mark.one_backend("arrays of NumPy")
def test_calibrated_probabilities(task, pictures, calibrated):
    for decided in task.decide(pictures[0], QUESTIONS[:3]):
        scores = np.array(
            [decided.log_probabilities[each] for each in decided.question.values]
        )
        shares = calibrated(decided.question.kind, scores)
        expected = dict(zip(decided.question.values, shares))
        assert decided.probabilities == pytest.approx(expected)
        assert decided.value == max(expected, key=lambda value: expected[value])


@pytest.mark.one_backend("prompts of text")
def test_the_prompt_is_the_one_that_was_given(task, pictures):
    [found] = task.decide(pictures[0], [QUESTIONS[2]], prompt="{question}")
    inputs = {"images": pictures[0], "prompts": QUESTIONS[2].text}
    expected = task.choose(inputs, QUESTIONS[2].values)
    assert found.probabilities == pytest.approx(expected, abs=1e-5)


@pytest.mark.one_backend("words of errors")
def test_what_is_wrong_is_said_before_anything_is_computed(task, pictures, monkeypatch):
    monkeypatch.setattr(Decider, "_decide", None)
    wrong = {
        "of one picture": (task.encode_images(pictures), ["a?"], {}),
        "for each of 3 pictures": (pictures, [["a?"], ["b?"]], {}),
        "at least one picture": ([], ["a?"], {}),
        "at least one question": (pictures[0], [], {}),
        "with {question} in it": (pictures[0], ["a?"], {"prompt": "answer en"}),
        "batch_size": (pictures[0], ["a?"], {"batch_size": 0}),
        "64": (pictures[0], ["is it " + "so " * 70], {}),
    }
    for message, (images, questions, options) in wrong.items():
        with pytest.raises((TypeError, ValueError), match=message):
            task.decide(images, questions, **options)
    with pytest.raises(FileNotFoundError, match="nothing"):
        task.decide("nothing.png", ["a?"])
    with pytest.raises(ValueError, match="image converter"):
        PaliGemma2CausalLM(task.backbone).decide(pictures[0], ["a?"])


@pytest.mark.one_backend("records")
def test_records_go_on_where_they_stopped(task, pictures, tmp_path):
    output = tmp_path / "decided.jsonl"
    (tmp_path / "bad.png").write_bytes(b"x")
    rows = [
        {"id": "a", "images": pictures[0]},
        {"id": "bad", "images": str(tmp_path / "bad.png")},
        {"id": "b", "images": pictures[1]},
    ]
    options = {"batch_size": 2, "show_progress": False}
    whole = predict_decisions(task, rows, QUESTIONS[:3], **options)
    assert (whole.num_answered, whole.num_failed) == (6, 3)
    ids = [record["id"] for record in whole.records]
    assert ids == ["a"] * 3 + ["bad"] * 3 + ["b"] * 3
    decided = task.decide(pictures[0], QUESTIONS[:3])
    for record, found in zip(whole.records, decided):
        assert record["prompt"] == f"answer en {found.question.text}"
        assert record["text"] == found.answer
        assert record["probability"] == pytest.approx(found.probability, abs=1e-4)
    own = [{**row, "prompts": "answer en is there a ball?"} for row in rows]
    alone = predict_decisions(task, own, **options).records
    for record, other in zip(alone, whole.records[::3], strict=True):
        assert record["prompt"] == other["prompt"]
        expected = pytest.approx(other.get("probability"), abs=1e-4)
        assert record.get("probability") == expected
    first = predict_decisions(task, rows[:1], QUESTIONS[:3], output, **options)
    assert (first.num_answered, first.records) == (3, [])
    rest = predict_decisions(task, rows, QUESTIONS[:3], output, **options)
    assert (rest.num_answered, rest.num_kept, rest.num_failed) == (3, 3, 3)
    other = Question.one_of(QUESTIONS[2].text, ["dog", "cat"])
    with pytest.raises(ValueError, match="Choose another output"):
        predict_decisions(task, rows, [other], output, **options)
    with pytest.raises(ValueError, match="each question once"):
        predict_decisions(task, rows, [other, QUESTIONS[2]], **options)
