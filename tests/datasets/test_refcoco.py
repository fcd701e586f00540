from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest

from keras_pg2.datasets.coco import read_coco
from keras_pg2.datasets.refcoco import (
    join_references,
    read_references,
    refcoco_rows,
    refcoco_truths,
)

SEGMENT_TOKENS = "".join(f"<seg{i:03d}>" for i in range(16))


def entry(ref_id, ann_id, image_id, split, *sentences):
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "image_id": image_id,
        "split": split,
        "category_id": 1,
        "sent_ids": list(range(len(sentences))),
        "sentences": [
            {"sent": sent, "raw": sent.upper(), "sent_id": i, "tokens": sent.split()}
            for i, sent in enumerate(sentences)
        ],
    }


ENTRIES = [
    entry(1, 11, 7, "train", "left dog", " dog with a ball "),
    entry(2, 12, 7, "val", "right dog"),
    entry(3, 13, 8, "testA", "the herd", ""),
]


@pytest.fixture
def coco(tmp_path):
    square = [[10, 20, 30, 20, 30, 40, 10, 40]]
    shared = {"category_id": 1, "segmentation": square, "bbox": [10, 20, 20, 20]}
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 50}
            for i in (7, 8)
        ],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [
            {"id": 11, "image_id": 7, **shared},
            {"id": 12, "image_id": 7, **shared},
            {"id": 13, "image_id": 8, "iscrowd": 1, **shared},
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    for i in (7, 8):
        (tmp_path / f"{i}.jpg").write_bytes(b"")
    return read_coco(path)


def write(folder, value, protocol=2):
    path = folder / "refs(unc).p"
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickle_and_json_hold_the_same(tmp_path, protocol):
    found = read_references(write(tmp_path, ENTRIES, protocol))
    path = tmp_path / "refs.json"
    path.write_text(json.dumps(ENTRIES))
    assert found == read_references(path)
    assert [tuple(r) for r in found] == [
        (1, 11, 7, "train", ("left dog", "dog with a ball")),
        (2, 12, 7, "val", ("right dog",)),
        (3, 13, 8, "testA", ("the herd",)),
    ]


def test_texts_of_python_2(tmp_path):
    # Protocol 0 as Python 2 writes it: S is its byte text, of which the official files
    # are made, I and L its two integers.
    path = tmp_path / "refs(unc).p"
    path.write_bytes(
        b"(lp0\n(dp1\nS'ref_id'\nI5\nsS'ann_id'\nL11L\nsS'image_id'\nI7\nsS'split'\n"
        b"S'val'\nsS'sentences'\n(lp2\n(dp3\nS'sent'\nS'caf\\xc3\\xa9'\nsasa."
    )
    [reference] = read_references(path)
    assert tuple(reference) == (5, 11, 7, "val", ("café",))


class Harmful:
    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path, protocol):
    harmful = Harmful()
    harmful.path = tmp_path / "was here"
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p.*mkdir.*run any code"):
        read_references(write(tmp_path, [harmful], protocol))
    assert not harmful.path.exists()


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "__import__", "open"])
@pytest.mark.parametrize("module", ["builtins", "__builtin__"])
def test_builtin_functions_are_refused(tmp_path, module, name):
    path = tmp_path / "refs.p"
    path.write_bytes(f"c{module}\n{name}\n(S'1'\ntR.".encode())
    with pytest.raises(ValueError, match=rf"{module}\.{name}"):
        read_references(path)


def test_a_length_that_nothing_has_is_told(tmp_path):
    path = tmp_path / "refs.p"
    path.write_bytes(b"\x80\x04" + b"\x8e" + (2**60).to_bytes(8, "little") + b"abc.")
    with pytest.raises(ValueError, match=r"refs\.p. Received: .*\w") as error:
        read_references(path)
    assert not str(error.value).endswith("Received: .")


def test_builtin_containers_are_admitted(tmp_path):
    value = [{**ENTRIES[0], "file_names": {"a", "b"}, "other": frozenset([1.5])}]
    assert read_references(write(tmp_path, value))[0].id == 1


