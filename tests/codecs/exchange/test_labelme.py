"""LabelMe files, read back and by supervision."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

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
    for kind in ("point", "line", "linestrip", "points", 3):
        shape["shape_type"] = kind
        message = f"received {kind!r} of the label 'x', which has no area"
        with pytest.raises(ValueError, match=message):
            from_labelme(content)
    shape["shape_type"] = "rectangle"
    with pytest.raises(ValueError, match="width=null, height=16"):
        from_labelme({**content, "imageWidth": None})
    with pytest.raises(ValueError, match=r"of 16 x 24 .* received 24 x 16"):
        to_labelme(two(), "a.png", HEIGHT, WIDTH)


def test_circles_and_shapes_of_old_versions():
    circle = {"label": "x", "shape_type": "circle", "points": [[8, 7], [11, 11]]}
    content = {"imageWidth": 24.0, "imageHeight": 16.0, "shapes": [circle]}
    found = from_labelme(content)
    # A radius of 5 around (8, 7), as labelme 5.5 paints it (`utils/shape.py`).
    painted = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(painted).ellipse([(3, 2), (13, 12)], outline=1, fill=1)
    np.testing.assert_array_equal(found.masks[0], np.array(painted) == 1)
    assert found.boxes_xyxy.tolist() == [[3, 2, 14, 13]]
    alone = from_labelme(content, with_masks=False)
    assert alone.masks is None
    np.testing.assert_array_equal(alone.boxes_xyxy, found.boxes_xyxy)
    old = {"label": "x", "line_color": None, "points": [[1, 1], [4, 1], [4, 5], [1, 5]]}
    found = from_labelme({**content, "shapes": [old]})
    assert found.masks.sum() == 4 * 5
    assert found.boxes_xyxy.tolist() == [[1, 1, 5, 6]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "a label in shape 0.*null"),
        ({"points": None}, "2 or more points.*rectangle of the label 'x'"),
        ({"points": [[1, 2]]}, "2 or more points"),
        ({"points": [[1, 2], [3]]}, "2 or more points"),
        ({"points": [[1, 2], [3, float("nan")]]}, "2 or more points"),
        ({"points": [[1, 2], [3, 1e300]]}, "2 or more points"),
        ({"points": [], "shape_type": "polygon"}, "3 or more points"),
        ({"group_id": [1]}, "group_id as a number"),
        ({"score": 3}, r"a score in \[0, 1\].*3"),
    ],
)
def test_shapes_that_are_none(change, message):
    shape = {"label": "x", "shape_type": "rectangle", "points": [[9, 20], [2, 3]]}
    content = {"imageWidth": WIDTH, "imageHeight": HEIGHT, "shapes": [shape | change]}
    with pytest.raises(ValueError, match=message):
        from_labelme(content)


def test_files_that_are_none():
    size = {"imageWidth": WIDTH, "imageHeight": HEIGHT}
    for content in (size, {**size, "shapes": None}, {**size, "shapes": {}}):
        with pytest.raises(ValueError, match="a list of shapes in a LabelMe file"):
            from_labelme(content)
    for wrong in ("24", 0, -1, 24.5, float("inf"), float("nan"), [24]):
        with pytest.raises(ValueError, match="imageWidth and imageHeight"):
            from_labelme({**size, "imageWidth": wrong, "shapes": []})
    with pytest.raises(ValueError, match="as many as Pillow decodes"):
        from_labelme({"imageWidth": 2**30, "imageHeight": 2**30, "shapes": []})


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
