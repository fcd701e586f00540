"""The README runs as it stands, block by block; links in it and in docs/ hold."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keras_pg2.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNNABLE = ["generation", "decisions", "training", "checkpoints"]
"""Pages of docs/ whose blocks of Python need nothing but a checkout."""
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as of a checkout, which takes what the blocks write."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "images").mkdir()
    for name in ("docs/images/scene.png", "examples", "presets"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the language and the text of each block of a page."""
    return BLOCK.findall(page.read_text("utf-8"))


def run_commands(block: str) -> None:
    """Run the lines that begin with a dollar, and compare what is shown after them."""
    whole = block.replace("\\\n", "")
    for part in re.split(r"^\$ keras-pg2 ", whole, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        done = CliRunner().invoke(app, shlex.split(command))
        assert done.exit_code == 0, (command, done.output, done.exception)
        assert shown in ("", done.stdout), command


@pytest.mark.needs_tensorflow  # It writes files of LiteRT.
def test_every_block_of_the_readme_runs(
    checkout: Path, capsys: pytest.CaptureFixture
) -> None:
    found = blocks(ROOT / "README.md")
    printed = ""
    for language, text in found:
        if language == "python":
            capsys.readouterr()
            exec(text, {})
            printed = capsys.readouterr().out
        elif language == "console":
            run_commands(text)
        elif language == "text":
            assert text == printed
        else:
            assert language in ("shell", "diff")
    languages = [language for language, _ in found]
    assert languages.count("python") >= 3
    assert languages.count("console") >= 3
    for name in ("masks.png", "run/preset", "tags.safetensors", "nano-hf"):
        assert (checkout / name).exists()


@pytest.mark.every_backend
def test_first_example_prints_what_it_says(
    checkout: Path, capsys: pytest.CaptureFixture
) -> None:
    found = blocks(ROOT / "README.md")
    first = [language for language, _ in found].index("python")
    exec(found[first][1], {})
    assert capsys.readouterr().out == found[first + 1][1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_keras_is_imported_last(page: Path) -> None:
    """The package chooses the backend where it is imported before Keras."""
    for language, text in blocks(page):
        lines = text.splitlines()
        if language == "python" and "import keras" in lines:
            first = lines[: lines.index("import keras")]
            assert any(line.startswith("import keras_pg2") for line in first), text


def test_two_commands_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    [shell] = [text for lang, text in blocks(ROOT / "README.md") if lang == "shell"]
    for target in re.findall(r"^make (\w+)", shell, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("page", RUNNABLE)
def test_python_of_a_page_runs(page: str, checkout: Path) -> None:
    found = [
        text for lang, text in blocks(ROOT / f"docs/{page}.md") if lang == "python"
    ]
    for text in found:
        exec(text, {})
    assert found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_hold(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    for link in links:
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
