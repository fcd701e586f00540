from __future__ import annotations

import json
import re
import shutil
from itertools import groupby

import numpy as np
import pytest
import sentencepiece
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_pg2.codecs import parse_detections
from keras_pg2.datasets.coco import read_coco
from keras_pg2.datasets.detection_rows import (
    annotation_rows,
    detection_rows,
    segmentation_rows,
)
from tests.support.tiny_vocabulary import gemma_like_proto

SEGMENT_TOKENS = "".join(f"<seg{i:03d}>" for i in range(16))
SQUARE = [[10, 20, 30, 20, 30, 40, 10, 40]]


def content():
    """Two pictures, the second empty; categories not in the order of their ids."""
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 100, "height": 50},
            {"id": 3, "file_name": "b.jpg", "width": 10, "height": 10},
        ],
        "categories": [{"id": 2, "name": "dog"}, {"id": 1, "name": "big cat"}],
        "annotations": [
            # x, y, width, height: x1 y1 x2 y2 = 10 20 30 40.
            annotation(11, 1, [10, 20, 20, 20], area=400, segmentation=SQUARE),
            annotation(12, 2, [0, 0, 100, 50], area=3000, segmentation=[]),
            annotation(13, 1, [50, 5, 40, 40], area=900, iscrowd=0),
            annotation(
                14,
                2,
                [1, 1, 5, 5],
                iscrowd=1,
                segmentation={"counts": [5000], "size": [50, 100]},
            ),
        ],
    }


def annotation(item_id, category_id, bbox, **more):
    return {
        "id": item_id,
        "image_id": 7,
        "category_id": category_id,
        "bbox": bbox,
        **more,
    }


@pytest.fixture
def folder(tmp_path):
    draw_pictures(tmp_path, content())
    return tmp_path


def draw_pictures(folder, value):
    """Of the sizes that the file says."""
    for image in value["images"]:
        size = (image["width"], image["height"])
        Image.new("1", size).save(folder / image["file_name"], "PNG")


def write(folder, value):
    path = folder / "instances.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.fixture
def coco(folder):
    return read_coco(write(folder, content()))


def test_what_a_file_holds(coco):
    assert list(coco.images) == [7, 3]
    assert coco.images[7].width == 100
    assert coco.labels == {2: "dog", 1: "big cat"}
    assert [item.id for item in coco.annotations[7]] == [11, 12, 13]
    assert coco.annotations[3] == ()
    assert [item.id for item in coco.crowds[7]] == [14]
    assert coco.annotations[7][0].box_xyxy == (10, 20, 30, 40)
    assert coco.annotations[7][1].segmentation is None
    assert coco.skipped == ()


def test_truths_for_metrics(coco):
    found = coco.truths(7)
    assert found.labels == ("big cat", "dog", "big cat")
    assert found.boxes_xyxy.tolist()[2] == [50, 5, 90, 45]
    assert found.masks is None
    assert len(coco.truths(3, "masks")) == 0
    crowd = coco.truths(7, "masks", crowds=True)
    assert crowd.masks.shape == (1, 50, 100)
    with pytest.raises(ValueError, match="annotation 12: expected a segmentation"):
        coco.truths(7, "masks")


def test_masks_are_those_of_the_picture(coco):
    mask = coco.mask(coco.annotations[7][0])
    expected = np.zeros((50, 100), bool)
    expected[20:40, 10:30] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_rounding_error_beyond_the_picture_is_cut(folder):
    value = content()
    value["annotations"] = [annotation(1, 1, [-0.5, 0.25, 101.0, 50.5])]
    [item] = read_coco(write(folder, value)).annotations[7]
    # x from -0.5 to 100.5, y from 0.25 to 50.75, in 100 x 50 pixels.
    assert item.box_xyxy == (0, 0.25, 100, 50)
    assert item.area == 100 * 49.75


def changed(key, index, **values):
    value = content()
    value[key][index].update(values)
    return value