def changed(**values):
    return [{**ENTRIES[0], **values}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"refs": []}, "list of references.*received dict"),
        ([3], "reference 'at position 0': expected 'ref_id'"),
        ([{"ref_id": 4}], "reference 4: expected 'ann_id' as int or str.*nothing"),
        (changed(split=3), "reference 1: expected 'split' as str, received 3"),
        (changed(sentences="left"), "reference 1: expected 'sentences' as list"),
        (changed(sentences=["left"]), "reference 1: expected sentences as .*'left'"),
        (changed(sentences=[{"sent": 4}]), "reference 1: expected sentences as"),
        ([ENTRIES[0], ENTRIES[0]], "reference 1: expected every ref_id once"),
    ],
)
def test_bad_references(tmp_path, value, message):
    path = write(tmp_path, value)
    with pytest.raises(ValueError, match=message) as error:
        read_references(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["refs.p", "refs.json"])
@pytest.mark.parametrize("data", [b"", b"\x80\x05]", b"[{", b"\xff\xfe", b"junk"])
def test_damaged_files(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ValueError, match=name):
        read_references(path)


def rows_of(coco, split, references=None):
    if references is None:
        references = read_references(write(coco.path.parent, ENTRIES))
    return list(
        refcoco_rows(
            references, coco, coco.path.parent, lambda *_: SEGMENT_TOKENS, split
        )
    )


def test_rows_are_bare_expressions_and_answers_without_a_name(coco):
    rows = rows_of(coco, "train")
    # y1 x1 y2 x2 = 20/50 10/100 40/50 30/100 of 1023 = 409.2 102.3 818.4 306.9.
    answer = f"<loc0409><loc0102><loc0818><loc0307>{SEGMENT_TOKENS}"
    assert rows == [
        {
            "images": str(coco.path.parent / "7.jpg"),
            "prompts": prompt,
            "responses": answer,
        }
        for prompt in ("left dog", "dog with a ball")
    ]
    assert [row["prompts"] for row in rows_of(coco, "val")] == ["right dog"]


def test_an_expression_may_refer_to_a_crowd_and_other_pictures_may_miss(coco):
    (coco.path.parent / "7.jpg").unlink()
    assert [row["prompts"] for row in rows_of(coco, "testA")] == ["the herd"]
    with pytest.raises(FileNotFoundError, match="image 7"):
        rows_of(coco, "train")


def test_truths_are_in_the_order_of_the_rows(coco, tmp_path):
    references = read_references(write(tmp_path, ENTRIES))
    truths = list(refcoco_truths(references, coco, "train"))
    assert len(truths) == len(rows_of(coco, "train"))
    for truth in truths:
        assert truth.boxes_xyxy.tolist() == [[10, 20, 30, 40]]
        expected = np.zeros((1, 50, 100), bool)
        expected[0, 20:40, 10:30] = True
        np.testing.assert_array_equal(truth.masks, expected)


def test_no_training_picture_of_a_joined_set_is_held_out(coco, tmp_path):
    first = read_references(write(tmp_path, ENTRIES))
    second = read_references(
        write(tmp_path, [entry(1, 13, 8, "train", "a"), entry(2, 9, 9, "train", "b")])
    )
    joined = join_references([first, second])
    # Picture 7 is in val of the first set, picture 8 in testA of it.
    assert [(r.image_id, r.split) for r in joined] == [
        (7, "val"),
        (8, "test"),
        (9, "train"),
    ]


def test_what_does_not_fit_is_named_before_the_first_row(coco, tmp_path):
    references = read_references(write(tmp_path, ENTRIES))
    with pytest.raises(ValueError, match=r"testA, train, val, received 'test'"):
        refcoco_rows(references, coco, tmp_path, None, "test")
    wrong = [references[0]._replace(annotation_id=99)]
    with pytest.raises(ValueError, match=r"Reference 1: .*99.*no such annotation"):
        refcoco_rows(wrong, coco, tmp_path, None)
    wrong = [references[0]._replace(annotation_id=13)]
    with pytest.raises(ValueError, match=r"Reference 1: .*image 7.*received 8"):
        refcoco_truths(wrong, coco, "train")
