"""Annotation files of strangers, field by field: read, or refused in words."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from keras_pg2.codecs.exchange import polygons
from keras_pg2.datasets.coco import read_coco
from keras_pg2.datasets.jsonl import read_jsonl
from keras_pg2.datasets.labelme import read_labelme
from keras_pg2.datasets.refcoco import read_references
from keras_pg2.datasets.vqa import read_textvqa, read_vqav2
from tests.support.damaged_fields import DAMAGES, damaged, loads, named, nested

IDS = ["below 0", "0", "2**63", "1e300", "text", "empty text"]
"""Damages that make another id of an id."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    return tmp_path


def writing(path: Path, read: Callable[[], Any]) -> Callable[[Any], Any]:
    def read_changed(content: Any) -> Any:
        path.write_text(json.dumps(content))
        return read()

    return read_changed


def coco() -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": [
            {
                "id": 3,
                "image_id": 1,
                "category_id": 7,
                "bbox": [1, 2, 10, 20],
                "area": 100,
                "iscrowd": 0,
                "segmentation": [[1, 2, 11, 2, 11, 22]],
            }
        ],
    }


def test_coco(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"

    def masks() -> Any:
        file = read_coco(path)
        return {
            image_id: file.truths(image_id, "masks")
            for image_id in file.images
            if file.annotations[image_id]
        }

    read = writing(path, masks)
    assert read(coco())[1].labels == ("cat",)
    fields = [(name,) for name in ("images", "categories", "annotations")]
    fields += [("images", 0, name) for name in ("id", "file_name", "width", "height")]
    fields += [("categories", 0), ("categories", 0, "id"), ("categories", 0, "name")]
    fields += [("annotations", 0, name) for name in coco()["annotations"][0]]
    fields += [("annotations", 0, "bbox", i) for i in (0, 2)]
    fields += [("annotations", 0, "segmentation", 0, 1)]
    count, loaded = loads(read, damaged(coco(), fields), path)
    assert count == len(DAMAGES) * 20
    item = "annotations.0"
    assert loaded == {
        *named("annotations", ["list"]),
        *named("images.0.file_name", ["text", "empty text"]),
        *named("categories.0.name", ["text"]),
        *named(f"{item}.id", [*IDS, "4000 digits"]),
        *named(f"{item}.area", ["missing", "null", "0", "half"]),
        *named(f"{item}.iscrowd", ["missing", "true", "0"]),
        *named(f"{item}.bbox.0", ["below 0", "0", "half"]),
        *named(f"{item}.bbox.2", ["half"]),
        *named(f"{item}.segmentation.0.1", ["below 0", "0", "half"]),
    }


@pytest.mark.parametrize(
    ("image", "segmentation"),
    [
        ({"width": 2**31 - 1, "height": 2**31 - 1}, [[1, 2, 11, 2, 11, 22]]),
        ({"width": 2**20, "height": 2**20}, [[1, 2, 11, 2, 11, 22]]),
        ({}, {"size": [30, 40], "counts": [2**62, 2**62]}),
        ({}, {"size": [30, 40], "counts": [1200 - 2**64, 2**64]}),
        ({}, {"size": [30, 40], "counts": [10**4000]}),
        ({}, {"size": [30, 40], "counts": ["x" * 10**6, *["y"] * 10**5]}),
        ({}, {"size": [30, 40], "counts": [[1, 2], 3]}),
        ({}, {"size": [30, 40], "counts": {"a": 1}}),
        ({}, {"size": [30, 40], "counts": nested(300)}),
        ({}, {"size": [30, 40], "counts": "~~~~"}),
        ({}, {"size": [30, 40], "counts": "oooooooooooo"}),
        ({}, {"size": nested(300), "counts": [1200]}),
        ({}, {"size": [2**31, 2**31], "counts": [2**62]}),
        ({}, [[1, 2, 11, float("nan"), 11, 22]]),
        ({}, [[1, 2, 11, 1e300, 11, 22]]),
        ({}, [[1, 2, 11, 10**400, 11, 22]]),
        ({}, [["1", "2", "11", "2", "11", "22"]]),
        ({}, [[True, 2, 11, 2, 11, 22]]),
        ({}, [[0, 0, 32768, 32768, -32768, 5] * 50_000]),
        ({}, "polygon"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_masks_that_are_none(image: dict, segmentation: Any, tmp_path: Path) -> None:
    content = coco()
    content["images"][0] |= image
    content["annotations"][0]["segmentation"] = segmentation
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"coco\.json: annotation 3: ") as caught:
        read_coco(path)
    assert time.monotonic() - start < 5
    assert len(str(caught.value)) < 600
    # Boxes can be used all the same.
    assert len(read_coco(path, with_masks=False).annotations[1]) == 1


def test_run_lengths_in_floats_are_of_the_pictures_size(tmp_path: Path) -> None:
    content = coco()
    runs = {"size": [30.0, 40.0], "counts": [0, 600, 600]}
    content["annotations"][0]["segmentation"] = runs
    (tmp_path / "coco.json").write_text(json.dumps(content))
    [mask] = read_coco(tmp_path / "coco.json").truths(1, "masks").masks
    assert mask[:, :20].all()
    assert not mask[:, 20:].any()


def test_masks_of_more_than_memory(tmp_path: Path) -> None:
    """A thousand run lengths of a few bytes, of a picture of 12,000 x 12,000."""
    content = coco()
    content["images"][0] |= {"width": 12_000, "height": 12_000}
    runs = {"size": [12_000, 12_000], "counts": [144_000_000]}
    [item] = content["annotations"]
    content["annotations"] = [
        {**item, "id": i, "segmentation": runs} for i in range(1000)
    ]
    (tmp_path / "coco.json").write_text(json.dumps(content))
    file = read_coco(tmp_path / "coco.json")
    with pytest.raises(ValueError, match=r"at most 4\.3 GB, received 1000 of"):
        file.truths(1, "masks")


def labelme() -> dict[str, Any]:
    shape = {"label": "cat", "shape_type": "polygon", "group_id": None, "score": 0.5}
    shape["points"] = [[1, 2], [11, 2], [11, 22]]
    return {
        "imagePath": "a.png",
        "imageWidth": 40,
        "imageHeight": 30,
        "shapes": [shape],
    }


def test_labelme(folder: Path) -> None:
    path = folder / "a.json"
    read = writing(path, lambda: read_labelme(path, with_masks=True))
    [[item]] = read(labelme()).annotations.values()
    assert item.box_xyxy == (1, 2, 12, 23)
    fields = [(name,) for name in labelme()]
    fields += [("shapes", 0), ("shapes", 0, "points", 1), ("shapes", 0, "points", 1, 0)]
    fields += [("shapes", 0, name) for name in labelme()["shapes"][0]]
    errors = (ValueError, FileNotFoundError, OSError)
    count, loaded = loads(read, damaged(labelme(), fields), path, errors)
    assert count == len(DAMAGES) * 12
    shape = "shapes.0"
    assert loaded == {
        "shapes: list",
        "shapes.0: missing",
        *named(f"{shape}.label", ["text"]),
        *named(f"{shape}.shape_type", ["missing", "null", "empty text"]),
        *named(f"{shape}.group_id", ["missing", "null", "below 0", "0", "2**63"]),
        *named(f"{shape}.group_id", ["text", "empty text", "4000 digits"]),
        *named(f"{shape}.score", ["missing", "null", "0", "half"]),
        *named(f"{shape}.points.1.0", ["below 0", "0", "half"]),
    }


@pytest.mark.parametrize("kind", ["polygon", "circle", "mask"])
def test_shapes_without_end(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of some kilobytes beside a picture of one color."""
    monkeypatch.setattr(polygons, "_MOST_PAINTED", 2_000_000)
    Image.new("1", (1000, 600)).save(tmp_path / "a.png")
    corners = [[0, 0], [1000, 600], [1000, 0]]
    shape = {"label": "cat", "shape_type": kind, "points": corners}
    content = {"imagePath": "a.png", "shapes": [shape] * 50}
    for size in ((1, 1), (1000, 600)):
        buffer = io.BytesIO()
        Image.new("1", size, 1).save(buffer, "PNG")
        shape["mask"] = base64.b64encode(buffer.getvalue()).decode()
        (tmp_path / "a.json").write_text(json.dumps(content))
        if kind == "mask" and size == (1, 1):
            [items] = read_labelme(tmp_path / "a.json").annotations.values()
            assert {item.box_xyxy for item in items} == {(0, 0, 1, 1)}
        else:
            with pytest.raises(ValueError, match=r"a\.json: .*things that cover"):
                read_labelme(tmp_path / "a.json")


def test_vqa(folder: Path) -> None:
    path = folder / "questions.json"
    one = {"question_id": 5, "image_id": "a", "question": "what?"}
    content = {"data_subtype": "val2014", "questions": [one]}
    read = writing(path, lambda: read_vqav2(path, None, folder, image_name=None))
    Image.new("RGB", (4, 3)).save(folder / "COCO_val2014_000000000009.jpg")
    one["image_id"] = 9
    assert len(read(content).questions) == 1
    fields = [("data_subtype",), ("questions",), ("questions", 0)]
    fields += [("questions", 0, name) for name in one]
    errors = (ValueError, FileNotFoundError)
    count, loaded = loads(read, damaged(content, fields), path, errors)
    assert count == len(DAMAGES) * 6
    assert loaded == {
        *named("questions.0.question_id", [*IDS, "4000 digits"]),
        *named("questions.0.question", ["text"]),
    }
    for subtype in ("{image_id:>99999999999}", "{image_id.__class__}", "a{", "../x"):
        path.write_text(json.dumps({**content, "data_subtype": subtype}))
        with pytest.raises(
            ValueError, match=r"questions\.json: expected 'data_subtype'"
        ):
            read_vqav2(path, None, folder)


def test_answers_of_vqa(folder: Path) -> None:
    path = folder / "textvqa.json"
    one = {"question_id": 5, "image_id": "a", "question": "what?", "answers": ["b"]}
    read = writing(
        path, lambda: read_textvqa(path, folder, image_name="{image_id}.png")
    )
    content = {"data": [one]}
    assert read(content).questions[0].answers == ("b",)
    fields = [("data",), ("data", 0, "answers"), ("data", 0, "answers", 0)]
    count, loaded = loads(read, damaged(content, fields), path)
    assert count == len(DAMAGES) * 3
    assert loaded == {
        *named("data.0.answers", ["missing", "list"]),
        *named("data.0.answers.0", ["missing", "text", "empty text"]),
    }


def test_references(tmp_path: Path) -> None:
    path = tmp_path / "refs.json"
    sentences = [{"sent": "left dog"}]
    one = {"ref_id": 1, "ann_id": 11, "image_id": 7, "split": "train"}
    content = [{**one, "sentences": sentences}]
    read = writing(path, lambda: read_references(path))
    assert read(content)[0].sentences == ("left dog",)
    fields = [(0,), (0, "sentences", 0), (0, "sentences", 0, "sent")]
    fields += [(0, name) for name in content[0]]
    count, loaded = loads(read, damaged(content, fields), path)
    assert count == len(DAMAGES) * 8
    numbers = ["below 0", "0", "2**63", "4000 digits", "text", "empty text"]
    assert loaded == {
        "0: missing",
        "0.sentences: list",
        "0.sentences.0: missing",
        *named("0.sentences.0.sent", ["text", "empty text"]),
        *named("0.split", ["text", "empty text"]),
        *[
            each
            for name in ("ref_id", "ann_id", "image_id")
            for each in named(f"0.{name}", numbers)
        ],
    }


def test_a_bytearray_as_long_as_a_pickle_says(tmp_path: Path) -> None:
    path = tmp_path / "refs.p"
    length = struct.pack("<Q", 2**44)[:7] + b"\0"
    path.write_bytes(b"cbuiltins\nbytearray\n\x8a\x08" + length + b"\x85R.")
    with pytest.raises(ValueError, match=r"refs\.p.*bytearray"):
        read_references(path)
    path.write_bytes(pickle.dumps([{"file": bytearray(b"ab")}], 4))
    with pytest.raises(ValueError, match="expected 'ref_id'"):
        read_references(path)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("key", ["image", "prefix", "suffix"])
def test_lines(key: str, damage: str, folder: Path) -> None:
    path = folder / "rows.jsonl"
    one = {"image": "a.png", "prefix": "caption en", "suffix": "a cat"}
    [content] = [
        c for name, c in damaged(one, [(key,)]) if name.endswith(f": {damage}")
    ]
    path.write_text(f"{json.dumps(one)}\n{json.dumps(content)}\n")
    is_number = damage in ("below 0", "0", "half", "2**63", "4000 digits", "1e300")
    can_load = {
        "image": [],
        "prefix": ["text", "empty text"],
        "suffix": ["text", "object"],
    }[key]
    if damage in can_load or (key == "suffix" and is_number):
        assert len(read_jsonl(path)) == 2
        return
    with pytest.raises((ValueError, OSError), match=r"rows\.jsonl, line 2: ") as caught:
        read_jsonl(path)
    assert type(caught.value) in (ValueError, FileNotFoundError, OSError)


@pytest.mark.parametrize(
    "text",
    [
        "1e99999999999999999999",
        '"a',
        "[" * 100_000,
        '{"a":' * 50_000,
        "9" * 5000,
        "\xff",
    ],
    ids=lambda text: text[:9],
)
@pytest.mark.parametrize("form", ["{}", '[{{"image": {}}}]'])
def test_lines_that_are_no_json(text: str, form: str, folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(form.format('{"image": ' + text + "}").encode("latin-1"))
    with pytest.raises(ValueError, match=r"rows\.jsonl, (line 1|entry 0): ") as caught:
        read_jsonl(path)
    assert len(str(caught.value)) < 600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_named_pipes_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.json", "a.jsonl", "a.p"):
        os.mkfifo(tmp_path / name)
    for read in (read_coco, read_references, read_labelme, read_jsonl):
        with pytest.raises(OSError, match="Expected a file"):
            read(tmp_path / "a.json")
    with pytest.raises(OSError, match="Expected a file"):
        read_references(tmp_path / "a.p")