def without(key, index, name):
    value = content()
    del value[key][index][name]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "Expected JSON in"),
        ("[]", "Expected a JSON object"),
        ('{"images": [], "categories": []}', "under 'annotations', received none"),
        ('{"images": {}}', "under 'images', received dict"),
        (without("images", 0, "width"), "image 7: expected the key 'width'"),
        (without("images", 1, "id"), "image at position 1: expected the key 'id'"),
        (changed("images", 0, width=0), "image 7: .*width=0"),
        (changed("images", 0, height="50"), "image 7: .*'height' as int.*'50'"),
        (changed("images", 0, id=True), "image True: .*'id' as int or str"),
        (changed("images", 1, id=7), "image 7: expected every id once"),
        (changed("categories", 0, name="a ; b"), r"category 2: .*'a ; b'"),
        (changed("categories", 0, name=" "), "category 2: .*''"),
        (changed("categories", 0, name="<loc0001>"), "category 2"),
        (changed("categories", 1, id=2), "category 2: expected every id once"),
        (without("annotations", 0, "bbox"), "annotation 11: expected the key 'bbox'"),
        (changed("annotations", 1, id=11), "annotation 11: expected every id once"),
        (changed("annotations", 0, image_id=8), "annotation 11: image_id 8 is unknown"),
        (
            changed("annotations", 0, category_id=9),
            "annotation 11: category_id 9 is unknown",
        ),
        (
            changed("annotations", 0, bbox=[5, 5, 0, 9]),
            "annotation 11: expected a box with an area",
        ),
        (
            # Inside the tolerance, but nothing is left when it is cut.
            changed("annotations", 0, bbox=[100.2, 5, 0.5, 9]),
            "annotation 11: expected a box with an area",
        ),
        (
            changed("annotations", 0, bbox=[50, 5, 60, 9]),
            "annotation 11: .*100 x 50 pixels.*10 pixels outside",
        ),
        (changed("annotations", 0, bbox=[-6, 5, 60, 9]), "6 pixels outside"),
        (changed("annotations", 0, bbox=[1, 2, 3]), "four finite numbers"),
        (changed("annotations", 0, bbox=[1, 2, 3, float("nan")]), "four finite"),
        (changed("annotations", 0, bbox=[1, 2, 3, 10**400]), "four finite"),
        (changed("annotations", 0, bbox=[1, 2, 3, "4"]), "four finite numbers"),
        (changed("annotations", 0, iscrowd=2), "annotation 11: .*iscrowd.*received 2"),
        (changed("annotations", 0, area=-1), "annotation 11: .*area.*received -1"),
        ({**content(), "annotations": [3]}, "annotation at position 0: .*'id'"),
        (
            changed("annotations", 0, segmentation=[[1, 2, 3]]),
            "annotation 11: .*points",
        ),
        (
            changed("annotations", 0, segmentation={"size": [1, 1], "counts": "1"}),
            "annotation 11: .*run lengths of size",
        ),
    ],
)
def test_bad_files(folder, value, message):
    path = write(folder, value)
    with pytest.raises(ValueError, match=message) as error:
        read_coco(path)
    assert str(path) in str(error.value)
    assert str(error.value).count("Correct it") <= 1


def test_bad_annotations_can_be_left_out_and_are_told(folder):
    path = write(folder, changed("annotations", 0, bbox=[5, 5, 0, 9]))
    coco = read_coco(path, on_bad_annotation="skip")
    assert [item.id for item in coco.annotations[7]] == [12, 13]
    write(folder, changed("annotations", 0, segmentation="1 2 3"))
    assert len(read_coco(path, on_bad_annotation="skip").skipped) == 1
    assert len(coco.skipped) == 1
    assert "annotation 11" in coco.skipped[0]
    with pytest.raises(ValueError, match="'raise' or 'skip'"):
        read_coco(path, on_bad_annotation="ignore")
    with pytest.raises(FileNotFoundError):
        read_coco(folder / "missing.json")
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="lists in lists"):
        read_coco(path)


