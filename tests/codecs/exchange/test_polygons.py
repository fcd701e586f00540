"""Masks as polygons, and the files and packages of the exchange."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings

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
from keras_pg2.codecs.exchange.polygons import edge_polygons, pixel_polygons, rasterize
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
    polygons = pixel_polygons(mask)
    np.testing.assert_array_equal(rasterize(polygons, WIDTH, HEIGHT), filled(mask))
    by_supervision = np.zeros_like(mask)
    for polygon in polygons:
        by_supervision |= sv.polygon_to_mask(polygon, (WIDTH, HEIGHT)).astype(bool)
    np.testing.assert_array_equal(by_supervision, filled(mask))


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
