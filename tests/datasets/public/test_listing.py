"""The table of data sets in the documentation is what the registry has."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from keras_pg2.datasets.public.registry import DATA_SETS

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `([\w+]+)` \| .*\|$", re.MULTILINE)


def test_the_table_of_data_sets():
    row_of = runpy.run_path(str(ROOT / "scripts/list_data_sets.py"))["row_of"]
    found = {}
    for page in (ROOT / "docs").glob("*.md"):
        for row in ROW.finditer(page.read_text("utf-8")):
            if row[1] in DATA_SETS:
                found[row[1]] = row[0]
    assert set(found) == set(DATA_SETS)
    # Make the table anew: python scripts/list_data_sets.py
    assert found == {name: row_of(DATA_SETS[name]) for name in found}