def test_a_box_a_few_pixels_outside_is_cut(folder):
    path = write(folder, changed("annotations", 0, bbox=[-3, 5, 60, 48]))
    coco = read_coco(path)
    assert coco.annotations[7][0].box_xyxy == (0, 5, 57, 50)
    assert coco.notes == (
        "Boxes cut at the border of their picture: 1, by up to 3 pixels.",
    )
    with pytest.raises(ValueError, match=r"3 pixels outside.*--max-overhang 3\)"):
        read_coco(path, max_overhang=2.5)
    path = write(folder, changed("annotations", 0, bbox=[50, 5, 60, 9]))
    assert read_coco(path, max_overhang=10).annotations[7][0].box_xyxy[2] == 100
    with pytest.raises(ValueError, match="max_overhang >= 0, received -1"):
        read_coco(path, max_overhang=-1)
    # A fiftieth of 1000 pixels.
    value = changed("images", 0, width=1000)
    value["annotations"] = [annotation(1, 1, [0, 5, 1020, 9])]
    assert read_coco(write(folder, value)).annotations[7][0].box_xyxy[2] == 1000
    value["annotations"] = [annotation(1, 1, [0, 5, 1020.5, 9])]
    with pytest.raises(ValueError, match=r"20.5 pixels outside"):
        read_coco(write(folder, value))


def test_boxes_in_parts_of_the_picture(folder):
    """As Albumentations and TFDS have them: specks in the first pixel."""
    value = content()
    boxes = ([0, 0, 1, 1], [0.1, 0.2, 0.5, 0.8], [0.3, 0.1, 0.7, 0.2], [0, 0, 1, 0.5])
    for item, box in zip(value["annotations"], boxes):
        item["bbox"] = box
    path = write(folder, value)
    for on_bad in ("raise", "skip"):
        with pytest.raises(ValueError, match=r"instances.*in pixels.*parts of width"):
            read_coco(path, on_bad)
    value["annotations"][0]["bbox"] = [10, 20, 20, 20]
    [note] = read_coco(write(folder, value)).notes
    assert re.search(r"first pixel .*: 3\.$", note)
    # Three pixels that were marked are boxes.
    for item in value["annotations"]:
        item["bbox"] = [0, 0, 1, 1]
    assert read_coco(write(folder, value)).notes == ()


def test_numbers_with_a_point_and_a_byte_order_mark(folder):
    value = changed("images", 0, id=7.0, width=100.0)
    value["annotations"] = [annotation(1.0, 2.0, [0, 0, 1, 1], iscrowd=0.0)]
    value["annotations"][0]["image_id"] = 7.0
    path = folder / "instances.json"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_bytes(json.dumps(value).encode(encoding))
        coco = read_coco(path)
        assert repr(coco.images[7][:3]) == "(7, 'a.jpg', 100)"
        assert [repr(item.id) for item in coco.annotations[7]] == ["1"]
    path = write(folder, changed("images", 0, width=100.5))
    with pytest.raises(ValueError, match=r"'width' as int, received 100\.5"):
        read_coco(path)


def test_a_name_that_cannot_be_written_matters_where_it_is_used(folder):
    value = content()
    value["categories"].append({"id": 9, "name": "cars; vans"})
    path = write(folder, value)
    assert read_coco(path).labels[9] == "cars; vans"
    [_, row] = annotation_rows(read_coco(path), folder, absent_share=1.0)
    assert "cars" not in row["prompts"]
    value["annotations"][0]["category_id"] = 9
    with pytest.raises(ValueError, match=r"annotation 11: category 9: .*'cars; vans'"):
        read_coco(write(folder, value))


def spoil_picture(path, how):
    if how == "missing":
        path.unlink()
    elif how == "damaged":
        path.write_bytes(b"GIF89a")
    else:
        Image.new("1", (33, 44)).save(path, "PNG")


