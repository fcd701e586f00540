"""Write the table of directories that others leave into docs/checkpoints.md.

What the table says of each is what tests/conversion/huggingface/test_layouts.py holds,
with transformers as the judge.

    python -m scripts.checkpoint_layouts
"""

from __future__ import annotations

from pathlib import Path

from tests.support.checkpoint_layouts import LAYOUTS, table

PAGE = Path(__file__).parents[1] / "docs" / "checkpoints.md"
START, END = "<!-- layouts -->", "<!-- end of layouts -->"


def with_table(page: str) -> str:
    """Return a page with the table between its markers."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n\n{table(LAYOUTS)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
