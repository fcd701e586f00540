"""One's own files, and the scenes of the nano preset, as data sets."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from keras_pg2.codecs.parsing import parse_detections
from keras_pg2.datasets import scenes
from keras_pg2.datasets.public import registry
from keras_pg2.datasets.public.own.scenes import SEEDS
from keras_pg2.datasets.public.rows import training_rows
from keras_pg2.preprocessing.image_sources import source_name
from keras_pg2.preprocessing.images import load_rgb
from scripts import evaluate_nano, nano_data
from tests.datasets.public.test_captions import case_of, read
from tests.support.public_files import Lines, write_content, write_picture


def test_lines(tmp_path):
    first, second, third = read("jsonl", tmp_path)
    assert first.truth.answers == ("2", "two")
    assert first.fields == {"question": "How many?", "prompt": "answer en How many?"}
    assert second.images == str(tmp_path / "b.png")
    assert third.truth.things.labels == ("cat",)
    assert third.truth.size == (4, 6)
    assert third.response == "<loc0256><loc0171><loc0767><loc0682> cat"
    rows = training_rows([second, third], registry.find("jsonl").prompt)
    assert [row["prompts"] for row in rows] == ["caption en", "detect cat"]
    assert [row["responses"] for row in rows] == ["a cat", third.response]


def test_a_file_in_the_place_of_a_directory_and_what_may_be_left_out(tmp_path):
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name)
    line = {"images": ["a.png", "b.png"], "prefix": "compare", "suffix": "same"}
    lines = [{**line, "kind": "pairs", "language": "en", "weight": 3}] * 2
    write_content(tmp_path / "mine.jsonl", Lines(lines))
    first, second = registry.read("jsonl", tmp_path / "mine.jsonl")
    assert (first.id, second.id) == (0, 1)
    assert first.images == (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    assert first.fields == {"prompt": "compare", "language": "en"}
    assert (first.truth.answers, first.truth.kind) == (("same",), "pairs")


RIGHT = {"image": "a.png", "prompt": "ocr", "answer": "x"}
BOX = {"label": "cat", "box": [1, 1, 4, 3]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": ["a.png"]}, "image or images, received both"),
        ({"question": "What?"}, "one of .*, received prompt and question"),
        ({"answers": ["y"]}, "one of answers and .*, received answers and answer"),
        ({"suffix": "y", "response": "z"}, "response or suffix, .*, received both"),
        ({"answer": None}, "'answer' as text, received NoneType"),
        ({"answer": "<eos>"}, "without '<eos>'"),
        ({"kind": 3}, "kind in the entry as a text"),
        ({"boxes": [{**BOX, "box": [1, 1, 7, 3]}]}, "box 0: .*6 x 4 pixels"),
        ({"boxes": [{**BOX, "box": [4, 1, 1, 3]}]}, "box 0: .*received \\[4"),
        ({"boxes": [{**BOX, "label": "a ; b"}]}, "box 0: .*'a ; b'"),
        ({"boxes": [{"label": "cat"}]}, r"boxes\.0\.box in the entry, which is not"),
    ],
)
def test_bad_lines(tmp_path, changes, message):
    write_picture(tmp_path / "a.png")
    write_content(tmp_path / "test.jsonl", Lines([RIGHT, {**RIGHT, **changes}]))
    with pytest.raises(ValueError, match=f"line 2: .*{message}"):
        registry.read("jsonl", tmp_path)
    assert len(registry.read("jsonl", tmp_path, on_bad="skip")) == 1


@pytest.mark.parametrize("gone", ["prompt", "answer", "image"])
def test_lines_that_lack_something(tmp_path, gone):
    write_picture(tmp_path / "a.png")
    line = {key: value for key, value in RIGHT.items() if key != gone}
    write_content(tmp_path / "test.jsonl", Lines([line]))
    with pytest.raises(ValueError, match=rf"test\.jsonl, line 1: .*{gone}"):
        registry.read("jsonl", tmp_path)


def test_a_coco_file_beside_its_pictures(tmp_path):
    case = case_of("coco")
    write_content(tmp_path / "instances.json", case.content())
    for name in ("images/7.jpg", "images/8.jpg"):
        write_picture(tmp_path / name)
    examples = registry.read("coco", tmp_path)
    assert [e.fields["names"] for e in examples] == ["cat ; dog"] * 2


def test_series_are_those_that_nano_was_trained_and_measured_on():
    assert SEEDS == {
        "test": nano_data.HELD_OUT_SEED,
        "validation": nano_data.VALIDATION_SEED,
        "train": nano_data.TRAINING_SEED,
    }
    assert SEEDS["test"] == evaluate_nano.HELD_OUT_SEED


def test_questions_are_those_that_nano_is_measured_by(tmp_path):
    examples = registry.read("scenes", tmp_path, count=3, start=2)
    found = [(e.fields["prompt"], e.truth.answers, e.truth.kind) for e in examples]
    expected = []
    for index in (2, 3, 4):
        rng = scenes.scene_generator(3, index)
        scene = scenes.sample_scene(rng)
        for question in scenes.questions(scene, rng):
            prompt = f"answer en {question.question}"
            expected.append((prompt, (question.answer,), question.kind))
    assert found == expected
    drawn = scenes.render(scene, 224)
    np.testing.assert_array_equal(load_rgb(examples[-1].images), drawn)
    assert len({e.id for e in examples}) == len(examples)
    assert not examples.skipped


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("caption", scenes.caption),
        ("describe", scenes.description),
        ("ocr", scenes.ocr_text),
    ],
)
def test_texts_of_scenes(tmp_path, task, text):
    examples = registry.read(f"scenes_{task}", tmp_path, count=4, image_size=28)
    # Pictures are drawn when they are read, and the first one at once.
    assert len(list(tmp_path.iterdir())) == 1
    for index, example in enumerate(examples):
        scene = scenes.sample_scene(scenes.scene_generator(3, index))
        assert example.truth.answers == (text(scene),)
        np.testing.assert_array_equal(
            load_rgb(example.images), load_rgb(source_name(example.images))
        )
    assert len(list(tmp_path.iterdir())) == 4
    again = registry.read("scenes", tmp_path, task=task, count=4, image_size=28)
    assert list(again) == list(examples)


def test_things_of_scenes(tmp_path):
    [boxes] = registry.read("scenes_detect", tmp_path, "train", start=27, count=1)
    assert boxes.fields == {"prompt": "detect circle ; square ; triangle ; star"}
    things = boxes.truth.things
    found = parse_detections(boxes.response, 224, 224)
    order = np.argsort(things.boxes_xyxy[:, 0])
    np.testing.assert_allclose(
        found.boxes_xyxy[np.argsort(found.boxes_xyxy[:, 0])],
        things.boxes_xyxy[order],
        atol=0.2,
    )
    assert sorted(found.labels) == sorted(things.labels)
    [masks] = registry.read("scenes_segment", tmp_path, "train", start=27, count=1)
    assert masks.truth.things.masks.shape == (len(things), 224, 224)
    assert masks.response is None


def test_pope_of_scenes(tmp_path):
    examples = registry.read("scenes_pope", tmp_path, count=12, image_size=28)
    counts = Counter((e.truth.kind, e.truth.answers[0]) for e in examples)
    assert len(counts) == 4
    assert len(set(counts.values())) == 1
    for example in examples:
        index, kind, _, answer = str(example.id).split("/")
        scene = scenes.sample_scene(scenes.scene_generator(3, int(index)))
        name = example.fields["prompt"].removesuffix("?").partition(" there ")[2]
        name = name.partition(" ")[2]
        assert (name in [o.name for o in scene.objects]) == (answer == "yes")
        if kind == "adversarial":
            words = {word for o in scene.objects for word in o.name.split()}
            assert words & set(name.split())


def test_objects_of_scenes(tmp_path):
    [example] = registry.read("scenes_chair", tmp_path, count=1, image_size=28)
    scene = scenes.sample_scene(scenes.scene_generator(3, 0))
    details = example.truth.details
    assert details["objects"] == [o.name for o in scene.objects]
    assert len(details["all_objects"]) == 24
    assert set(details["objects"]) <= set(details["all_objects"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "count"}, "task to be one of answer, caption, .*received 'count'"),
        ({"count": 0}, "count >= 1 and start >= 0, received 0 and 0"),
        ({"start": -1}, "count >= 1 and start >= 0, received 1000 and -1"),
        ({"image_size": 8}, "at least 28 pixels, received 8"),
    ],
)
def test_wrong_options_of_scenes(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        registry.read("scenes", tmp_path / "new", **options)