@pytest.mark.parametrize("how", ["missing", "damaged", "of another size"])
@pytest.mark.parametrize(("name", "image_id"), [("a.jpg", 7), ("b.jpg", 3)])
def test_bad_pictures_are_left_out_and_named(coco, folder, how, name, image_id):
    spoil_picture(folder / name, how)
    kind = FileNotFoundError if how == "missing" else ValueError
    words = {
        "missing": "Expected an image file, but .* does not exist",
        "damaged": "expected an image that Pillow can read, but .* is damaged",
        "of another size": "expected a picture of 10.* as the file says, found 33 x 44",
    }
    message = f"instances.json: image {image_id}: {words[how]}"
    with pytest.raises(kind, match=message) as error:
        annotation_rows(coco, folder)
    assert name in str(error.value)
    assert "--skip-bad" in str(error.value)
    rows = annotation_rows(coco, folder, absent_share=1.0, on_bad="skip")
    [row] = rows
    assert row["images"] == str(folder / ("b.jpg" if name == "a.jpg" else "a.jpg"))
    assert rows.num_skipped == 1
    assert re.search(message, rows.skipped[0])


@pytest.mark.parametrize(
    ("index", "values"),
    [(0, {"width": "wide"}), (0, {"id": 3}), (0, {"file_name": ...})],
)
def test_bad_entries_of_pictures_take_their_annotations_along(folder, index, values):
    value = content()
    value["images"][index].update(values)
    value["images"].append({"id": 4, "file_name": "b.jpg", "width": 10, "height": 10})
    value["annotations"].append(annotation(99, 1, [0, 0, 5, 5]))
    value["annotations"][-1]["image_id"] = 4
    if ... in values.values():
        del value["images"][index]["file_name"]
    path = write(folder, value)
    with pytest.raises(ValueError, match=r"instances.json: image"):
        read_coco(path)
    coco = read_coco(path, "skip")
    left = {7, 3, 4} - {7} - ({3} if values == {"id": 3} else set())
    assert set(coco.images) == left
    assert [item.id for item in coco.annotations[4]] == [99]
    # With the id 3 there are annotations of a picture that is not there at all.
    unknown = 4 if values == {"id": 3} else 0
    assert len(coco.skipped) == 1 + unknown


def test_a_label_is_not_asked_for_where_one_of_its_instances_is_lost(folder):
    """The answer would say that the big cat is not there."""
    value = changed("annotations", 0, bbox=[5, 5, 0, 9])
    coco = read_coco(write(folder, value), "skip")
    assert coco.lost == {7: {"big cat"}}
    for seed in range(9):
        rows = annotation_rows(coco, folder, absent_share=1.0, seed=seed)
        assert [row["prompts"] for row in rows[:1]] == ["detect dog"]
        assert rows[0]["responses"].endswith("<loc1023> dog")
    assert any("label of which an annotation was" in note for note in rows.notes)
    [row] = detection_rows(coco, folder, asked="each")
    assert row["prompts"] == "detect dog"
    [row] = detection_rows(coco, folder, asked="all classes")
    assert row["images"].endswith("b.jpg")
    # Nobody knows what the label of an unknown category is.
    value = changed("annotations", 0, category_id=5)
    coco = read_coco(write(folder, value), "skip")
    assert list(detection_rows(coco, folder)) == []


@pytest.mark.parametrize(("given", "written"), [(7, "7"), ("7", 7), (-7, "-7")])
def test_numbers_and_their_texts_are_one_id(folder, given, written):
    """As tools write that quote some ids; the picture would seem to be empty."""
    value = content()
    value["images"][0]["id"] = given
    value["categories"][0]["id"] = "2"
    for item in value["annotations"]:
        item["image_id"] = written
    coco = read_coco(write(folder, value))
    assert coco.skipped == ()
    assert [item.id for item in coco.annotations[given]] == [11, 12, 13]
    # Where both are pictures, each is itself; another text is no number.
    value["images"][1].update(id=written, width=100, height=50)
    coco = read_coco(write(folder, value))
    assert (len(coco.annotations[given]), len(coco.annotations[written])) == (0, 3)
    value["annotations"][0]["image_id"] = "07"
    with pytest.raises(ValueError, match=r"image_id .07. is unknown"):
        read_coco(write(folder, value))


