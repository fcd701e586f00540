"""Tables of words and numbers, drawn with Pillow, and their HTML.

Rows 2 to 4, columns 2 or 3, with cells that span columns and rows. The HTML leaves out
the end tags that HTML allows to be left out (HTML Standard, 13.1.2.4), which makes it
half as long:

    <table><tr><td>SUN<td>12<tr><td colspan=2>7

With boxes a cell has `coords="<loc..><loc..><loc..><loc..>"`, its left, upper, right
and lower edge in the model's location tokens, as in PaliGemma 2 (arXiv:2412.03555,
appendix B.2).

    examples = tables.examples("train", 100, seed=0)
    examples[0].images, examples[0].truth.answers  # uint8[84, 84, 3], (html,)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_pg2.codecs.location_tokens import bins_to_text
from keras_pg2.datasets.drawn.splitting import Split, draw_of_split
from keras_pg2.datasets.public.examples import Example, Examples
from keras_pg2.metrics.metric import Truth

PROMPT = "html"
SIZE = 84
NUM_ROWS = (2, 3, 4)
NUM_COLUMNS = (2, 3)
WORDS = (
    *("ACE", "AGE", "ARM", "ART", "BAR", "BED", "BEE", "BUS", "CAR", "CAT", "CUP"),
    *("DAY", "DEN", "EAR", "EGG", "END", "FAN", "FEE", "GAS", "HAT", "HEN", "JAR"),
    *("KEY", "LEG", "MAP", "NET", "NUT", "PEN", "RED", "SEA", "SUN", "TAX", "TEA"),
    *("TEN", "URN", "VAN", "ZEN"),
)
"""Words of letters that the nano preset reads."""

_MARGIN = 1 / 42
_FONT_SHARE = 1 / 7
_SPAN_SHARE = 0.35
_EMPTY_SHARE = 0.06
_WORD_SHARE = 0.3
_OVERSAMPLING = 2


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: What is written in it.
        row: Its first row.
        column: Its first column.
        num_rows: Rows that it spans.
        num_columns: Columns that it spans.
    """

    text: str
    row: int
    column: int
    num_rows: int = 1
    num_columns: int = 1


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        num_rows: Number of rows.
        num_columns: Number of columns.
        cells: Cells in the order of HTML: by rows, then from left to right.
    """

    num_rows: int
    num_columns: int
    cells: tuple[Cell, ...]


def sample_table(rng: np.random.Generator) -> Table:
    """Draw a table by lot: at most one cell that spans columns, and one rows."""
    num_rows, num_columns = int(rng.choice(NUM_ROWS)), int(rng.choice(NUM_COLUMNS))
    spans: dict[tuple[int, int], tuple[int, int]] = {}
    if rng.random() < _SPAN_SHARE:
        width = int(rng.integers(2, num_columns + 1))
        spans[0, int(rng.integers(num_columns - width + 1))] = (1, width)
    if num_rows > 2 and rng.random() < _SPAN_SHARE:
        height = int(rng.integers(2, num_rows))
        first = int(rng.integers(1, num_rows - height + 1))
        spans[first, int(rng.integers(num_columns))] = (height, 1)
    covered = {
        (row + i, column + j)
        for (row, column), (height, width) in spans.items()
        for i in range(height)
        for j in range(width)
    } - set(spans)
    cells = []
    for row, column in np.ndindex(num_rows, num_columns):
        text = _sample_text(rng, is_heading=row == 0)
        if (row, column) not in covered:
            height, width = spans.get((row, column), (1, 1))
            cells.append(Cell(text, row, column, height, width))
    return Table(num_rows, num_columns, tuple(cells))


def _sample_text(rng: np.random.Generator, is_heading: bool) -> str:
    if is_heading or rng.random() < _WORD_SHARE:
        return str(rng.choice(WORDS))
    if rng.random() < _EMPTY_SHARE:
        return ""
    return str(rng.integers(10 ** int(rng.integers(1, 4))))


def html(table: Table, has_boxes: bool = False) -> str:
    """Return the table's HTML without end tags, with boxes of cells if asked for."""
    parts = ["<table>"]
    for row in range(table.num_rows):
        parts.append("<tr>")
        for cell in table.cells:
            if cell.row == row:
                parts.append(f"<td{_attributes(table, cell, has_boxes)}>{cell.text}")
    return "".join(parts)


def _attributes(table: Table, cell: Cell, has_boxes: bool) -> str:
    text = f" colspan={cell.num_columns}" if cell.num_columns > 1 else ""
    text += f" rowspan={cell.num_rows}" if cell.num_rows > 1 else ""
    if has_boxes:
        bins = (round(1023 * edge) for edge in cell_box(table, cell))
        text += f' coords="{bins_to_text(bins)}"'
    return text


def cell_box(table: Table, cell: Cell) -> tuple[float, float, float, float]:
    """Return left, upper, right and lower edge of a cell as shares of the picture."""
    width = (1 - 2 * _MARGIN) / table.num_columns
    height = (1 - 2 * _MARGIN) / table.num_rows
    left, upper = _MARGIN + cell.column * width, _MARGIN + cell.row * height
    right = left + cell.num_columns * width
    return left, upper, right, upper + cell.num_rows * height


def render(table: Table, size: int = SIZE) -> np.ndarray:
    """Return the picture, uint8[size, size, 3], all cells in lines."""
    drawn = size * _OVERSAMPLING
    picture = Image.new("L", (drawn, drawn), 255)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(drawn * _FONT_SHARE)
    for cell in table.cells:
        left, upper, right, lower = (v * drawn for v in cell_box(table, cell))
        pen.rectangle((left, upper, right, lower), outline=110, width=drawn // 84)
        middle = ((left + right) / 2, (upper + lower) / 2)
        # Capitals are centred by their height, without room for descenders.
        x0, y0, x1, y1 = font.getbbox(cell.text or "0")
        corner = (middle[0] - (x0 + x1) / 2, middle[1] - (y0 + y1) / 2)
        pen.text(corner, cell.text, 20, font, stroke_width=drawn / 500)
    return np.asarray(picture.reduce(_OVERSAMPLING).convert("RGB"))


def examples(
    split: Split,
    count: int,
    seed: int = 0,
    size: int = SIZE,
    has_boxes: bool = False,
) -> Examples:
    """Return `count` tables, no two the same; a table is in one split alone.

    `truth.kind` says how many rows and columns there are. Answers of the truth have no
    boxes, the answer to train on has them if asked for.
    """
    rng = np.random.default_rng([seed, 3])

    def draw() -> tuple[str, Table]:
        table = sample_table(rng)
        return html(table), table

    return Examples(
        Example(
            id=index,
            images=render(table, size),
            fields={"prompt": PROMPT},
            truth=Truth(
                answers=(text,), kind=f"{table.num_rows} x {table.num_columns}"
            ),
            response=html(table, has_boxes),
        )
        for index, (text, table) in enumerate(draw_of_split(split, count, draw).items())
    )
