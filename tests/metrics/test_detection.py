from __future__ import annotations

import contextlib
import io
import json
import math
import sys

import numpy as np
import pytest

from keras_pg2.codecs import Detections, mask_to_rle
from keras_pg2.metrics import coco_average_precision, coco_file_average_precision


def boxes(*rows, scores=None, masks=None):
    """Rows of (label, x1, y1, x2, y2)."""
    return Detections(
        tuple(row[0] for row in rows),
        np.array([row[1:] for row in rows], np.float32).reshape(-1, 4),
        masks,
        None if scores is None else np.array(scores, np.float32),
    )


CAT = ("cat", 0, 0, 50, 50)
DOG = ("dog", 60, 0, 90, 30)


def test_a_perfect_answer():
    # 50^2 pixels are medium, 30^2 = 900 < 32^2 = 1024 small, nothing is large.
    scores = coco_average_precision(
        [boxes(CAT, DOG, scores=[0.9, 0.5])], [boxes(CAT, DOG)]
    )
    assert scores.ap == pytest.approx(1)
    assert scores.ap_by_label == pytest.approx({"cat": 1, "dog": 1})
    assert scores.ap_small == scores.ap_medium == pytest.approx(1)
    assert math.isnan(scores.ap_large)
    assert scores.ar100 == 1
    assert (scores.num_truths, scores.num_predictions) == (2, 2)
    assert scores.unknown_labels == {}


def test_thresholds_by_hand():
    # The prediction is 40 of 50 pixels wide: IoU 0.8, which passes 0.50 ... 0.80, seven
    # of the ten thresholds. (0.8 is 2000 / 2500, the same float64 in pycocotools.)
    found = boxes(("cat", 0, 0, 41, 50), scores=[0.3])
    scores = coco_average_precision([found], [boxes(CAT)])
    assert scores.ap == pytest.approx(0.7)
    assert scores.ap50 == scores.ap75 == pytest.approx(1)
    assert scores.ar100 == pytest.approx(0.7)


def test_a_sure_mistake_costs_half():
    # Ranked: wrong, right. Precision at full recall is 1/2, at all 101 recalls.
    found = boxes(("cat", 60, 60, 90, 90), CAT, scores=[0.9, 0.1])
    assert coco_average_precision([found], [boxes(CAT)]).ap == pytest.approx(0.5)
    # The other way round the mistake comes after full recall.
    found = boxes(("cat", 60, 60, 90, 90), CAT, scores=[0.1, 0.9])
    assert coco_average_precision([found], [boxes(CAT)]).ap == pytest.approx(1)


def test_a_missed_thing_costs_recall():
    # One of two found: precision is 1 at the recalls 0, 0.01, ..., 0.50, 51 of 101.
    truth = boxes(CAT, ("cat", 60, 60, 90, 90))
    scores = coco_average_precision([boxes(CAT, scores=[1])], [truth])
    assert scores.ap == pytest.approx(51 / 101)
    assert scores.ar100 == pytest.approx(0.5)


def test_labels_are_texts_and_unknown_ones_are_told():
    found = boxes(("Cat", *CAT[1:]), ("cow", 0, 0, 9, 9), DOG, scores=[1, 1, 1])
    scores = coco_average_precision([found], [boxes(CAT, DOG)])
    # The cat is missed (0), the dog found (1).
    assert scores.ap_by_label == pytest.approx({"cat": 0, "dog": 1})
    assert scores.ap == pytest.approx(0.5)
    assert scores.unknown_labels == {"Cat": 1, "cow": 1}
    assert scores.num_predictions == 3


def test_detections_in_a_crowd_are_forgiven():
    found = boxes(CAT, ("cat", 60, 60, 70, 70), scores=[0.5, 0.9])
    truth, crowd = [boxes(CAT)], [boxes(("cat", 55, 55, 99, 99))]
    assert coco_average_precision([found], truth).ap == pytest.approx(0.5)
    scores = coco_average_precision([found], truth, crowds=crowd)
    assert scores.ap == pytest.approx(1)
    assert scores.num_truths == 1