def test_what_may_be_in_any_picture_is_not_said_to_be_absent(folder):
    value = content()
    value["annotations"].append(annotation(15, 2, [0, 0, 5, 5]))
    value["annotations"][-1]["image_id"] = 99
    coco = read_coco(write(folder, value), "skip")
    assert coco.unplaced == {"dog"}
    assert coco.lost == {}
    for seed in range(9):
        rows = annotation_rows(coco, folder, absent_share=1.0, seed=seed)
        prompts = [row["prompts"] for row in rows]
        assert prompts == ["detect dog ; big cat", "detect big cat"]
    assert any("pictures that are unknown" in note for note in rows.notes)
    assert any("dog" in note for note in rows.notes)
    [row] = detection_rows(coco, folder, asked="all classes")
    assert row["images"].endswith("a.jpg")
    # Of an unknown category it may be anything.
    value["annotations"][-1]["category_id"] = 98
    coco = read_coco(write(folder, value), "skip")
    [row] = annotation_rows(coco, folder, absent_share=1.0)
    assert row["images"].endswith("a.jpg")


def test_a_picture_that_is_listed_twice_is_one(folder):
    """As in a merged export; each row would deny what the other one has."""
    value = content()
    value["images"] += [
        {**value["images"][0], "id": 8, "file_name": ".\\a.jpg"},
        {**value["images"][1], "id": 9, "width": 11},
    ]
    value["annotations"] += [
        {**annotation(21, 1, [10, 20, 20, 20]), "image_id": 8},  # Listed twice too.
        {**annotation(22, 1, [1, 2, 3, 4]), "image_id": 8},
        {**annotation(23, 1, [1, 1, 0, 4]), "image_id": 8},
        {**annotation(24, 1, [1, 2, 3, 4]), "image_id": 9},
    ]
    coco = read_coco(write(folder, value), "skip")
    del value["annotations"][-2]
    rows = annotation_rows(read_coco(write(folder, value)), folder, on_bad="skip")
    [row] = rows
    assert row["prompts"] == "detect dog ; big cat"
    assert row["responses"].count("big cat") == 3
    assert row["responses"].count("dog") == 1
    assert any("several times" in note and note[-3:] == " 1." for note in rows.notes)
    # Another size is none of the same picture.
    [message] = rows.skipped
    assert "image 9: expected a picture of 11 x 10" in message
    # What one entry has lost, the picture has lost.
    rows = annotation_rows(coco, folder, on_bad="skip")
    assert [row["prompts"] for row in rows] == ["detect dog"]


def test_a_bad_polygon_leaves_the_box(folder):
    value = changed("annotations", 0, segmentation=[[1, 2, 3]])
    value["annotations"][1]["segmentation"] = SQUARE
    value["annotations"][2]["segmentation"] = SQUARE
    path = write(folder, value)
    with pytest.raises(ValueError, match=r"annotation 11: .*points"):
        read_coco(path)
    unchecked, checked = read_coco(path, with_masks=False), read_coco(path, "skip")
    assert unchecked.skipped == ()
    assert len(checked.skipped) == 1
    for coco in (unchecked, checked):
        [row] = detection_rows(coco, folder, order="raster")
        assert row["prompts"] == "detect dog ; big cat"
        assert row["responses"].count("big cat") == 2
        with pytest.raises(ValueError, match=r"annotation 11: .*points"):
            coco.mask(coco.annotations[7][0])
        rows = annotation_rows(coco, folder, lambda *_: SEGMENT_TOKENS, on_bad="skip")
        assert [row["prompts"] for row in rows] == ["segment dog"]
        assert "annotation 11: " in rows.skipped[-1]


def of_many(folder, count=200, labels=4):
    """Pictures with one or two of four labels each, and a tenth without any."""
    value = {"images": [], "annotations": []}
    value["categories"] = [{"id": i, "name": f"label {i}"} for i in range(labels + 1)]
    for i in range(count):
        shutil.copy(folder / "b.jpg", folder / f"{i}.png")
        value["images"].append(
            {"id": i, "file_name": f"{i}.png", "width": 10, "height": 10}
        )
        for k in range(0 if i % 10 == 9 else 1 + i % 2):
            item = annotation(2 * i + k, (i + k) % labels, [0, 0, 5, 5])
            value["annotations"].append({**item, "image_id": i})
    return read_coco(write(folder, value))


