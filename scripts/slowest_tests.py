"""Write where the time of `make test` goes into docs/tests.md.

`make test` leaves a JUnit file of each suite in build/test-results. This script writes
two tables of them between the markers of docs/tests.md: the suites, with the number of
tests and the most memory of the process, and the twenty slowest tests.

    make test && python scripts/slowest_tests.py
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "build" / "test-results"
PAGE = ROOT / "docs" / "tests.md"
START, END = "<!-- measured -->", "<!-- end of what is measured -->"
NUM_SLOWEST = 20


class Test(NamedTuple):
    """A test, and the seconds that it took with its fixtures."""

    seconds: float
    suite: str
    name: str


class Suite(NamedTuple):
    """What one process of pytest ran."""

    name: str
    num_run: int
    num_skipped: int
    seconds: float
    peak_memory_gb: float
    tests: list[Test]


def read_suite(path: Path) -> Suite:
    """Return what a JUnit file of pytest says."""
    [suite] = ElementTree.parse(path).getroot().iter("testsuite")
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    tests = []
    for case in suite.iter("testcase"):
        file = case.get("classname", "").replace(".", "/").removeprefix("tests/")
        name = f"{file}::{case.get('name')}"
        tests.append(Test(float(case.get("time", 0)), path.stem, name))
    num_skipped = int(suite.get("skipped", 0))
    return Suite(
        name=path.stem,
        num_run=int(suite.get("tests", 0)) - num_skipped,
        num_skipped=num_skipped,
        seconds=float(suite.get("time", 0)),
        peak_memory_gb=float(properties.get("peak_memory_gb") or 0),
        tests=tests,
    )


def tables(suites: list[Suite]) -> str:
    """Return both tables, in Markdown."""
    lines = [
        "| suite | run | skipped | seconds | GB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for suite in sorted(suites, key=lambda suite: -suite.seconds):
        lines.append(
            f"| {suite.name} | {suite.num_run} | {suite.num_skipped} "
            f"| {suite.seconds:.0f} | {suite.peak_memory_gb:.1f} |"
        )
    lines.append(
        f"| all | {sum(suite.num_run for suite in suites)} "
        f"| {sum(suite.num_skipped for suite in suites)} "
        f"| {sum(suite.seconds for suite in suites):.0f} | |"
    )
    lines += ["", "| seconds | suite | test |", "| --- | --- | --- |"]
    slowest = sorted((test for suite in suites for test in suite.tests), reverse=True)
    for test in slowest[:NUM_SLOWEST]:
        name = test.name.replace("|", r"\|")
        lines.append(f"| {test.seconds:.0f} | {test.suite} | `{name}` |")
    return "\n".join(lines)


def main() -> None:
    paths = sorted(RESULTS.glob("*.xml"))
    if not paths:
        raise SystemExit(f"Expected JUnit files in {RESULTS}, found none: make test.")
    text = PAGE.read_text("utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    table = tables([read_suite(path) for path in paths])
    PAGE.write_text(f"{before}{START}\n\n{table}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
