"""LabelMe files, read back and by supervision."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_pg2.codecs import (
    from_labelme,
    from_supervision,
    to_labelme,
    write_json,
)
from tests.support.exchange_cases import (
    HEIGHT,
    WIDTH,
    filled,
    instances,
    sv,
    two,
)


@given(instances(st.text(max_size=5)), st.booleans())
@settings(max_examples=40, deadline=None)
def test_round_trip(found, polygons):
    content = to_labelme(found, "a.png", WIDTH, HEIGHT, polygons)
    again = from_labelme(json.loads(json.dumps(content)))
    assert again.labels == found.labels
    if len(found):
        np.testing.assert_array_equal(again.scores, found.scores)
    for i in range(len(found)):
        mask = None if found.masks is None else found.masks[i]
        if mask is None or not mask.any():
            expected = found.boxes_xyxy[i]
            assert again.masks is None or not again.masks[i].any()
        else:
            kept = filled(mask) if polygons else mask
            np.testing.assert_array_equal(again.masks[i], kept)
            rows, columns = np.nonzero(mask)
            low, high = (columns.min(), rows.min()), (columns.max(), rows.max())
            expected = [*low, *(v + 1 for v in high)]
        np.testing.assert_array_equal(again.boxes_xyxy[i], expected)


def test_content_by_hand():
    content = to_labelme(two(), "../a.png", WIDTH, HEIGHT)
    assert content["imagePath"] == "../a.png"
    assert (content["imageWidth"], content["imageHeight"]) == (WIDTH, HEIGHT)
    assert content["imageData"] is None
    polygon, rectangle = content["shapes"]
    assert polygon["shape_type"] == "polygon"
    corners = {tuple(point) for point in polygon["points"]}
    assert corners == {(3, 2), (12, 2), (12, 7), (3, 7)}
    assert rectangle["shape_type"] == "rectangle"
    assert rectangle["points"] == [[12, 4], [24, 16]]
    assert (polygon["label"], polygon["score"]) == ("cat", 0.75)
    # All that LabelMe 5 asks of a shape.
    assert {"label", "points", "shape_type", "flags", "group_id"} <= set(polygon)


def test_supervision_reads_it(tmp_path):
    found = two()
    found.masks[0, 12:15, 2:5] = True  # A second part.
    found.masks[0, 4, 6] = False  # A hole.
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    write_json(to_labelme(found, "a.png", WIDTH, HEIGHT), tmp_path / "a.json")
    dataset = sv.DetectionDataset.from_labelme(str(tmp_path), str(tmp_path))
    _, _, value = next(iter(dataset))
    again = from_supervision(value, dataset.classes)
    assert again.labels == ("cat", "dog")
    np.testing.assert_array_equal(again.masks[0], filled(found.masks[0]))
    np.testing.assert_array_equal(again.boxes_xyxy[1], found.boxes_xyxy[1])


def test_what_people_draw():
    shape = {"label": "x", "shape_type": "rectangle", "points": [[9, 20], [2, 3]]}
    content = {"imageWidth": WIDTH, "imageHeight": HEIGHT, "shapes": [shape]}
    assert from_labelme(content).boxes_xyxy.tolist() == [[2, 3, 9, 16]]
    shape["shape_type"] = "circle"
    with pytest.raises(ValueError, match="received 'circle' of the label 'x'"):
        from_labelme(content)
    with pytest.raises(ValueError, match="received None and 16"):
        from_labelme({**content, "imageWidth": None})
    with pytest.raises(ValueError, match=r"of 16 x 24 .* received 24 x 16"):
        to_labelme(two(), "a.png", HEIGHT, WIDTH)


def test_masks_of_other_tools():
    """Cut at the borders; what is no mask of one channel is named."""
    shape = {"label": "cat", "shape_type": "mask", "points": [[-1, -2], [2, 1]]}
    content = {"imageWidth": 4, "imageHeight": 3, "shapes": [shape]}
    shape["mask"] = _png(np.full((4, 4), 255, np.uint8))
    expected = np.zeros((3, 4), bool)
    expected[:2, :3] = True
    np.testing.assert_array_equal(from_labelme(content).masks[0], expected)
    for mask, message in (
        (_png(np.zeros((4, 4, 3), np.uint8)), "3 channels"),
        ("AAAA", "picture in base64"),
        (None, "picture in base64"),
    ):
        shape["mask"] = mask
        with pytest.raises(ValueError, match=message):
            from_labelme(content)


def _png(levels):
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