def test_labels_that_are_not_there(folder):
    coco = of_many(folder)
    rows = annotation_rows(coco, folder, absent_share=0.25, seed=1)
    assert len(rows) == 200
    count = 0
    for image_id, row in enumerate(rows):
        asked = row["prompts"].removeprefix("detect ").split(" ; ")
        present = {item.label for item in coco.annotations[image_id]}
        answered = {label for _, label in labels_and_bins(row["responses"])}
        assert answered == present <= set(asked)
        assert asked == sorted(asked)
        assert "label 4" not in asked  # No picture has it.
        assert present or asked
        count += bool(present) and set(asked) != present
    # 180 pictures have something; 45 of them, +- 4 times the square root of 180 / 4 *
    # 3 / 4 = 33.75.
    assert abs(count - 45) <= 4 * 33.75**0.5
    [note] = rows.notes
    assert note.endswith(f"labels that are not in their picture: {count + 20}.")
    rows = annotation_rows(coco, folder)
    assert len(rows) == 180
    assert [note[-4:] for note in rows.notes] == [" 20."]
    with pytest.raises(ValueError, match=r"absent_share in \[0, 1\].*received 1.5"):
        annotation_rows(coco, folder, absent_share=1.5)


def test_labels_that_are_not_there_one_at_a_time(folder):
    coco = of_many(folder, count=20)
    rows = list(detection_rows(coco, folder, asked="each", absent_share=1.0))
    # Eight of the 18 with something have two labels, and all pictures one more.
    assert len(rows) == 18 + 8 + 20
    assert sum(not row["responses"] for row in rows) == 20
    order = [row["prompts"] for row in detection_rows(coco, folder, absent_share=1.0)]
    again = [
        row["prompts"]
        for row in detection_rows(coco, folder, absent_share=1.0, epoch=1)
    ]
    assert order != again


def test_a_crowd_is_there(coco, folder):
    """The second picture has a region of dogs alone, so no dog is said to be absent."""
    value = content()
    value["annotations"][3]["image_id"] = 3
    value["annotations"][3]["segmentation"] = {"counts": [100], "size": [10, 10]}
    coco = read_coco(write(folder, value))
    for seed in range(9):
        rows = annotation_rows(coco, folder, absent_share=1.0, seed=seed)
        assert rows[1]["prompts"] == "detect big cat"
        assert rows[1]["responses"] == ""


def test_bins_of_a_row_by_hand(coco, folder):
    [row] = detection_rows(coco, folder, order="raster")
    assert row == {
        "images": str(folder / "a.jpg"),
        "prompts": "detect dog ; big cat",
        # Bins of y1 x1 y2 x2, from the upper edge down:
        # 0 0 50/50 100/100; 5/50 50/100 45/50 90/100 of 1023 = 102.3 511.5 920.7
        # 920.7, halves to the even number; 20/50 10/100 40/50 30/100 = 409.2 102.3
        # 818.4 306.9.
        "responses": "<loc0000><loc0000><loc1023><loc1023> dog ; "
        "<loc0102><loc0512><loc0921><loc0921> big cat ; "
        "<loc0409><loc0102><loc0818><loc0307> big cat",
    }


def labels_and_bins(response):
    return re.findall(r"((?:<loc\d{4}>){4}) ([^;]+?)(?: ;|$)", response)


def test_one_label_per_prompt(coco, folder):
    rows = list(detection_rows(coco, folder, asked="each", order="area"))
    assert [row["prompts"] for row in rows] == ["detect dog", "detect big cat"]
    cats = labels_and_bins(rows[1]["responses"])
    # 900 pixels before 400.
    assert [tokens[:9] for tokens, _ in cats] == ["<loc0102>", "<loc0409>"]


def test_all_classes_asks_of_empty_pictures_too(coco, folder):
    rows = list(detection_rows(coco, folder, asked="all classes"))
    assert [row["prompts"] for row in rows] == ["detect all classes"] * 2
    assert rows[1]["responses"] == ""


def many(folder, count=6):
    value = content()
    value["annotations"] = [
        annotation(i, 1, [i, i, 10 + i, 5]) for i in range(1, count + 1)
    ]
    return read_coco(write(folder, value))


