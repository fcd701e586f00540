"""Print the table of public data sets, as docs/ has it.

python scripts/list_data_sets.py
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from keras_pg2.datasets.public.examples import DataSet
from keras_pg2.datasets.public.registry import DATA_SETS

_MOST_SPLITS = 12
HEAD = (
    "| name | data set | files | splits | recipe | metric |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)


def row_of(data_set: DataSet) -> str:
    """Return the line of a data set."""
    files = re.sub(r"(, | or )", r"`\1`", f"`{data_set.files}`")
    recipe = "" if data_set.recipe is None else f"`{data_set.recipe}`"
    first, *others = data_set.splits
    more = len(others) - _MOST_SPLITS
    if more > 1:
        others[_MOST_SPLITS:] = [f"and {more} more"]
    splits = ", ".join([f"**{first}**", *others])
    return (
        f"| `{data_set.name}` | {data_set.title} ({data_set.source}) | {files} | "
        f"{splits} | {recipe} | `{data_set.metric}` |"
    )


def table(data_sets: Iterable[DataSet]) -> str:
    """Return a Markdown table of data sets."""
    return HEAD + "".join(f"{row_of(data_set)}\n" for data_set in data_sets)


if __name__ == "__main__":
    print(table(DATA_SETS.values()), end="")
