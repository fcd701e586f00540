"""Tables written as HTML, read without ever failing on what a model wrote.

lxml closes tags that are left open, and leaves comments out. PaliGemma 2 writes boxes
of cells into an attribute, `<td coords="<locXMIN><locYMIN><locXMAX><locYMAX>">`
(arXiv:2412.03555, appendix B.2, which prints YMAX twice).
"""

from __future__ import annotations

import re
from typing import Any

from keras_pg2.checks.packages import import_packages
from keras_pg2.metrics.metric import Truth

_ADVICE = "Run: pip install 'keras-pg2[evaluation]'"
_BIN = re.compile(r"<loc([0-9]{4})>")


def read_table(text: str) -> Any:
    """Return the first table of a text as lxml's element, None if there is none."""
    from lxml import etree, html

    # A text with a declaration of another encoding would be refused as str.
    parser = html.HTMLParser(remove_comments=True, remove_pis=True, encoding="utf-8")
    content = text.replace("\x00", "").encode("utf-8", "surrogatepass")
    try:
        document = html.document_fromstring(content, parser=parser)
    except (etree.LxmlError, ValueError):
        return None
    return next(document.iter("table"), None)


def read_true_table(truth: Truth) -> Any:
    """Return the table that is true.

    Raises:
        ValueError: if the truth is not one table as HTML.
    """
    table = read_table(truth.answers[0]) if len(truth.answers) == 1 else None
    if table is None:
        raise ValueError("expected one table as HTML as truth, received none.")
    return table


def num_tags(table: Any) -> int:
    """Return how many tags are below a table."""
    return sum(1 for _ in table.iter()) - 1


def cell_boxes(table: Any) -> list[tuple[int, int, int, int] | None]:
    """Return the box of each cell, x1, y1, x2, y2 in 0..1023, in the table's order.

    A cell has none without four location tokens, or with corners in the wrong order.
    """
    boxes: list[tuple[int, int, int, int] | None] = []
    for cell in table.iter("td", "th"):
        bins = [int(number) for number in _BIN.findall(cell.get("coords", ""))]
        is_box = len(bins) == 4 and bins[0] <= bins[2] and bins[1] <= bins[3]
        boxes.append((bins[0], bins[1], bins[2], bins[3]) if is_box else None)
    return boxes


def check_packages(*names: str, advice: str = _ADVICE) -> None:
    """Raise ImportError if lxml or a package of the names is not installed."""
    import_packages("lxml", *names, advice=advice)
