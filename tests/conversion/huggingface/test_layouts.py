"""Directories as tools leave them: read as transformers reads them, or told."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.checkpoint_layouts import PAGE, with_table
from tests.support.checkpoint_layouts import LAYOUTS, Layout
from tests.support.layout_judges import Judge


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout(layout: Layout, judge: Judge, tmp_path: Path) -> None:
    theirs, ours = judge.judge(layout, tmp_path / "model")
    assert (theirs, ours.kind) == (layout.theirs, layout.ours), ours.told
    assert layout.told in ours.told
    assert bool(layout.told) == bool(ours.told)


def test_the_page_has_the_table() -> None:
    page = PAGE.read_text("utf-8")
    assert with_table(page) == page, "Run python -m scripts.checkpoint_layouts."
