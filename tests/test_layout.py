"""The layout of the package, as docs/design.md draws it."""

from __future__ import annotations

import ast
from pathlib import Path

from scripts.measure_house import House

ROOT = Path(__file__).parents[1]


def test_the_drawing_shows_these_rooms() -> None:
    assert House(ROOT).layout().drawing() in (ROOT / "docs" / "design.md").read_text()


def test_no_file_imports_a_private_name_of_another() -> None:
    trees = House(ROOT).trees
    found = [
        f"{path}:{node.lineno} {alias.name}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and path.startswith("keras_pg2/")
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert found == []
    assert len(trees) > 200


def test_all_warnings_begin_as_the_command_line_knows_them() -> None:
    """It shows those alone that begin with "Expected" (`cli/messages.py`)."""
    count = 0
    for path, tree in House(ROOT).trees.items():
        if not path.startswith("keras_pg2/"):
            continue
        texts = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                place = f"{path}:{node.lineno}"
                assert first_words(node.args[0], texts).startswith("Expected"), place
                assert {each.arg for each in node.keywords} <= {"stacklevel"}, place
                count += 1
    assert count > 15


def first_words(text: ast.expr, texts: dict[str, ast.expr]) -> str:
    """Return what a text begins with, looked up if that is the name of one."""
    if isinstance(text, ast.JoinedStr):
        return first_words(text.values[0], texts)
    if isinstance(text, ast.FormattedValue):
        return first_words(text.value, texts)
    if isinstance(text, ast.Name):
        return first_words(texts[text.id], texts)
    return str(text.value) if isinstance(text, ast.Constant) else ""


def test_no_test_is_skipped_for_a_package_that_is_missing() -> None:
    """Tests that need TensorFlow say so by a mark; all else `make test` installs."""
    found = [
        line.strip()
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for line in path.read_text("utf-8").splitlines()
        if "pytest.importorskip(" in line and path != Path(__file__)
    ]
    # Windows has neither.
    assert {line.partition("(")[2] for line in found} == {'"fcntl")', '"resource")'}


def test_arrows_and_floors_of_a_small_house(tmp_path: Path) -> None:
    files = {
        "__init__.py": "",
        "roof.py": "from keras_pg2 import walls\nfrom keras_pg2.ground import floor",
        "walls.py": "def build():\n    import keras_pg2.ground.floor",
        "ground/__init__.py": "",
        "ground/floor.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from keras_pg2 import roof\ndef lay(): ...",
    }
    for name, text in files.items():
        path = tmp_path / "keras_pg2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    layout = House(tmp_path).layout()
    assert layout.floors() == {"keras_pg2": 1, "roof": 3, "walls": 2, "ground": 1}
    assert layout.arrows == {("roof", "walls"), ("roof", "ground"), ("walls", "ground")}
    assert layout.drawing() == "flowchart TD\n    roof --> walls\n    walls --> ground"
