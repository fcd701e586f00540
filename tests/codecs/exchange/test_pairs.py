"""What one writer writes every reader reads, and what was read every writer writes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from keras_pg2.codecs import (
    AnnotatedPicture,
    Detections,
    from_coco_dataset,
    from_labelme,
    from_supervision,
    from_yolo,
    parse_detections,
    to_coco_dataset,
    to_labelme,
    to_supervision,
    to_yolo,
    write_json,
)
from keras_pg2.codecs.exchange.polygons import box_around
from keras_pg2.datasets import (
    read_coco,
    read_jsonl,
    read_table,
    write_jsonl,
    write_table,
)
from keras_pg2.datasets.detection_rows import detection_rows

NAMES = ["big cat", "dog", "żółw"]
Form = Callable[[Detections, int, int, Path], Detections]


def by_coco(found: Detections, width: int, height: int, folder: Path) -> Detections:
    """Write a COCO file and read it for training."""
    picture = AnnotatedPicture("a.png", width, height, found)
    write_json(to_coco_dataset([picture]), folder / "instances.json")
    coco = read_coco(folder / "instances.json")
    if found.masks is None or not len(found):
        return coco.truths(1)
    return coco.truths(1, "masks")


def by_coco_value(
    found: Detections, width: int, height: int, folder: Path
) -> Detections:
    picture = AnnotatedPicture("a.png", width, height, found)
    content = json.loads(json.dumps(to_coco_dataset([picture])))
    return from_coco_dataset(content)[0].detections


def by_yolo(found: Detections, width: int, height: int, folder: Path) -> Detections:
    return from_yolo(to_yolo(found, NAMES, width, height), NAMES, width, height)


def by_labelme(found: Detections, width: int, height: int, folder: Path) -> Detections:
    content = json.dumps(to_labelme(found, "a.png", width, height))
    return from_labelme(json.loads(content))


def by_labelme_masks(
    found: Detections, width: int, height: int, folder: Path
) -> Detections:
    content = json.dumps(to_labelme(found, "a.png", width, height, polygons=False))
    return from_labelme(json.loads(content))


def by_supervision(
    found: Detections, width: int, height: int, folder: Path
) -> Detections:
    return from_supervision(to_supervision(found))


def by_rows(found: Detections, width: int, height: int, folder: Path) -> Detections:
    """Write the answer as JSON lines and as a table, and parse what is read."""
    Image.new("1", (width, height)).save(folder / "a.png")
    picture = AnnotatedPicture("a.png", width, height, found)
    write_json(to_coco_dataset([picture]), folder / "instances.json")
    coco = read_coco(folder / "instances.json")
    rows = list(detection_rows(coco, folder, absent_share=1.0, asked="all classes"))
    rows = [{**row, "prompts": "detect big cat"} for row in rows]
    write_jsonl(rows, folder / "rows.jsonl")
    write_table(rows, folder / "rows.csv")
    [row], [same] = read_jsonl(folder / "rows.jsonl"), read_table(folder / "rows.csv")
    assert row == same == rows[0]
    return parse_detections(row["responses"], width, height)


WITH_MASKS: list[Form] = [
    by_coco,
    by_coco_value,
    by_yolo,
    by_labelme,
    by_labelme_masks,
    by_supervision,
]
FORMS: list[Form] = [*WITH_MASKS, by_rows]


@st.composite
def boxes(draw) -> tuple[Detections, int, int]:
    """Boxes with an area in a picture, many of them at its border."""
    width, height = draw(st.integers(2, 3000)), draw(st.integers(2, 3000))
    corners = []
    for side in (width, height):
        low = draw(st.lists(st.just(0.0) | st.floats(0, side - 1), max_size=3))
        corners.append(
            [(v, draw(st.just(side) | st.floats(v + 0.5, side))) for v in low]
        )
    found = [(x[0], y[0], x[1], y[1]) for x, y in zip(*corners)]
    labels = [draw(st.sampled_from(NAMES)) for _ in found]
    array = np.array(found, np.float32).reshape(-1, 4)
    # Boxes in the first pixel alone may be in parts of the picture, which COCO refuses.
    assume(not found or array.max() > 1.5)
    return Detections(tuple(labels), array), width, height


@st.composite
def masks(draw) -> tuple[Detections, int, int]:
    """Boxes and ellipses, each in one piece, as masks with the boxes around them."""
    width, height = draw(st.integers(2, 40)), draw(st.integers(2, 40))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        x2, y2 = draw(st.integers(x1, width - 1)), draw(st.integers(y1, height - 1))
        picture = Image.new("1", (width, height))
        paint = ImageDraw.Draw(picture)
        draw(st.sampled_from([paint.rectangle, paint.ellipse]))((x1, y1, x2, y2), 1)
        assume(picture.getbbox())  # Pillow draws no ellipse of a single pixel.
        found.append(np.array(picture, bool))
    labels = [draw(st.sampled_from(NAMES)) for _ in found]
    around = np.array([box_around(mask) for mask in found], np.float32)
    return Detections(tuple(labels), around, np.stack(found)), width, height


def assert_close(found: Detections, expected: Detections, atol: np.ndarray) -> None:
    """Check that each box has one of its label beside it; rows draw a new order."""
    assert sorted(found.labels) == sorted(expected.labels)
    for label, box in zip(expected.labels, expected.boxes_xyxy):
        same = [i for i, name in enumerate(found.labels) if name == label]
        apart = np.abs(found.boxes_xyxy[same] - box)
        assert (apart <= atol).all(axis=1).any()


@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.product(FORMS, FORMS)),
    ids=lambda form: form.__name__,
)
def test_boxes_by_every_pair(tmp_path_factory, first: Form, second: Form):
    folder = tmp_path_factory.mktemp("pair")

    @given(boxes())
    @settings(max_examples=8, deadline=None, database=None)
    def check(drawn: tuple[Detections, int, int]) -> None:
        found, *size = drawn
        is_by_rows = by_rows in (first, second)
        # A box thinner than a bin may have no area any more, which COCO refuses.
        side = np.array([*size, *size])
        sides = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
        assume(not is_by_rows or (sides > 2 * side[:2] / 1023).all())
        again = second(first(found, *size, folder), *size, folder)
        # Half a bin each time that locations are written.
        bins = (first is by_rows) + (second is by_rows)
        assert_close(again, found, side * (0.5 * bins / 1023 + 1e-5))

    check()


@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.product(WITH_MASKS, WITH_MASKS)),
    ids=lambda form: form.__name__,
)
def test_masks_by_every_pair(tmp_path_factory, first: Form, second: Form):
    folder = tmp_path_factory.mktemp("pair")

    @given(masks())
    @settings(max_examples=8, deadline=None, database=None)
    def check(drawn: tuple[Detections, int, int]) -> None:
        found, *size = drawn
        again = second(first(found, *size, folder), *size, folder)
        assert again.labels == found.labels
        np.testing.assert_array_equal(again.masks, found.masks)
        np.testing.assert_allclose(again.boxes_xyxy, found.boxes_xyxy, atol=1e-4)

    check()


@given(
    st.lists(
        st.tuples(
            st.floats(-0.01, 1.01),
            st.floats(-0.01, 1.01),
            st.floats(0.01, 1),
            st.floats(0.01, 1),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(10, 4000),
    st.integers(10, 4000),
)
@settings(max_examples=60, deadline=None)
def test_labels_of_yolo_at_the_border_are_read_as_coco(
    tmp_path_factory, lines, width, height
):
    text = "\n".join(f"0 {x:.6f} {y:.6f} {w:.6f} {h:.6f}" for x, y, w, h in lines)
    found = from_yolo(text, NAMES, width, height)
    sides = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
    assume((sides > 0).all())
    # In the first pixel alone they are taken for parts of width and height.
    assume(found.boxes_xyxy.max() > 1.1)
    again = by_coco(found, width, height, tmp_path_factory.getbasetemp())
    np.testing.assert_allclose(again.boxes_xyxy, found.boxes_xyxy, atol=1e-3)
