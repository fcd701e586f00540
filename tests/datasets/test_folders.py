"""Folders of YOLO and LabelMe: where files are, and what is wrong with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from keras_pg2.datasets import read_labelme, read_yolo
from keras_pg2.datasets import yolo as yolo_module
from keras_pg2.datasets.detection_rows import annotation_rows
from keras_pg2.datasets.yolo import label_path
from tests.support import drawn_layouts as drawn


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    return drawn.write_yolo(tmp_path)


@pytest.fixture
def labelme(tmp_path: Path) -> Path:
    return drawn.write_labelme(tmp_path)


def num_objects(coco) -> list[int]:
    return [len(found) for found in coco.annotations.values()]


def test_labels_of_yolo_may_be_missing_and_have_a_mark(yolo: Path):
    labels = yolo.parent / "train" / "labels"
    (labels / "b.txt").unlink()
    text = (labels / "a.txt").read_text()
    (labels / "a.txt").write_text(text, "utf-8-sig")
    coco = read_yolo(yolo.parent)
    assert num_objects(coco) == [2, 0, 0]
    [note] = coco.notes
    assert note == "Pictures without a label file, taken as without objects: 1."
    rows = annotation_rows(coco, ".", absent_share=1.0)
    assert [bool(row["responses"]) for row in rows] == [True, False, False]
    assert rows.notes[0] == note


@pytest.mark.parametrize(
    ("text", "folder", "split"),
    [
        (
            "path: {root}\ntrain: train/images\nnames: [cat, dog]",
            "train/images",
            "train",
        ),
        ("path: sub\ntrain: images\nnames: {{0: cat, 1: dog}}", "sub/images", "train"),
        ("train: [images/train]\nnames: [cat, dog]", "images/train", "train"),
        ("val: ../valid/images\nnames: [cat, dog]", "valid/images", "val"),
        ("valid: ./valid/images\nnames: [cat, dog]", "valid/images", "val"),
        ("test: flat\nnames: [cat, dog]", "flat", "test"),
    ],
)
def test_where_yolo_has_its_pictures(yolo: Path, text: str, folder: str, split: str):
    root = yolo.parent
    images, labels = root / "x", root / "y"
    shutil.move(root / "train" / "images", images)
    shutil.move(root / "train" / "labels", labels)
    target = root / folder
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(images, target)
    beside = label_path(target / "a.png").parent
    shutil.copytree(labels, beside, dirs_exist_ok=True)
    yolo.write_text(text.format(root=root.as_posix()))
    assert num_objects(read_yolo(yolo, split=split)) == [2, 1, 0]
    yolo.write_text("names: [cat, dog]")
    assert num_objects(read_yolo(yolo, target)) == [2, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: train/images", "names of the classes.*received null"),
        ("names: [cat, '']\ntrain: train/images", r"names of the.*\['cat', ''\]"),
        ("names: {1: cat}\ntrain: train/images", "by their numbers from 0"),
        ("names: [cat, dog]\nval: train/images", "under 'train', received null.*val"),
        ("names: [cat, dog]\ntrain: {a: b}", "under 'train', received {'a': 'b'}"),
        ("names: [cat, dog]\ntrain: nowhere", "no folder|there is none.*image-folder"),
        ("names: [cat, dog]\nnc: 3\ntrain: train/images", "nc: '3' and 2 names"),
        ("names: [cat, cat]\ntrain: train/images", r"data\.yaml: .*'cat' twice"),
        ("[cat", "Expected YAML in"),
        ("- cat", "expected names and folders, received list"),
        (
            "names: [cat]\ntrain: train/images",
            r"a\.txt, line \d: .*received the class 1",
        ),
        (
            "names: [cat, a; b]\ntrain: train/images",
            r"a\.txt, line \d: .*model can write",
        ),
    ],
)
def test_data_yaml_that_is_none(yolo: Path, text: str, message: str):
    yolo.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        read_yolo(yolo)
    assert str(yolo.parent) in str(error.value)


@pytest.mark.parametrize("names", ["[7, yes]", "{0: 7, 1: yes}"])
@pytest.mark.parametrize(
    "line",
    [
        "nc: 2",
        "made: 2020-99-99",
        "made: !!timestamp x",
        "made: !!bool x",
        'made: !!int ""',
        "made: 0b_",
        f"made: 1{':59' * 20_000}.5",
        f"made: {'9' * 5000}",
    ],
)
def test_what_else_is_in_data_yaml_is_not_read(yolo: Path, names: str, line: str):
    yolo.write_text(f"names: {names}\ntrain: train/images\n{line}")
    assert list(read_yolo(yolo).labels.values()) == ["7", "yes"]


@pytest.mark.parametrize("loader", [yolo_module._LOADER, yaml.BaseLoader])
@pytest.mark.parametrize(
    "text",
    [
        r'names: ["st\ud800ar"]',
        r'names: {0: "st\ud800ar"}',
        r'a: "\UFFFFFFFF"',
        r'a: "\U00110000"',
        "- " * 100_000,
        f"*{'a' * 5000}",
        f"names: [{', '.join(f'[thing {i}]' for i in range(5000))}]",
        f"names: [cat]\nnc: {'9' * 5000}",
        f"names: [{'cat' * 1000}, {'cat' * 1000}]",
        f"names: [cat]\n{'key' * 40}: [{'x' * 5000}]",
        f"names: [cat]\ntrain: {{x: {'x' * 5000}}}",
    ],
)
def test_an_error_of_data_yaml_is_short(
    yolo: Path, text: str, loader: type, monkeypatch
):
    monkeypatch.setattr(yolo_module, "_LOADER", loader)
    yolo.write_text(text)
    with pytest.raises(ValueError, match=r"data\.yaml") as error:
        read_yolo(yolo)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600 + len(str(yolo))


def test_a_data_yaml_larger_than_any(yolo: Path):
    lines = [f"key_of_the_file_{i}: 0" for i in range(50_000)]
    yolo.write_text("\n".join(["names: [cat, dog]", "train: train/images", *lines]))
    with pytest.raises(ValueError, match=r"at most 1 MB at .*data\.yaml"):
        read_yolo(yolo)


def test_a_label_file_that_is_no_utf_8(yolo: Path):
    file = yolo.parent / "train" / "labels" / "a.txt"
    file.write_bytes(b"0 .5 .5 .2 .2 \xe4")
    with pytest.raises(
        ValueError, match=r"a\.txt: .*Save the file as UTF-8\."
    ) as error:
        read_yolo(yolo)
    assert "cp1252" not in str(error.value)


def test_no_label_file_at_all(yolo: Path):
    shutil.rmtree(yolo.parent / "train" / "labels")
    with pytest.raises(FileNotFoundError, match=r"labels/a\.txt'.*none for 3 pictures"):
        read_yolo(yolo, on_bad="skip")


def test_names_that_unfold_without_end(yolo: Path):
    """YAML's aliases: a list of ten lists of ten lists, and so on."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for i in range(9):
        lines.append(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]")
    yolo.write_text("\n".join([*lines, "names: *a9", "train: *a9"]))
    with pytest.raises(ValueError, match=r"names of the classes.*\.\.\."):
        read_yolo(yolo)