def test_pictures_are_not_mixed():
    # Right boxes, wrong pictures.
    found = [boxes(DOG, scores=[1]), boxes(CAT, scores=[1])]
    assert coco_average_precision(found, [boxes(CAT), boxes(DOG)]).ap == 0
    assert coco_average_precision(found[::-1], [boxes(CAT), boxes(DOG)]).ap > 0.99


def test_masks_not_boxes():
    masks = np.zeros((2, 40, 40), bool)
    masks[0, :20, :20] = True
    masks[1, :20, :10] = True
    box = ("cat", 0, 0, 20, 20)
    truth = boxes(box, masks=masks[:1])
    half = boxes(box, scores=[1], masks=masks[1:])
    assert coco_average_precision([half], [truth]).ap == pytest.approx(1)
    # Half of the pixels: IoU 0.5 passes the first of ten thresholds.
    scores = coco_average_precision([half], [truth], kind="masks")
    assert scores.ap == pytest.approx(0.1)
    assert scores.ap50 == pytest.approx(1)
    # 400 pixels.
    assert scores.ap_small == pytest.approx(0.1)


def test_nothing_there_and_nothing_said():
    empty = boxes(scores=[])
    scores = coco_average_precision([empty], [boxes()])
    assert math.isnan(scores.ap)
    assert coco_average_precision([empty], [boxes(CAT)]).ap == 0
    assert math.isnan(coco_average_precision([], []).ap)
    found = boxes(CAT, scores=[1])
    assert coco_average_precision([found], [boxes()]).unknown_labels == {"cat": 1}


def test_silent(capsys):
    coco_average_precision([boxes(CAT, scores=[1])], [boxes(CAT)])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("predictions", "truths", "options", "message"),
    [
        ([boxes(CAT)], [boxes(CAT)], {}, "Expected scores.*picture 0"),
        ([boxes(CAT, scores=[1])], [], {}, "1 predictions, 0 truths"),
        ([boxes(CAT, scores=[1])], [boxes(CAT)], {"crowds": []}, "0 crowds"),
        ([boxes(CAT, scores=[1])], [boxes(CAT)], {"kind": "segm"}, "'segm'"),
        (
            [boxes(CAT, scores=[1])],
            [boxes(CAT)],
            {"kind": "masks"},
            "none in picture 0",
        ),
        (
            [boxes(CAT, scores=[1], masks=np.zeros((1, 4, 4), bool))],
            [boxes(CAT, masks=np.zeros((1, 4, 5), bool))],
            {"kind": "masks"},
            r"several sizes in picture 0: \[\(4, 4\), \(4, 5\)\]",
        ),
    ],
)
def test_bad_calls(predictions, truths, options, message):
    with pytest.raises(ValueError, match=message):
        coco_average_precision(predictions, truths, **options)


def test_without_pycocotools_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(ImportError, match=r"keras-pg2\[detection\]"):
        coco_average_precision([boxes(CAT, scores=[1])], [boxes(CAT)])


