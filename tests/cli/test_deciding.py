"""The command `decide`, and captions that are checked, on a tiny random preset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from keras_pg2 import PaliGemma2CausalLM, Question
from keras_pg2.cli import app
from tests.support.tiny_models import random_task

ASKED = (
    *("-q", "is there a ball?", "--one-of", "what color is it?=red, blue"),
    *("--number", "how many dogs are there?=0..3", "--number", "when?"),
)
QUESTIONS = [
    Question("is there a ball?"),
    Question.one_of("what color is it?", ["red", "blue"]),
    Question.number("how many dogs are there?", range(4)),
    Question.number("when?"),
]


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("presets") / "tiny"
    random_task().save_to_preset(directory)
    return directory


@pytest.fixture(scope="module")
def model(preset: Path) -> PaliGemma2CausalLM:
    return PaliGemma2CausalLM.from_preset(preset)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "pictures" / "scene.png"
    path.parent.mkdir()
    levels = np.random.default_rng(0).integers(0, 256, (50, 40, 3))
    Image.fromarray(levels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def run(preset: Path, model: PaliGemma2CausalLM, monkeypatch: pytest.MonkeyPatch):
    """Run a command on the tiny preset, which is loaded once."""
    monkeypatch.setattr("keras_pg2.cli.loading.ChosenModel.load", lambda _: model)

    def run(*words: object) -> Result:
        arguments = [*map(str, words), "--preset", str(preset)]
        return CliRunner().invoke(app, arguments)

    return run


Run = Callable[..., Result]


def test_decisions_as_text_and_as_json(run: Run, model, picture):
    expected = model.decide(picture, QUESTIONS)
    done = run("decide", picture, *ASKED, "--json")
    assert done.exit_code == 0, done.output
    records = json.loads(done.stdout)
    for record, decision in zip(records, expected, strict=True):
        assert record["image"] == str(picture)
        assert record["question"] == decision.question.text
        assert record["value"] == decision.value
        assert record["probability"] == pytest.approx(decision.probability, abs=1e-4)
    lines = run("decide", picture, *ASKED).stdout.splitlines()
    for line, decision in zip(lines, expected, strict=True):
        assert line.startswith(decision.question.text)
        assert f" {decision.answer} " in line
        assert f" {decision.probability:.3f}" in line


def test_questions_of_a_file_have_names(run: Run, picture, tmp_path):
    file = tmp_path / "questions.json"
    file.write_text(
        json.dumps(
            {
                "ball": "is there a ball?",
                "color": {"type": "choice", "question": "a?", "choices": ["b", "c"]},
            }
        )
    )
    done = run("decide", picture, "--questions", file, "-q", "is it day?", "--json")
    names = [record.get("name") for record in json.loads(done.stdout)]
    assert names == ["ball", "color", None]
    for content, message in {
        '{"ball": {"type": "choice"}}': "question 'ball'",
        "[": "questions.json",
        '"is there a ball?"': "a JSON object",
    }.items():
        file.write_text(content)
        failed = run("decide", picture, "--questions", file)
        assert failed.exit_code == 2
        assert message in failed.stderr
        assert "questions.json" in failed.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "at least one question"),
        (("--one-of", "what color is it?"), "question and answers"),
        (("--one-of", "what color is it?=red"), "Received: 1"),
        (("--number", "how many?=5"), "smallest and the largest"),
        (("--number", "how many?=5..5"), "smallest and the largest"),
        (("-q", ""), "empty text"),
        (("-q", "a?", "--language", "xx"), "language code"),
    ],
)
def test_questions_that_are_none(run: Run, picture, words, message):
    failed = run("decide", picture, *words)
    assert failed.exit_code == 2
    assert message in failed.stderr


def test_decisions_in_a_file_go_on(run: Run, picture, tmp_path):
    output = tmp_path / "decided.jsonl"
    words = ("decide", picture.parent, *ASKED, "--output", output)
    assert "4 decided" in run(*words).stdout
    first = output.read_text()
    (picture.parent / "broken.png").write_bytes(b"x")
    done = run(*words)
    assert "0 decided, 4 were there before, 4 not readable" in done.stdout
    assert output.read_text().startswith(first)
    assert [json.loads(line)["text"] for line in first.splitlines()]


def test_captions_are_checked(run: Run, model, picture, monkeypatch):
    def generate(*_: object, **__: object) -> list[str]:
        return ["a red ball and a dog"]

    monkeypatch.setattr(model, "generate", generate)
    [record] = json.loads(run("caption", picture, "--check", "--json").stdout)
    assert record["text"] == "a red ball and a dog"
    assert [thing["name"] for thing in record["things"]] == ["red ball", "dog"]
    lines = run("caption", picture, "--check").stdout.splitlines()
    assert lines[0] == "a red ball and a dog"
    assert lines[1] == f"  {record['things'][0]['probability']:.3f}  red ball"
    for words in (("--language", "de"), ("--output", "captions.jsonl")):
        failed = run("caption", picture, "--check", *words)
        assert failed.exit_code == 2
        assert "Expected --check without --output and --language" in failed.stderr