def test_bad_pictures_of_yolo(yolo: Path):
    images = yolo.parent / "train" / "images"
    (images / "a.png").write_bytes(b"no picture")
    (images / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.txt: expected a picture of this"):
        read_yolo(yolo)
    coco = read_yolo(yolo, on_bad="skip")
    assert [Path(image.file_name).name for image in coco.images.values()] == ["c.png"]
    assert len(coco.skipped) == 2
    with pytest.raises(FileNotFoundError, match=r"Expected data.yaml in .*none"):
        read_yolo(images)
    with pytest.raises(FileNotFoundError, match=r"but there is no .*x\.yaml"):
        read_yolo(yolo.parent / "x.yaml")
    with pytest.raises(ValueError, match="a split of train, val, test"):
        read_yolo(yolo, split="valid")


def test_a_picture_of_too_many_pixels_for_pillow(yolo: Path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"a\.png'.*attack\. Correct it"):
        read_yolo(yolo)


@pytest.mark.parametrize(
    ("line", "message", "lost"),
    [
        ("1 .5 .5 .2", "a box of four numbers", "dog"),
        ("1 .5 .5 0 .2", "with an area", "dog"),
        ("1 .1 .1 .5 .1 .5 .5 .1", "pairs, as files for training", "dog"),
        ("1 .5 .5 .2 .2 .9", "pairs, as files for training", "dog"),
        ("7 .5 .5 .2 .2", "received the class 7", None),
        ("dog .5 .5 .2 .2", "Expected numbers", None),
    ],
)
def test_a_bad_line_of_yolo_is_named_and_leaves_the_others(
    yolo: Path, line: str, message: str, lost: str | None
):
    file = yolo.parent / "train" / "labels" / "a.txt"
    file.write_text(f"0 .5 .5 .2 .2\n\n{line}\n0 .3 .3 .2 .2\n")
    with pytest.raises(ValueError, match=rf"a\.txt, line 3: .*{message}") as error:
        read_yolo(yolo)
    assert str(error.value).count("--skip-bad") == 1
    coco = read_yolo(yolo, on_bad="skip")
    assert num_objects(coco) == [2, 1, 0]
    [key] = coco.lost
    assert (Path(str(key)).name, coco.lost[key]) == ("a.png", {lost})
    rows = annotation_rows(coco, ".", absent_share=1.0)
    of_it = [row["prompts"] for row in rows if row["images"] == key]
    assert of_it == ([] if lost is None else ["detect cat"])


def test_what_ends_far_outside_is_counted(yolo: Path, labelme: Path):
    """By hand: 0.9 + 0.3 of the width is a fifth beyond it."""
    width, height = drawn.SIZES["a.png"]
    file = yolo.parent / "train" / "labels" / "a.txt"
    file.write_text("0 .9 .5 .6 .2\n0 .5 .5 .2 .2\n")
    [note] = read_yolo(yolo).notes
    assert note.endswith(f"picture: 1, by up to {width / 5:g} pixels.")
    path = labelme / "a.json"
    content = json.loads(path.read_text())
    corners = [[-5, -5], [width + 10, height + 9]]
    content["shapes"][0].update(shape_type="rectangle", points=corners)
    path.write_text(json.dumps(content))
    assert "1, by up to 10 pixels." in read_labelme(labelme).notes[0]


def test_polygons_of_yolo_as_masks(yolo: Path):
    text = "1 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5\n0 .5 .5 .5 .5\n"
    (yolo.parent / "train" / "labels" / "a.txt").write_text(text)
    [polygon, box], *_ = read_yolo(yolo).annotations.values()
    assert polygon.segmentation is None
    # In 64 x 32 pixels from 16, 8 to 32, 16, the last pixels included.
    assert polygon.box_xyxy == (16, 8, 33, 17)
    coco = read_yolo(yolo, with_masks=True)
    [polygon, box], *_ = coco.annotations.values()
    expected = np.zeros((32, 64), bool)
    expected[8:17, 16:33] = True
    np.testing.assert_array_equal(coco.mask(polygon), expected)
    assert polygon.area == 17 * 9
    assert box.segmentation is None


def change(path: Path, **values: object) -> None:
    content = {**json.loads(path.read_text()), **values}
    content = {key: value for key, value in content.items() if value is not ...}
    path.write_text(json.dumps(content), "utf-8-sig")


def test_pictures_of_labelme_by_other_names(labelme: Path):
    (labelme / "pictures").mkdir()
    (labelme / "a.png").rename(labelme / "pictures" / "A.png")
    change(labelme / "a.json", imagePath="pictures\\a.png", imageWidth=64.0)
    change(labelme / "b.json", imageWidth=None, imageHeight=...)
    (labelme / "._a.json").write_bytes(b"\x00\x05\x16\x07")
    assert num_objects(read_labelme(labelme)) == [2, 1, 0]
    assert num_objects(read_labelme(labelme / "a.json")) == [2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"imageWidth": 32, "imageHeight": 64}, "of 32 x 64 .* found 64 x 32"),
        ({"imagePath": "z/a.png"}, "does not exist.*Did you mean"),
        ({"imagePath": ...}, "'imagePath' as text"),
        ({"shapes": ...}, "a list of shapes"),
        (
            {"shapes": [{"label": "x", "shape_type": "point", "points": [[1, 1]]}]},
            "received 'point' of the label 'x'",
        ),
        (
            {
                "shapes": [
                    {
                        "label": "x; y",
                        "shape_type": "rectangle",
                        "points": [[1, 1], [3, 3]],
                    }
                ]
            },
            "the model can write, received 'x; y'",
        ),
    ],
)
def test_bad_files_of_labelme(labelme: Path, values: dict, message: str):
    change(labelme / "a.json", **values)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        read_labelme(labelme)
    assert str(error.value).startswith(str(labelme / "a.json"))
    coco = read_labelme(labelme, on_bad="skip")
    assert num_objects(coco) == [1, 0]
    assert len(coco.skipped) == 1
