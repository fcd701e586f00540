"""Measure the layout of the package: rooms, floors, arrows, long definitions, `Any`.

A room is a file or a folder directly inside the folder that is measured; the package
also has `scripts` and `benchmarks` above it. An arrow runs from a room to each other
room whose modules it imports, wherever in a file the import stands; imports for type
checkers alone do not count. A floor is one more than the highest floor among the rooms
that a room imports. No rooms are `typing.py`, which only names types, and an
`__init__.py` of the measured folder that is short and defines nothing.

    python scripts/measure_house.py               # this checkout
    python scripts/measure_house.py ../before .   # two checkouts, side by side
    python scripts/measure_house.py --drawing     # the picture in docs/design.md
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

PACKAGE = "keras_pg2"
TOPS = (PACKAGE, "scripts", "benchmarks")
INSIDES = ("tasks", "conversion", "deploy", "modeling", "generation", "cli")
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
FACE_LINES = 40
ANY = {
    "`model: Any`": r"\bmodel: Any\b",
    "`-> Any`": r"-> Any\b",
    "`Tensor = Any`": r"^Tensor(: TypeAlias)? = Any\b",
    "`Any` in all": r"\bAny\b",
}


class Layout(NamedTuple):
    """Rooms, and arrows as pairs: a room and a room that it imports."""

    rooms: set[str]
    arrows: set[tuple[str, str]]

    def floors(self) -> dict[str, int]:
        """Return the floor of each room; the ground is 1.

        Raises:
            ValueError: If rooms import one another in a circle.
        """
        floors = dict.fromkeys(self.rooms, 1)
        for _ in range(len(floors) + 1):
            before = dict(floors)
            for start, to in self.arrows:
                floors[start] = max(floors[start], floors[to] + 1)
            if floors == before:
                return floors
        raise ValueError(f"Expected no circle of rooms. Received: {self.arrows}.")

    def summary(self) -> str:
        """Return "rooms / floors / arrows"."""
        floors = max(self.floors().values())
        return f"{len(self.rooms)} / {floors} / {len(self.arrows)}"

    def drawing(self) -> str:
        """Return a Mermaid flowchart, without arrows that follow from others."""
        floors = self.floors()
        below = {
            room: {to for start, to in self.arrows if start == room} for room in floors
        }
        reached: dict[str, set[str]] = {}
        for room in sorted(floors, key=floors.__getitem__):
            reached[room] = below[room].union(*(reached[to] for to in below[room]))
        lines = [
            f"    {room} --> {to}"
            for room in sorted(floors, key=lambda room: (-floors[room], room))
            for to in sorted(below[room])
            if not any(to in reached[other] for other in below[room])
        ]
        return "\n".join(["flowchart TD", *lines])


class House:
    """The sources of a checkout.

    Args:
        root: Folder of the checkout.
    """

    def __init__(self, root: Path) -> None:
        files = [file for top in TOPS for file in sorted((root / top).rglob("*.py"))]
        self.texts = {
            file.relative_to(root).as_posix(): file.read_text() for file in files
        }
        self.trees = {path: ast.parse(text) for path, text in self.texts.items()}

    @cached_property
    def imports(self) -> set[tuple[str, str]]:
        """Pairs of paths: a file and a file that it imports."""
        return {
            (path, target)
            for path, tree in self.trees.items()
            for names in _imported_names(tree)
            if (target := next(filter(None, map(self._file_of, names)), None))
        }

    def _file_of(self, name: str) -> str | None:
        path = name.replace(".", "/")
        files = (f"{path}.py", f"{path}/__init__.py")
        return next((file for file in files if file in self.trees), None)

    def layout(self, folder: str = "") -> Layout:
        """Return the rooms inside a folder and the arrows between them.

        Args:
            folder: Folder of the package; "" for the package itself.
        """
        rooms = {path: self._room(path, folder) for path in self.trees}
        pairs = {(rooms[start], rooms[to]) for start, to in self.imports}
        arrows = {(start, to) for start, to in pairs if start and to and start != to}
        return Layout({*rooms.values()} - {""}, arrows)

    def _room(self, path: str, folder: str) -> str:
        """Return the room of a file, "" for a file that is in none."""
        prefix = f"{PACKAGE}/{folder}/" if folder else f"{PACKAGE}/"
        if path == f"{PACKAGE}/typing.py":
            return ""
        if not path.startswith(prefix):
            return "" if folder else path.split("/")[0]
        is_short = self.texts[path].count("\n") < FACE_LINES
        defines = any(isinstance(node, DEFINITIONS) for node in self.trees[path].body)
        if folder and path == f"{prefix}__init__.py" and is_short and not defines:
            return ""
        room = path.removeprefix(prefix).split("/")[0].removesuffix(".py")
        return PACKAGE if room == "__init__" else room

    def longest(
        self, kind: type[ast.AST] | tuple[type[ast.AST], ...]
    ) -> tuple[int, str]:
        """Return lines and name of the longest definition of a kind in the package."""
        return max(
            (node.end_lineno - node.lineno + 1, f"{path}:{node.name}")
            for path in self.package_files
            for node in ast.walk(self.trees[path])
            if isinstance(node, kind)
        )

    def count(self, pattern: str) -> int:
        """Return how many lines of the package match a regular expression."""
        found = re.compile(pattern, re.MULTILINE)
        return sum(len(found.findall(self.texts[path])) for path in self.package_files)

    @property
    def package_files(self) -> list[str]:
        """Paths of the files of the package."""
        return [path for path in self.texts if path.startswith(f"{PACKAGE}/")]


def _imported_names(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Yield what each import may mean: a module in a package, or a name in a module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.module
        else:
            yield from _imported_names(node)


def measure(house: House) -> dict[str, str]:
    """Return the figures of a checkout by their names."""
    rows = {"files": str(len(house.package_files))}
    rows["lines"] = (
        f"{sum(house.texts[p].count(chr(10)) for p in house.package_files):,}"
    )
    rows["package: rooms / floors / arrows"] = house.layout().summary()
    for folder in INSIDES:
        rows[f"inside {folder}: rooms / floors / arrows"] = house.layout(
            folder
        ).summary()
    for name, kind in (("class", ast.ClassDef), ("function", DEFINITIONS[1:])):
        lines, where = house.longest(kind)
        rows[f"longest {name}"] = f"{lines} ({where.removeprefix(PACKAGE + '/')})"
    return rows | {name: str(house.count(pattern)) for name, pattern in ANY.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", nargs="*", type=Path, default=[Path(".")])
    parser.add_argument("--drawing", action="store_true", help="Mermaid, of the first")
    arguments = parser.parse_args()
    checkouts = arguments.checkouts
    for checkout in checkouts:
        if not (checkout / PACKAGE).is_dir():
            parser.error(
                f"expected a checkout with {PACKAGE}/ in it, received {checkout}"
            )
    if arguments.drawing:
        print(House(checkouts[0]).layout().drawing())
        return
    columns = [measure(House(checkout)) for checkout in checkouts]
    print("| |", " | ".join(map(str, checkouts)), "|")
    print("| --- |", " | ".join("---" for _ in checkouts), "|")
    for name in columns[0]:
        print(f"| {name} |", " | ".join(column[name] for column in columns), "|")


if __name__ == "__main__":
    main()
