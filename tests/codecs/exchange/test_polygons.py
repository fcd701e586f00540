"""Masks as polygons, and the files and packages of the exchange."""

from __future__ import annotations

import json
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from keras_pg2.codecs import (
    AnnotatedPicture,
    from_coco_results,
    from_labelme,
    from_yolo,
    to_coco_dataset,
    to_coco_results,
    to_labelme,
    to_supervision,
    to_yolo,
    write_json,
    write_text,
)
from keras_pg2.codecs.exchange import polygons
from keras_pg2.codecs.exchange.polygons import (
    Canvas,
    edge_polygons,
    paint_polygon,
    pixel_polygons,
)
from tests.support.exchange_cases import (
    BY_ID,
    HEIGHT,
    IDS,
    NAMES,
    WIDTH,
    boxes_only,
    filled,
    masks_of_one,
    sv,
    two,
)


@given(masks_of_one)
@settings(max_examples=60, deadline=None)
def test_pixel_polygons_keep_all_but_holes(mask):
    parts = pixel_polygons(mask)
    painted = np.zeros_like(mask)
    canvas = Canvas(WIDTH, HEIGHT)
    for polygon in parts:
        found = canvas.cut_out(polygon, partial(paint_polygon, polygon=polygon))
        painted |= found.whole()
    np.testing.assert_array_equal(painted, filled(mask))
    by_supervision = np.zeros_like(mask)
    for polygon in parts:
        by_supervision |= sv.polygon_to_mask(polygon, (WIDTH, HEIGHT)).astype(bool)
    np.testing.assert_array_equal(by_supervision, filled(mask))


corner = st.tuples(st.floats(-9, WIDTH + 9), st.floats(-9, HEIGHT + 9))


@given(st.lists(st.lists(corner, min_size=3, max_size=6), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_things_of_one_canvas_are_those_of_pictures_of_their_own(things):
    canvas = Canvas(WIDTH, HEIGHT)
    for polygon in things:
        points = np.array(polygon)
        found = canvas.cut_out(points, partial(paint_polygon, polygon=points))
        alone = Image.new("1", (WIDTH, HEIGHT))
        corners = [(round(x), round(y)) for x, y in polygon]
        ImageDraw.Draw(alone).polygon(corners, fill=1, outline=1)
        np.testing.assert_array_equal(found.whole(), np.array(alone, bool))
        if found.mask.any():
            rows, columns = np.nonzero(np.array(alone))
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert found.box(points).tolist() == box


def test_many_things_end(monkeypatch):
    monkeypatch.setattr(polygons, "_MOST_PAINTED", 2_000_000)
    canvas = Canvas(1000, 600)
    points = np.array([[0, 0], [1000, 600], [1000, 0]])
    for _ in range(3):
        canvas.cut_out(points, lambda picture: None)
    with pytest.raises(ValueError, match="at most 2,000,000 pixels"):
        canvas.cut_out(points, lambda picture: None)


def test_the_largest_part_is_first():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[0:3, 0:3] = mask[5:12, 5:12] = True
    assert pixel_polygons(mask)[0].min() == 5
    assert edge_polygons(mask)[0].min() == 5.25
    assert edge_polygons(mask)[0].max() == 11.75


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.json"
    write_json({"cats": ["Müsli"]}, target)
    assert json.loads(target.read_text("utf-8")) == {"cats": ["Müsli"]}
    with pytest.raises(ValueError, match="nan"):
        write_json({"cats": float("nan")}, target)
    with pytest.raises(UnicodeEncodeError):
        write_text("\ud800", target)
    assert json.loads(target.read_text("utf-8")) == {"cats": ["Müsli"]}
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("package", "write"),
    [
        ("supervision", to_supervision),
        ("supervision", lambda found: to_yolo(found, NAMES, WIDTH, HEIGHT)),
        ("pycocotools", lambda found: to_coco_results(found, 1, IDS)),
    ],
)
def test_a_package_that_is_missing_is_named(monkeypatch, package, write):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "pycocotools.mask", raising=False)
    with pytest.raises(ImportError, match=rf"{package}.*keras-pg2\[detection\]"):
        write(two())


@pytest.mark.parametrize("package", ["supervision", "pycocotools"])
def test_boxes_alone_need_no_package(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    found = boxes_only(two())
    to_coco_dataset([AnnotatedPicture("a.png", WIDTH, HEIGHT, found)])
    from_coco_results(to_coco_results(found, 1, IDS), BY_ID, WIDTH, HEIGHT)
    from_labelme(to_labelme(two(), "a.png", WIDTH, HEIGHT, polygons=False))
    from_yolo(to_yolo(found, NAMES, WIDTH, HEIGHT), NAMES, WIDTH, HEIGHT)