def test_random_order_changes_by_epoch_and_seed_only(folder):
    coco = many(folder)

    def answer(**options):
        return next(detection_rows(coco, folder, **options))["responses"]

    with pytest.raises(ValueError, match="epoch >= 0, received -1"):
        answer(epoch=-1)
    assert answer() == answer()
    answers = {answer(epoch=epoch, seed=seed) for epoch in range(4) for seed in (0, 1)}
    assert len(answers) > 4
    assert len({tuple(sorted(labels_and_bins(a))) for a in answers}) == 1
    # Every instance is first now and then: 1/6 each, missed by all of 60 draws with
    # a chance of (5/6)^60, less than 2e-5.
    first = {answer(epoch=epoch)[:36] for epoch in range(60)}
    assert len(first) == 6


def test_noise_boxes_have_trained_labels_and_untrained_corners(coco, folder):
    options = {"asked": "all classes", "num_noise_boxes": 5, "order": "raster"}
    rows = list(detection_rows(coco, folder, **options))
    [objects, nothing] = (row["responses"] for row in rows)
    plain = list(detection_rows(coco, folder, asked="all classes", order="raster"))
    assert objects.startswith(plain[0]["responses"] + " ; <loc")
    for row, num_objects in zip(rows, (3, 0), strict=True):
        parts = row["response_parts"]
        assert "".join(part.text for part in parts) == row["responses"]
        untrained = [part.text for part in parts if not part.is_trained]
        assert len(untrained) == 5
        assert all(re.fullmatch(r"(<loc\d{4}>){4}", text) for text in untrained)
        trained = "".join(part.text for part in parts if part.is_trained)
        assert trained.count("<loc") == 4 * num_objects
        assert trained.count(" <noise>") == 5
        assert not trained.endswith("; ")
        found = parse_detections(row["responses"], 100, 50)
        assert found.labels[num_objects:] == ("<noise>",) * 5
        assert found.unread == ()
        sides = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
        assert (sides > 0).all()
    assert labels_and_bins(objects)[3:] != labels_and_bins(nothing)


def test_tokens_of_the_parts_are_those_of_the_whole(coco, folder):
    encode = sentencepiece.SentencePieceProcessor(model_proto=gemma_like_proto()).encode
    for row in detection_rows(coco, folder, asked="all classes", num_noise_boxes=3):
        parts = [i for part in row["response_parts"] for i in encode(part.text)]
        assert parts == encode(row["responses"])


def test_segmentation_rows(coco, folder):
    seen = []

    def encode_mask(mask, box_xyxy):
        seen.append((mask.sum(), box_xyxy.tolist()))
        return SEGMENT_TOKENS

    value = content()
    value["annotations"] = value["annotations"][:1]
    one = read_coco(write(folder, value))
    [row] = segmentation_rows(one, folder, encode_mask)
    assert row["prompts"] == "segment big cat"
    box = "<loc0409><loc0102><loc0818><loc0307>"
    assert row["responses"] == f"{box}{SEGMENT_TOKENS} big cat"
    # 20 x 20 pixels.
    assert seen == [(400, [10, 20, 30, 40])]


def test_what_cannot_be_segmented_is_named(coco, folder):
    def rows(coco, result):
        def encode_mask(mask, box_xyxy):
            if result is None:
                raise ValueError("no pixel")
            return result

        return list(segmentation_rows(coco, folder, encode_mask))

    with pytest.raises(ValueError, match=r"annotation \d+: expected a segmentation"):
        rows(coco, SEGMENT_TOKENS)
    value = content()
    value["annotations"] = value["annotations"][:1]
    one = read_coco(write(folder, value))
    with pytest.raises(ValueError, match="annotation 11: no pixel"):
        rows(one, None)
    with pytest.raises(ValueError, match="annotation 11: expected sixteen tokens"):
        rows(one, SEGMENT_TOKENS[8:])
    value["annotations"][0]["segmentation"] = [[1, 2, 3, 4]]
    with pytest.raises(ValueError, match=r"annotation 11: .*polygon 0"):
        rows(read_coco(write(folder, value)), SEGMENT_TOKENS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"asked": "one"}, "asked to be one of"),
        ({"order": "size"}, "order to be one of"),
        ({"num_noise_boxes": 3}, "asked='all classes'"),
        ({"num_noise_boxes": -1, "asked": "all classes"}, "received -1"),
    ],
)
def test_bad_options_before_the_first_row(coco, folder, options, message):
    with pytest.raises(ValueError, match=message):
        detection_rows(coco, folder, **options)


