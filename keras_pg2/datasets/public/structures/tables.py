"""Pictures of tables, and the tables as HTML: PubTabNet and FinTabNet.

Both have a line of JSON for each table: filename, split, and under "html" the tags of
the table ("structure", "tokens") and its "cells" (tokens, and bbox where a cell is not
empty), in the order of the tags. The truth is the HTML of both,
`<html><body><table>...`; tokens of one character are escaped, as the publisher does.

The response has the box of each cell in its tag, `<td coords="<locXMIN><locYMIN>
<locXMAX><locYMAX>">` (arXiv:2412.03555 appendix B.2, which prints YMAX twice). Pictures
are filled up with white to a square, as there; on the right and at the bottom.

PubTabNet. `PubTabNet_2.0.0.jsonl` beside `train` and `val`; boxes are in pixels. Its
README calls the cells "cell", its files and its notebook "cells". The truth of test is
not published. Source: github.com/ibm-aur-nlp/PubTabNet.

FinTabNet. `FinTabNet_1.0.0_cell_test.jsonl` has table_id and the bbox of the table,
too. The publisher gives pages as PDF, with boxes in points from the lower left corner
(developer.ibm.com/data/fintabnet). Draw each page, cut out the table by its bbox, and
save it as `images/<table_id>.png`; any resolution will do.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from keras_pg2.codecs.location_tokens import NUM_BINS, bins_to_text
from keras_pg2.datasets.checks import OnBad, Problems, check_text
from keras_pg2.datasets.coco_pictures import picture_size
from keras_pg2.datasets.public.captions.grouping import check_split, of_split
from keras_pg2.datasets.public.entries import collect, read_id
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.packed_files import read_streamed
from keras_pg2.datasets.public.published_files import Pictures, find_file
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth
from keras_pg2.preprocessing.images import open_image

Box: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2."""
PROMPT = "table"
_PUBTABNET = ("train", "val", "test")


@dataclass(frozen=True)
class SquarePicture:
    """A picture file filled up with white to a square, read as a file object is.

    Nothing is made before `read`, and nothing is kept after it.

    Attributes:
        path: Path of the picture, which is in the upper left corner.
    """

    path: str

    @property
    def name(self) -> str:
        """What messages and records call it; the file's own name is another picture."""
        return f"{self.path}#square"

    def read(self) -> bytes:
        """Return the square picture, as the content of a BMP file.

        Raises:
            FileNotFoundError, PermissionError, ValueError: as `open_image`.
        """
        picture = open_image(self.path)
        side = max(picture.size)
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture)
        content = io.BytesIO()
        square.save(content, "BMP")
        return content.getvalue()


