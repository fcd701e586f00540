"""Texts from outside at every door by which they are shown: none does anything there.

The tests give each door texts that clear screens, reorder names, end lines or tables.
"""

from __future__ import annotations

import html
import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from keras_pg2.checks.texts import LINES_AND_JOINERS, printable
from keras_pg2.cli import app, checkpoints, describing, loading, messages
from keras_pg2.codecs import Detections
from keras_pg2.files.json_fields import Fields
from keras_pg2.finetuning.evaluation import Sample
from keras_pg2.finetuning.model_card import write_model_card
from keras_pg2.finetuning.reporting import Report
from keras_pg2.preprocessing.image_folders import list_pictures
from keras_pg2.preprocessing.preset_files import log_note
from tests.support.hostile_texts import HOSTILE, has_invisible

each_text = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
AT_DOORS = {
    name: HOSTILE[name]
    for name in (
        *("clears the screen", "control sequence in one character", "a second line"),
        *("overwrites the line", "right to left", "joiner", "half a character"),
        *("markup of rich", "emoji of rich", "separator of lines"),
    )
}
each_at_door = pytest.mark.parametrize("text", AT_DOORS.values(), ids=AT_DOORS)
NAMES = {kind: text.replace("/", ":") for kind, text in AT_DOORS.items()}
each_name = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


class FakeModel:
    """Says and finds a text in every picture."""

    preprocessor = None

    def __init__(self, text: str) -> None:
        self.text = text

    def generate(self, inputs: dict[str, Any], **_: Any) -> list[str]:
        return [self.text for _ in inputs["prompts"]]

    def detect(self, pictures: Any, labels: Any, **_: Any) -> Iterator[Detections]:
        box, score = np.array([[1, 2, 3, 4]], np.float32), np.ones(1, np.float32)
        for _picture in pictures:
            yield Detections((self.text,), box, scores=score, tokens=(self.text,))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    Image.new("RGB", (20, 20), "red").save(path)
    return path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    model = FakeModel("")
    monkeypatch.setattr(loading.ChosenModel, "load", lambda _: model)
    return model


def assert_safe(shown: str, text: str) -> None:
    """Assert that a text is shown with its escapes, and nothing invisible but lines."""
    assert not has_invisible(shown.replace("\n", ""))
    assert printable(text) in shown


@each_at_door
def test_answer(text, fake, picture) -> None:
    fake.text = text
    shown = run("caption", picture).stdout
    # Lines and joiners of an answer stay.
    assert shown == printable(text, LINES_AND_JOINERS) + "\n"
    kept = shown.translate({ord(c): None for c in LINES_AND_JOINERS})
    assert not has_invisible(kept)


@each_at_door
def test_answer_in_json(text, fake, picture) -> None:
    fake.text = text
    shown = run("ask", picture, "why?", "--json").stdout
    assert not has_invisible(shown.replace("\n", ""))
    assert json.loads(shown)[0]["text"] == text


@each_at_door
def test_prompt(text, fake, picture) -> None:
    shown = run("generate", "-p", "first", "-p", text, picture).stdout
    assert_safe(shown, text)
    assert shown.count("\n") == 2


@each_name
def test_name_of_a_picture(name, fake, picture) -> None:
    other = picture.with_name(f"{name}.png")
    other.write_bytes(picture.read_bytes())
    shown = run("caption", picture, other).stdout
    assert_safe(shown, str(other))
    assert shown.count("\n") == 2


@each_name
def test_name_of_a_broken_picture(name, fake, picture) -> None:
    picture.with_name(f"{name}.png").write_bytes(b"no picture")
    result = run("caption", picture.parent)
    assert result.exit_code == messages.DONE_IN_PART
    assert not has_invisible(result.stderr.replace("\n", ""))
    assert result.stderr.count("\n") == 2


