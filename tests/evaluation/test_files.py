"""The directory of an evaluation, written and read again."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from keras_pg2.codecs import Detections
from keras_pg2.evaluation import (
    Evaluation,
    Failure,
    Outcome,
    Published,
    merge,
    read_report,
    write_evaluation,
)
from keras_pg2.metrics import Answer, Truth

MASK = np.zeros((4, 6), bool)
MASK[1:3, 2:5] = True


def made() -> Evaluation:
    things = Detections(
        ("cat", "a; dog"),
        np.array([[0.5, 1, 3, 4], [0, 0, 2.25, 2]], np.float32),
        np.stack([MASK, ~MASK]),
        np.array([0.25, 1], np.float32),
    )
    crowd = Detections(("cat",), np.array([[0, 0, 6, 4]], np.float32))
    outcomes = (
        Outcome(
            id=3,
            image="a.png",
            prompt="segment cat",
            answer=Answer("<loc0000>", -0.5, 3, things, 0.75),
            truth=Truth(
                things=things.take([0]),
                size=(4, 6),
                details={"crowds": crowd, "areas": [3.5], "names": ("a", "b")},
            ),
            score=math.nan,
        ),
        Outcome(
            id="x\u202ey",
            image=("a.png", "b\udcff.png"),
            prompt="what?",
            answer=Answer("é\n\U0001f600"),
            truth=Truth(answers=("é", ""), kind="human"),
            score=0.5,
        ),
    )
    return Evaluation(
        model="nano",
        data_set="scenes",
        split="test",
        recipe=None,
        metric="coco_ap",
        figures={"coco_ap": 0.5, "ap_small": math.nan},
        intervals={"coco_ap": (0.25, 0.75)},
        outcomes=outcomes,
        failures=(Failure(id="bad", image=None, error="no picture"),),
        settings={
            **{"prompt": "{prompt}", "shard": [0, 2], "versions": {"numpy": "2"}},
            **{"num_draws": 20, "level": 0.9, "seed": 3},
        },
        published=Published(
            model="PaliGemma 2 3B, 448 px",
            figures={"anls": 0.736},
            deviations={"anls": 0.003},
            source="a table",
            note="none",
        ),
        seconds=1.5,
    )


def test_what_is_written_is_read(tmp_path):
    written = made()
    write_evaluation(written, tmp_path / "report")
    read = read_report(tmp_path / "report")
    for field in dataclasses.fields(Evaluation):
        if field.name not in ("outcomes", "figures"):
            assert getattr(read, field.name) == getattr(written, field.name)
    assert read.figures["coco_ap"] == 0.5
    assert math.isnan(read.figures["ap_small"])
    first, second = read.outcomes
    assert second == written.outcomes[1]
    own = written.outcomes[0]
    assert math.isnan(first.score)
    assert (first.id, first.answer.text, first.truth.size) == (3, "<loc0000>", (4, 6))
    for a, b in (
        (first.answer.things, own.answer.things),
        (first.truth.things, own.truth.things),
        (first.truth.details["crowds"], own.truth.details["crowds"]),
    ):
        assert a.labels == b.labels
        np.testing.assert_array_equal(a.boxes_xyxy, b.boxes_xyxy)
        assert (a.masks is None) == (b.masks is None)
        if a.masks is not None:
            np.testing.assert_array_equal(a.masks, b.masks)
    assert first.truth.details["areas"] == [3.5]
    assert first.truth.details["names"] == ["a", "b"]
    # JSON has no NaN.
    text = (tmp_path / "report" / "report.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["figures"]["ap_small"] is None


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("report.json", '"num_examples": 2', '"num_examples": 3', "Expected 3 answers"),
        ("report.json", '"metric": "coco_ap"', '"metric": 3', "metric in .*a text"),
        ("report.json", '"num_draws": 20', '"num_draws": 1e9', "num_draws in .*report"),
        ("report.json", '"level": 0.9', '"level": 5', "level in .*report"),
        ("report.json", '"seed": 3', '"seed": "x"', "seed in .*report"),
        ("report.json", '"versions"', '"num_images": [1], "versions"', "num_images"),
        ("predictions.jsonl", '"label": "cat"', '"label": 1', "label in .*line 1"),
        ("predictions.jsonl", '"score": 0.25', '"score": 2', "score in .*line 1"),
        ("predictions.jsonl", '"box": [0.5', '"box": [9.5', "x1 <= x2"),
        ("predictions.jsonl", '{"id": 3,', '{"id": null,', "id in .*line 1"),
        ("predictions.jsonl", '"what?"', "what?", "JSON in .*line 2"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, old, new, message):
    write_evaluation(made(), tmp_path)
    path = tmp_path / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read_report(tmp_path)


@pytest.mark.parametrize(
    "shard",
    [["x", 1], [None, 1], [math.nan, 1], [0, math.inf], [1, 1], [0, 1, 2], [-1, 2]],
)
def test_a_shard_that_is_none(tmp_path, shard):
    write_evaluation(made(), tmp_path)
    path = tmp_path / "report.json"
    report = json.loads(path.read_text())
    report["settings"]["shard"] = shard
    path.write_text(json.dumps(report))
    with pytest.raises(ValueError, match=r"settings.shard.* in .*report\.json|JSON"):
        read_report(tmp_path)


def test_one_of_countless_shards(tmp_path):
    part = made()
    part = dataclasses.replace(part, settings={**part.settings, "shard": [0, 10**9]})
    with pytest.raises(ValueError, match="received 0/1000000000"):
        merge([part])
    own = {"shard": [0, 1], "prompt": "{prompt}"}
    with pytest.raises(ValueError, match="received none of num_draws"):
        merge([dataclasses.replace(part, settings=own)])


def test_masks_of_a_picture_that_fill_the_memory(tmp_path):
    mask = {"size": [10_000, 10_000], "counts": [10**8]}
    thing = {"label": "a", "box": [0, 0, 1, 1], "mask": mask}
    write_evaluation(made(), tmp_path)
    path = tmp_path / "predictions.jsonl"
    first, *others = map(json.loads, path.read_text().splitlines())
    first["truth"]["things"] = [thing] * 100
    path.write_text("".join(json.dumps(one) + "\n" for one in (first, *others)))
    with pytest.raises(ValueError, match=r"line 1.*(GB|together|masks)"):
        read_report(tmp_path)


def test_no_report(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"report\.json"):
        read_report(tmp_path)