def read_pubtabnet(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return PubTabNet's tables."""
    path = find_file(directory, "PubTabNet_2.0.0.jsonl")
    pictures = Pictures(directory, split)
    problems = Problems(on_bad)

    def read(entry: Fields) -> Example:
        check_split(entry, _PUBTABNET)
        image = pictures.find("filename", entry.value("filename"))
        side = max(picture_size(Path(image)))

        def place(box: Box) -> Box:
            x1, y1, x2, y2 = (value / side for value in box)
            return x1, y1, x2, y2

        return _example(entry, read_id(entry, "imgid"), image, place)

    # One file has all splits, and most of it is to train on.
    lines = read_streamed(path, f'"{split}"'.encode(), problems)
    return collect(of_split(lines, [split], _PUBTABNET, path), read, problems, path)


def read_fintabnet(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return FinTabNet's tables, whose pictures are cut out of the pages."""
    path = find_file(directory, f"FinTabNet_1.0.0_cell_{split}.jsonl")
    pictures = Pictures(directory, "images")
    problems = Problems(on_bad)

    def read(entry: Fields) -> Example:
        table_id = read_id(entry, "table_id")
        image = pictures.find("table_id", f"{table_id}.png", f"{table_id}.jpg")
        width, height = picture_size(Path(image))
        left, bottom, right, top = _box(entry)
        # Points of the page to parts of the square: the table fills the picture.
        to_x = width / max(width, height) / (right - left)
        to_y = height / max(width, height) / (top - bottom)

        def place(box: Box) -> Box:
            x1, y1, x2, y2 = box
            x1, x2 = (x1 - left) * to_x, (x2 - left) * to_x
            return x1, (top - y2) * to_y, x2, (top - y1) * to_y

        return _example(entry, table_id, image, place)

    return collect(read_streamed(path, b"", problems), read, problems, path)


def _example(
    entry: Fields, id: int | str, image: str, place: Callable[[Box], Box]
) -> Example:
    """Return the example of a table.

    Args:
        entry: The table.
        id: Its id.
        image: Path of its picture.
        place: Returns where a box of the file is in the square picture, in parts of its
            side.

    Raises:
        ValueError: if there are more or fewer cells than tags of cells.
    """
    content = entry.fields("html")
    tags = content.fields("structure").items("tokens", Fields.text)
    name = "cells" if "cells" in content else "cell"
    cells = content.items(name, Fields.fields)
    texts = [
        "".join(map(_escaped, cell.items("tokens", Fields.text))) for cell in cells
    ]
    boxes = [place(_box(cell)) if "bbox" in cell else None for cell in cells]
    plain = _assemble(tags, texts, [None] * len(cells))
    check_text(plain, "html")
    return Example(
        id=id,
        images=SquarePicture(image),
        truth=Truth(answers=(plain,)),
        response=_assemble(tags, texts, boxes),
    )


def _box(entry: Fields) -> Box:
    box = entry.items("bbox", Fields.number)
    if len(box) != 4 or box[0] >= box[2] or box[1] >= box[3]:
        raise entry.error("bbox", "x1, y1, x2, y2 of a box with an area")
    x1, y1, x2, y2 = box
    return x1, y1, x2, y2


def _escaped(token: str) -> str:
    """Return a token of a cell: a character, or a tag such as `<b>`."""
    return html.escape(token, quote=False) if len(token) == 1 else token


def _assemble(tags: list[str], texts: list[str], boxes: list[Box | None]) -> str:
    """Return the HTML of a table; cells with a box have it in their tag."""
    # A cell with spans is "<td", ' colspan="2"', ">".
    num_cells = sum(tag in ("<td>", "<td") for tag in tags)
    if num_cells != len(texts):
        raise ValueError(
            f"expected a cell for each of {num_cells} tags, received {len(texts)}."
        )
    parts, index = [], -1
    for tag in tags:
        if tag not in ("<td>", "<td"):
            parts.append(tag)
        else:
            index += 1
            box = boxes[index]
            coords = "" if box is None else f' coords="{_locations(box)}"'
            parts.append(f"<td{coords}" + (">" if tag == "<td>" else ""))
        if tag in ("<td>", ">"):
            parts.append(texts[index])
    return f"<html><body><table>{''.join(parts)}</table></body></html>"


def _locations(box: Box) -> str:
    bins = (round(min(max(part, 0.0), 1.0) * (NUM_BINS - 1)) for part in box)
    return bins_to_text(bins)


DATA_SETS = (
    DataSet(
        name="pubtabnet",
        title="PubTabNet: tables of papers",
        source="github.com/ibm-aur-nlp/PubTabNet",
        files="PubTabNet_2.0.0.jsonl, val/",
        splits=("val", "train"),
        read=read_pubtabnet,
        metric="teds",
        prompt=PROMPT,
    ),
    DataSet(
        name="fintabnet",
        title="FinTabNet: tables of annual reports",
        source="developer.ibm.com/data/fintabnet",
        files="FinTabNet_1.0.0_cell_test.jsonl, images/",
        splits=("test", "val", "train"),
        read=read_fintabnet,
        metric="teds",
        prompt=PROMPT,
    ),
)