@each_at_door
def test_label_that_was_found(text, fake, picture) -> None:
    fake.text = text
    shown = run("detect", picture, "-l", "cat", "--no-draw").stdout
    assert_safe(shown, text)
    _, header, row = shown.splitlines()
    assert len(header) == len(row)
    shown = run("detect", picture, "-l", "cat", "--no-draw", "--json").stdout
    assert not has_invisible(shown.replace("\n", ""))
    assert json.loads(shown)[0]["detections"][0]["label"] == text


@each_text
def test_label_in_a_notebook(text) -> None:
    found = Detections((text,), np.zeros((1, 4), np.float32))
    page = found._repr_html_()
    assert not has_invisible(page)
    cell = page.split("<td>")[1].split("</td>")[0]
    assert not set(cell) & set("<>\"'")
    assert html.unescape(cell) == repr(text)
    assert not has_invisible(repr(found))


@each_at_door
def test_description_of_a_checkpoint(text, monkeypatch) -> None:
    record = {"path": text, "left_outs": [text], text: 3, "vision_encoder": {text: 1}}
    monkeypatch.setattr(describing, "describe", lambda *_: record)
    shown = run("info", "anything").stdout
    assert_safe(shown, text)
    assert shown.count("\n") == 5
    assert json.loads(run("info", "anything", "--json").stdout) == record


@each_at_door
@pytest.mark.parametrize("kind", [ValueError, KeyError, AttributeError, RecursionError])
def test_error(text, kind, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise kind(f"Expected this, received {text}")

    monkeypatch.setattr(describing, "describe", fail)
    result = run("info", "anything")
    assert result.exit_code == messages.BAD_INPUT
    assert result.stderr.count("\n") == 1
    assert not has_invisible(result.stderr.rstrip("\n"))
    if kind is not KeyError:  # Which shows what is inside as `repr`.
        assert printable(text) in result.stderr


@each_text
def test_note_and_warning(text, capsys) -> None:
    messages.notice(f"Note: {text}")
    messages._show_warning(UserWarning(f"Expected {text}"))
    notice, warning = capsys.readouterr().err.splitlines()
    assert notice == f"Note: {printable(text)}"
    assert warning == f"Warning: Expected {printable(text)}"


@each_text
def test_spinner_and_bar_on_a_terminal(text, monkeypatch) -> None:
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=500)
    monkeypatch.setattr(messages, "stderr", lambda: console)
    monkeypatch.setattr(checkpoints, "stderr", lambda: console)
    with messages.progress(text):
        pass
    checkpoint = SimpleNamespace(num_bytes=10, num_parameters=5, sizes=[])
    module = import_module("keras_pg2.conversion.convert")
    monkeypatch.setattr(module, "expected_bytes", lambda *_: 10)
    with checkpoints._bytes_progress(text, checkpoint, None) as advance:
        advance(10)
    shown = terminal.getvalue()
    assert shown.count(printable(text)) >= 2
    if printable(text) != text:
        assert text not in shown


@each_text
def test_report_of_a_run(text, capsys) -> None:
    with Report() as report:
        report.show_plan({"model": text, text: "value"})
        evaluation = {"metric": text, "step": 1, "epoch": 1.0, "loss": 1.0}
        evaluation |= {"accuracy": 1.0, "score": 1.0}
        report.show_evaluation(evaluation, [Sample(text, text, text)], is_best=True)
    assert_safe(capsys.readouterr().err, text)


@each_text
def test_card_of_a_run(text, tmp_path) -> None:
    model = {"base": text, "lora": "LoRA", "dtype": text}
    data = {"num_rows": 1, "num_skipped": 0, "num_eval_rows": 1}
    record = {"model": model, "data": data, "settings": {text: text}}
    best = {"step": 1, "metric": text, "loss": 1.0, "accuracy": 1.0, "score": 1.0}
    write_model_card(tmp_path, record, [best], best, prompt=text)
    card = (tmp_path / "README.md").read_text("utf-8")
    assert not has_invisible(card.replace("\n", ""))
    front, page = card.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(front).keys() == {"library_name", "pipeline_tag", "tags"}
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(page)
    inside = [child for token in tokens for child in token.children or ()]
    links = [child.attrs["href"] for child in inside if child.type == "link_open"]
    assert links == ["https://ai.google.dev/gemma/terms"]
    kinds = {token.type for token in [*tokens, *inside]}
    assert not kinds & {"html_block", "html_inline", "image", "strong_open"}
    [code] = [token.content for token in tokens if token.type == "fence"]
    compile(code, "card", "exec")
    assert code.count("\n") == 5
    tables = [token for token in tokens if token.type == "tr_open"]
    assert len(tables) == 7


