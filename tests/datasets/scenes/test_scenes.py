"""Scenes: the same for everyone, and annotated as they are drawn."""

from __future__ import annotations

import re

import numpy as np
import pytest

from keras_pg2.codecs import parse_detections
from keras_pg2.datasets import scenes

SCENES = []
for _index in range(60):
    _rng = scenes.scene_generator(11, _index)
    SCENES.append((scenes.sample_scene(_rng), _rng))


def test_a_seed_and_an_index_name_one_scene():
    def draw(seed, index):
        return scenes.sample_scene(scenes.scene_generator(seed, index))

    assert draw(1, 2) == draw(1, 2)
    assert draw(1, 2) != draw(1, 3) != draw(2, 3)
    picture = scenes.render(draw(1, 2), 112)
    assert picture.shape == (112, 112, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, scenes.render(draw(1, 2), 112))


@pytest.mark.parametrize("size", [84, 200])
def test_boxes_are_tight_around_masks_and_colours_are_there(size):
    for scene, _ in SCENES[:20]:
        picture = scenes.render(scene, size)
        masks = scenes.masks(scene, size)
        boxes = scenes.boxes_xyxy(scene, size)
        assert masks.sum(axis=0).max() == 1  # No two objects share a pixel.
        for item, mask, box in zip(scene.objects, masks, boxes, strict=True):
            ys, xs = np.nonzero(mask)
            drawn = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            # The tips of stars and triangles are thinner than half a pixel.
            np.testing.assert_allclose(drawn, box, atol=0.06 * size)
            inside = picture[mask].astype(float)
            near = abs(inside - np.array(item.rgb)).max(axis=1) < 8
            assert near.mean() > 0.7


def test_texts_are_drawn_dark_inside_their_box():
    with_text = [scene for scene, _ in SCENES if scene.text]
    assert len(with_text) > 20
    for scene in with_text[:15]:
        dark = scenes.render(scene, 84).max(axis=-1) < 60
        ys, xs = np.nonzero(dark)
        x0, y0, x1, y1 = scene.text_box_xyxy
        assert dark.sum() > 8 * len(scene.text)
        inside = (xs >= x0) & (xs < x1) & (ys >= y0) & (ys < y1)
        assert inside.mean() > 0.97


def names_in(text):
    colors, shapes = "|".join(scenes.COLORS), "|".join(scenes.SHAPES)
    return re.findall(rf"({colors}) ({shapes})", text)


def test_captions_name_every_object_from_left_to_right():
    for scene, _ in SCENES:
        ordered = sorted(
            scene.objects, key=lambda item: item.box_xyxy[0] + item.box_xyxy[2]
        )
        expected = [(item.color, item.shape) for item in ordered]
        assert names_in(scenes.caption(scene)) == expected
        assert names_in(scenes.description(scene)) == expected
        assert scene.text in scenes.description(scene)


def answer_by_hand(scene, question):
    """Answers a question from the boxes alone, in another way than the package."""
    objects = [(i.color, i.shape, i.box_xyxy) for i in scene.objects]
    words = question.rstrip("?").split()
    if question.startswith("how many objects"):
        return str(len(objects))
    if question.startswith("how many"):
        singular = [words[2], words[2].removesuffix("s")]
        return str(sum(c in singular or s in singular for c, s, _ in objects))
    if question.startswith("what color"):
        return next(c for c, s, _ in objects if s == words[-1])
    if question.startswith("what shape"):
        return next(s for c, s, _ in objects if c == words[-2])
    matching = [box for c, s, box in objects if [c, s] == words[-2:]]
    if question.startswith("is there"):
        return "yes" if matching else "no"
    x0, y0, x1, y1 = matching[0]
    column = ["left", "", "right"][int((x0 + x1) / 2 // 28)]
    row = ["top", "", "bottom"][int((y0 + y1) / 2 // 28)]
    return f"{row} {column}".strip() or "center"


def test_answers_follow_from_the_boxes():
    kinds = set()
    for scene, rng in SCENES:
        for kind, question, answer in scenes.questions(scene, rng):
            kinds.add(kind)
            assert answer_by_hand(scene, question) == answer, question
    assert kinds == set(scenes.QUESTION_KINDS)


def test_detection_targets_decode_to_the_boxes():
    for scene, _ in SCENES:
        names = [item.name for item in scene.objects]
        found = parse_detections(scenes.detection_target(scene, names), 84, 84)
        assert list(found.labels) == names
        boxes = scenes.boxes_xyxy(scene, 84)
        np.testing.assert_allclose(found.boxes_xyxy, boxes, atol=84 / 1023)


def test_names_that_are_absent_give_no_box():
    for scene, _ in SCENES:
        absent = [s for s in scenes.SHAPES if all(o.shape != s for o in scene.objects)]
        assert scenes.detection_target(scene, absent) == ""


def test_bad_names_and_sizes():
    scene, _ = SCENES[0]
    with pytest.raises(ValueError, match="red circle"):
        scenes.detection_target(scene, ["dog"])
    with pytest.raises(ValueError, match="at least 28"):
        scenes.render(scene, 10)


def test_every_task_has_an_example():
    scene, rng = SCENES[0]
    tasks = {example.task for example in scenes.examples(scene, rng)}
    assert tasks == {"caption", "describe", "ocr", "detect", "answer"}