def test_pictures_of_another_size_are_named(coco, folder):
    turned = Image.new("1", (50, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # Upright it is 100 x 50, as the file says.
    for kind in ("PNG", "TIFF"):
        turned.save(folder / "a.jpg", kind, exif=exif)
        assert len(list(detection_rows(coco, folder))) == 1
    turned.save(folder / "a.jpg", "PNG")
    with pytest.raises(ValueError, match=r"image 7: .* 100 x 50 .* found 50 x 100"):
        list(detection_rows(coco, folder))


def test_missing_pictures_before_the_first_row(coco, folder):
    (folder / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"image 3: .*b\.jpg"):
        detection_rows(coco, folder)
    with pytest.raises(ValueError, match="for detection"):
        segmentation_rows(coco, folder, None, asked="all classes")


@st.composite
def annotation_files(draw):
    value = {"images": [], "categories": [], "annotations": []}
    names = draw(
        st.lists(
            st.text(st.characters(categories=["L", "N"]), min_size=1),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    for i, name in enumerate(names):
        value["categories"].append({"id": i, "name": name})
    for image_id in range(draw(st.integers(1, 3))):
        width, height = draw(st.integers(1, 4000)), draw(st.integers(1, 4000))
        value["images"].append(
            {"id": image_id, "file_name": "a.jpg", "width": width, "height": height}
        )
        for _ in range(draw(st.integers(0, 5))):
            x, y = draw(st.floats(0, 0.9)) * width, draw(st.floats(0, 0.9)) * height
            right = draw(st.floats(0.01, 1)) * (width - x)
            down = draw(st.floats(0.01, 1)) * (height - y)
            value["annotations"].append(
                {
                    "id": len(value["annotations"]),
                    "image_id": image_id,
                    "category_id": draw(st.integers(0, len(names) - 1)),
                    "bbox": [x, y, right, down],
                }
            )
    # In the first pixel alone they are taken for parts of width and height.
    boxes = [item["bbox"] for item in value["annotations"]]
    assume(not boxes or any(max(x + w, y + h) > 1.1 for x, y, w, h in boxes))
    return value


@given(annotation_files(), st.sampled_from(["random", "area", "raster"]))
@settings(max_examples=50, deadline=None)
def test_answers_give_the_boxes_back(tmp_path_factory, value, order):
    folder = tmp_path_factory.mktemp("coco")
    for i, entry in enumerate(value["images"]):
        entry["file_name"] = f"{i}.png"
    draw_pictures(folder, value)
    coco = read_coco(write(folder, value))
    rows = detection_rows(coco, folder, asked="all classes", order=order)
    names = {entry["id"]: entry["name"] for entry in value["categories"]}
    for image, row in zip(value["images"], rows, strict=True):
        width, height = image["width"], image["height"]
        found = parse_detections(row["responses"], width, height)
        assert found.unread == ()
        expected = []
        for entry in value["annotations"]:
            if entry["image_id"] == image["id"]:
                x, y, right, down = entry["bbox"]
                box = [x, y, x + right, y + down]
                expected.append((names[entry["category_id"]], box))
        assert sorted(found.labels) == sorted(label for label, _ in expected)
        # Orders differ, so each expected box has one of its label within half a bin.
        slack = (0.5 / 1023 + 1e-5) * np.array([width, height, width, height])
        groups = groupby(sorted(expected), key=lambda pair: pair[0])
        for label, pairs in groups:
            boxes = found.boxes_xyxy[np.array(found.labels) == label]
            for _, box in pairs:
                errors = np.abs(boxes - box)
                assert (errors <= slack).all(axis=1).any()
