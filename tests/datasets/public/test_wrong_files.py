"""Files of public data sets with one thing wrong: what each reader says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keras_pg2.datasets.public import registry
from tests.datasets.public.picture_files import CASES as PICTURE_FILES
from tests.datasets.public.question_files import CASES as QUESTION_FILES
from tests.support.damaged_fields import damaged, loads
from tests.support.public_files import (
    WRONG,
    PublicFiles,
    can_have,
    message,
    write_content,
)

CASES: list[PublicFiles] = [*QUESTION_FILES, *PICTURE_FILES]
"""One for each data set that is read."""
ELSEWHERE = {
    "countbenchqa": "its pictures are in a parquet file",
    **{name: "it has no files" for name in registry.DATA_SETS if "scenes" in name},
}
"""Data sets whose wrong files another test has, and why."""
SAYS = {
    "no directory": "no such directory",
    "no annotations": "Expected the file ",
    "no pictures": "Expected pictures in the folder |does not exist",
    "one picture missing": "does not exist",
    "id twice": "twice|second",
    "another split": "split|does not exist|an annotation",
    "another version": "version|expected|Expected",
}
"""What messages have in them, whatever the data set."""


def by_name(case: Any) -> str:
    return case.data_set if isinstance(case, PublicFiles) else str(case)


def test_every_data_set_has_files():
    assert {case.data_set for case in CASES} | set(ELSEWHERE) == set(registry.DATA_SETS)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_what_wrong_files_get(case: PublicFiles, tmp_path: Path):
    for wrong in WRONG:
        if can_have(case, wrong):
            said = message(case, wrong, tmp_path / wrong)
            words = SAYS.get(wrong, "").split("|")
            assert any(word in said for word in words), (wrong, said)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_other_entries_are_read_all_the_same(case: PublicFiles, tmp_path: Path):
    whole = case.read(case.write(tmp_path))
    assert not whole.skipped
    assert len(whole.sources) == len(whole) > 1
    (tmp_path / case.pictures[0]).unlink()
    if all(str(tmp_path / case.pictures[0]) in str(one.images) for one in whole):
        # Both sentences are about one pair of pictures.
        with pytest.raises(ValueError, match="at least one entry"):
            case.read(tmp_path, on_bad="skip")
        return
    rest = case.read(tmp_path, on_bad="skip")
    assert len(rest) + len(rest.skipped) == len(whole)
    assert all(str(tmp_path) in text for text in rest.skipped)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_damaged_fields(case: PublicFiles, tmp_path: Path):
    case.write(tmp_path)
    path = tmp_path / case.annotations

    def read(content: Any) -> Any:
        write_content(path, content)
        return case.read(tmp_path)

    read_damaged: Callable[[Any], Any] = read
    _, loaded = loads(
        read_damaged,
        damaged(case.content(), case.fields),
        tmp_path,
        (ValueError, FileNotFoundError, OSError, PermissionError),
    )
    assert loaded == case.loads