@each_at_door
def test_note_of_a_preset(text, tmp_path, caplog) -> None:
    (tmp_path / "metadata.json").write_text(json.dumps({"note": text}))
    with caplog.at_level(logging.WARNING, "keras_pg2"):
        log_note(tmp_path)
    [record] = caplog.records
    assert record.getMessage().endswith(f": {printable(text)}")


@each_name
def test_endings_of_a_folder(name, picture) -> None:
    (picture.parent / f"a.tif{name}").write_bytes(b"")
    (picture.parent / "film.mp4").write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list_pictures(picture.parent)
    assert not any(has_invisible(str(warning.message)) for warning in caught)


@each_at_door
def test_fields_of_json(text) -> None:
    fields = Fields({text: {"inside": text}}, "config.json")
    with pytest.raises(ValueError, match=r"as a whole number") as caught:
        fields.fields(text).integer("inside")
    assert not has_invisible(str(caught.value))


def test_an_unforeseen_error_names_the_file(tmp_path, monkeypatch) -> None:
    file = tmp_path / "config.json"
    file.write_text("{}")

    def describe(*_: object) -> None:
        def read(path: Path) -> int:
            return json.loads(path.read_text())["vision_config"]

        read(file)

    monkeypatch.setattr(describing, "describe", describe)
    result = run("info", "anything")
    assert result.exit_code == messages.BAD_INPUT
    assert result.stderr.startswith("Error: KeyError: 'vision_config'. While reading '")
    assert str(file) in result.stderr
    assert "KERAS_PG2_DEBUG=1" in result.stderr
    monkeypatch.setenv("KERAS_PG2_DEBUG", "1")
    assert isinstance(run("info", "anything").exception, KeyError)


def test_an_error_of_writing_names_what_is_written(tmp_path, monkeypatch) -> None:
    for told in ((str(tmp_path / "out"),), ()):

        def describe(*_: object, path: Path = tmp_path, told=told) -> None:
            raise OSError(28, "No space left on device", *told)

        monkeypatch.setattr(describing, "describe", describe)
        shown = run("info", "anything").stderr
        assert "No space left on device" in shown
        assert "While reading" not in shown


def test_an_error_of_a_library_names_the_file(tmp_path, monkeypatch) -> None:
    file = tmp_path / "weights.npz"
    file.write_bytes(b"no numbers")

    def describe(*_: object, path: Path = file) -> None:
        raise ValueError("bad magic number")

    monkeypatch.setattr(describing, "describe", describe)
    shown = run("info", "anything").stderr
    assert shown == f"Error: bad magic number. While reading {str(file)!r}.\n"


@pytest.mark.parametrize("is_named", [True, False])
def test_a_file_that_is_named_is_named_once(tmp_path, monkeypatch, is_named) -> None:
    file, inner = tmp_path / "rows.jsonl", tmp_path / "inner"
    file.write_text("[]")
    inner.mkdir()
    # Neither the folder of the command nor a part of a name names a file.
    text = f"{file}: no rows" if is_named else f"{file}.bak and {inner}side. No rows"

    def describe(*_: object, path: Path = inner, folder=Path(), own=file) -> None:
        raise ValueError(text)

    monkeypatch.setattr(describing, "describe", describe)
    shown = run("info", "anything").stderr
    assert ("While reading" in shown) is not is_named


def test_ctrl_c_ends_without_a_word(monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(describing, "describe", interrupt)
    result = run("info", "anything")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


def test_a_reader_that_has_gone_ends_it_without_a_word() -> None:
    command = [sys.executable, "-m", "keras_pg2", "presets", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert said == b""