def random_files(folder, seed):
    """An instance file with crowds and results near its truths, and far from them."""
    rng = np.random.default_rng(seed)
    size = 300
    content = {
        "images": [
            {"id": 10 + i, "file_name": f"{i}.jpg", "width": size, "height": size}
            for i in range(4)
        ],
        "categories": [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [],
    }
    results = []
    for i in range(30):
        x, y = rng.uniform(0, 130, 2)
        side = rng.uniform(4, 160)
        where = {
            "image_id": int(rng.integers(10, 14)),
            "category_id": [5, 2][rng.integers(2)],
        }
        outline = [x, y, x + side, y, x + side, y + side, x, y + side]
        content["annotations"].append(
            {
                **where,
                "id": i + 1,
                "bbox": [x, y, side, side],
                "segmentation": [outline],
                "area": side * side * 0.9,
                "iscrowd": int(i % 10 == 0),
            }
        )
        for _ in range(rng.integers(0, 3)):
            dx, dy = rng.normal(0, side / 15, 2)
            mask = np.zeros((size, size), bool)
            mask[int(max(y + dy, 0)) : int(y + dy + side), int(x) : int(x + side)] = (
                True
            )
            results.append(
                {
                    **where,
                    "bbox": [x + dx, y + dy, side, side * 0.95],
                    "segmentation": mask_to_rle(mask),
                    "score": float(rng.random()),
                }
            )
    paths = folder / "instances.json", folder / "results.json"
    for path, value in zip(paths, (content, results)):
        path.write_text(json.dumps(value))
    return paths


def official_numbers(paths, kind):
    """Of the usual script: load, loadRes, evaluate, accumulate, summarize."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = json.loads(paths[1].read_text())
    if kind == "segm":
        # With boxes in it loadRes takes the area of the box.
        results = [{k: v for k, v in r.items() if k != "bbox"} for r in results]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(paths[0]))
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # AP, AP50, AP75, small, medium, large, AR1, AR10, AR100.
    return evaluation.stats[[0, 1, 2, 3, 4, 5, 8]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "official"), [("boxes", "bbox"), ("masks", "segm")])
def test_files_score_as_in_the_official_script(tmp_path, seed, kind, official):
    paths = random_files(tmp_path, seed)
    expected = official_numbers(paths, official)
    assert 0.05 < expected[0] < 0.95
    scores = coco_file_average_precision(*paths, kind=kind)
    assert (expected > 0).all()
    np.testing.assert_allclose(scores[:7], expected, rtol=1e-12)


def test_an_annotation_of_id_0_counts(tmp_path):
    paths = random_files(tmp_path, 0)
    expected = coco_file_average_precision(*paths)
    content = json.loads(paths[0].read_text())
    for i, entry in enumerate(content["annotations"]):
        entry["id"] = i
    paths[0].write_text(json.dumps(content))
    assert coco_file_average_precision(*paths) == expected


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "image_id 99 is unknown"),
        ({"image_id": [1]}, "image_id as int or str"),
        ({"bbox": [1, 2, 3]}, "expected bbox"),
        ({"bbox": [1, 2, -3, 4]}, "expected bbox"),
        ({"bbox": [1, 2, 3, float("nan")]}, "expected bbox"),
        ({"bbox": None}, "expected bbox"),
    ],
)
def test_bad_entries_are_named(tmp_path, number, change, message):
    paths = random_files(tmp_path, 0)
    content = json.loads(paths[number].read_text())
    (content if number else content["annotations"])[2].update(change)
    paths[number].write_text(json.dumps(content))
    name = f"{paths[number]}: {'result 2' if number else 'annotation 3'}: .*{message}"
    with pytest.raises(ValueError, match=name):
        coco_file_average_precision(*paths)


def test_bad_files(tmp_path):
    instances, results = random_files(tmp_path, 0)
    entries = json.loads(results.read_text())
    for change, message in (
        ({"score": None}, "result 0: expected a finite score, received null"),
        ({"score": float("nan")}, "result 0: expected a finite score"),
        (
            {"segmentation": {"counts": "0", "size": [300, 300]}},
            "result 0: .*received 0",
        ),
    ):
        results.write_text(json.dumps([{**entries[0], **change}]))
        with pytest.raises(ValueError, match=message):
            coco_file_average_precision(instances, results, kind="masks")
    results.write_text(json.dumps([{**entries[0], "category_id": 77}]))
    scores = coco_file_average_precision(instances, results)
    assert scores.unknown_labels == {"category 77": 1}
    results.write_text("{}")
    with pytest.raises(ValueError, match=r"list of results in .*results\.json"):
        coco_file_average_precision(instances, results)
    results.write_text("[]")
    assert coco_file_average_precision(instances, results).ap == 0
    instances.write_text('{"images": [{}]}')
    with pytest.raises(ValueError, match=r"Expected images\.0\.id in .*json"):
        coco_file_average_precision(instances, results)
