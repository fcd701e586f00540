"""Label files of YOLO for training, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_pg2.codecs.exchange.yolo import from_yolo
from keras_pg2.datasets.checks import Problems
from keras_pg2.datasets.coco_entries import check_label


class GoodLines(NamedTuple):
    """The lines of a label file that can be used.

    Attributes:
        text: these lines.
        lost: labels of the other lines, None for one that is not known.
        overhangs: how many pixels each object ends beyond its picture.
    """

    text: str
    lost: frozenset[str | None]
    overhangs: list[float]


def check_lines(
    text: str,
    file: Path,
    names: Sequence[str],
    size: tuple[int, int],
    problems: Problems,
) -> GoodLines:
    """Check the lines of a label file one by one.

    Args:
        text: of the file.
        file: it, for errors.
        names: of the classes.
        size: width and height of the picture in pixels.
        problems: stops at the first bad line, or collects what is wrong with them.

    Raises:
        ValueError: if a line is no object of one of the classes, or has no area.
    """
    good: list[str] = []
    lost: set[str | None] = set()
    overhangs: list[float] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if not line.strip():
            continue
        num_before = len(good)
        with problems.of(f"{file}, line {number}"):
            _check(line, names, size)
            good.append(line)
            overhangs.append(_overhang(line, size))
        if len(good) == num_before:
            lost.add(_label(line, names))
    return GoodLines("\n".join(good), frozenset(lost), overhangs)


def _check(line: str, names: Sequence[str], size: tuple[int, int]) -> None:
    found = from_yolo(line, names, *size, with_masks=False)
    if found.scores is not None:
        raise ValueError(
            "expected a class, and a box of four numbers or a polygon of pairs, as "
            f"files for training have no scores, received {line!r:.80}."
        )
    check_label(found.labels[0].strip(), "class")
    x1, y1, x2, y2 = found.boxes_xyxy[0]
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"expected an object with an area, received {line!r:.80}.")


def _overhang(line: str, size: tuple[int, int]) -> float:
    points = np.array(line.split()[1:], np.float64).reshape(-1, 2)
    if len(points) == 2:  # A centre, and width and height.
        center, extent = points
        points = np.array([center - extent / 2, center + extent / 2])
    beyond = np.maximum(-points, points - 1) * size
    return max(0.0, float(beyond.max()))


def _label(line: str, names: Sequence[str]) -> str | None:
    first = line.split()[0]
    is_known = first.isdecimal() and len(first) < 9 and int(first) < len(names)
    return names[int(first)].strip() if is_known else None
