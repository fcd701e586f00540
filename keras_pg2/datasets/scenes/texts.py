"""Scenes in words: captions, questions, detection strings, prompts with responses.

See `keras_pg2.datasets.scenes` for the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from keras_pg2.codecs.location_tokens import bins_to_text
from keras_pg2.datasets.scenes.scene import (
    CANVAS_SIZE,
    COLORS,
    SHAPES,
    Scene,
    SceneObject,
)

QuestionKind = Literal["count", "color", "shape", "position", "existence"]
QUESTION_KINDS: tuple[QuestionKind, ...] = (
    "count",
    "color",
    "shape",
    "position",
    "existence",
)
# PaliGemma's location tokens: round(v * 1023) for v in [0, 1] (big_vision,
# pp/proj/paligemma/segmentation.py).
_MAX_LOCATION_BIN = 1023


class Question(NamedTuple):
    """A question about a scene, without the "answer en" in front."""

    kind: QuestionKind
    question: str
    answer: str


class Example(NamedTuple):
    """A prompt and the one right response. `task` is the first word of the prompt."""

    task: str
    prompt: str
    response: str


def caption(scene: Scene) -> str:
    """All objects from left to right: "a red circle and an orange star"."""
    return _join([f"{_article(o.color)} {o.name}" for o in scene.objects])


def description(scene: Scene) -> str:
    """Size, colour, shape and place of every object, then the text if there is one."""
    sentence = _join(
        [f"a {o.size_word} {o.name} at the {o.position}" for o in scene.objects]
    )
    return f"{sentence}. the text is {scene.text}." if scene.text else f"{sentence}."


def ocr_text(scene: Scene) -> str:
    """The text in the picture, "" where there is none."""
    return scene.text


def questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """One random question of every kind that has one right answer for the scene.

    Answers to "count" may be 0 and to "existence" are "no" half of the time, then
    about a thing that shares its colour or its shape with one in the picture.
    """
    found = [_count_question(scene, rng)]
    item = scene.objects[rng.integers(len(scene.objects))]
    lone_shapes = [o for o in scene.objects if _count(scene, o.shape) == 1]
    if lone_shapes:
        asked = lone_shapes[rng.integers(len(lone_shapes))]
        text = f"what color is the {asked.shape}?"
        found.append(Question("color", text, asked.color))
    lone_colors = [o for o in scene.objects if _count(scene, o.color) == 1]
    if lone_colors:
        asked = lone_colors[rng.integers(len(lone_colors))]
        text = f"what shape is the {asked.color} object?"
        found.append(Question("shape", text, asked.shape))
    found.append(Question("position", f"where is the {item.name}?", item.position))
    name, answer = item.name, "yes"
    if rng.random() < 0.5:
        name, answer = _absent_name(scene, rng), "no"
    text = f"is there {_article(name)} {name}?"
    found.append(Question("existence", text, answer))
    return found


def detection_target(
    scene: Scene,
    names: list[str] | tuple[str, ...],
    mask_text: Callable[[SceneObject], str] | None = None,
) -> str:
    """What `detect <name> ; <name>` answers, or with masks `segment <name> ; <name>`.

    Args:
        scene: the scene.
        names: each a shape ("circle") or a colour and a shape ("red circle").
        mask_text: gives the sixteen `<seg...>` tokens of an object; None for no masks.

    Returns:
        `<locY0><locX0><locY1><locX1> name` of every object a name fits (the mask's
        tokens before the space), joined by " ; ", in the order of `names` and from left
        to right within a name; "" where no name fits anything.

    Raises:
        ValueError: if a name is not such a name.
    """
    parts = []
    for name in names:
        if not _is_name(name):
            raise ValueError(
                'Expected names such as "circle" or "red circle", received '
                f"{name!r}. Shapes are {SHAPES}, colours are {tuple(COLORS)}."
            )
        parts += [
            f"{_location_tokens(o)}{mask_text(o) if mask_text else ''} {name}"
            for o in scene.objects
            if _fits(o, name)
        ]
    return " ; ".join(parts)


def detection_names(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Names to ask for: one or two that are there, at times one that is not.

    All names are of one level, shapes or colours with shapes, so no object fits two.
    """
    is_full = rng.random() < 0.7
    present = sorted({o.name if is_full else o.shape for o in scene.objects})
    rng.shuffle(present)
    names = present[: int(rng.integers(1, 3))]
    if rng.random() < 0.35:
        absent = _absent_name(scene, rng)
        if not is_full:
            left = [s for s in SHAPES if _count(scene, s) == 0]
            absent = str(rng.choice(left))
        names = [absent] if rng.random() < 0.3 else [*names[:1], absent]
        rng.shuffle(names)
    return names


def examples(scene: Scene, rng: np.random.Generator) -> list[Example]:
    """One example of every task, and one `answer` example of every kind of question."""
    names = detection_names(scene, rng)
    detection = detection_target(scene, names)
    return [
        Example("caption", "caption en", caption(scene)),
        Example("describe", "describe en", description(scene)),
        Example("ocr", "ocr", ocr_text(scene)),
        Example("detect", "detect " + " ; ".join(names), detection),
        *(
            Example("answer", f"answer en {q.question}", q.answer)
            for q in questions(scene, rng)
        ),
    ]


def _count_question(scene: Scene, rng: np.random.Generator) -> Question:
    asked = str(rng.choice(["object", "shape", "color"]))
    if asked == "object":
        text, answer = "how many objects are there?", len(scene.objects)
    else:
        # Half of the time a word that is there, or nearly all answers would be 0.
        item = scene.objects[rng.integers(len(scene.objects))]
        words = SHAPES if asked == "shape" else tuple(COLORS)
        word = str(rng.choice(words))
        if rng.random() < 0.5:
            word = item.shape if asked == "shape" else item.color
        plural = f"{word}s" if asked == "shape" else f"{word} objects"
        text, answer = f"how many {plural} are there?", _count(scene, word)
    return Question("count", text, str(answer))


def _absent_name(scene: Scene, rng: np.random.Generator) -> str:
    """A name of no object that shares a word with one, as hard to deny as can be."""
    item = scene.objects[rng.integers(len(scene.objects))]
    names = [f"{item.color} {s}" for s in SHAPES] + [
        f"{c} {item.shape}" for c in COLORS
    ]
    present = {o.name for o in scene.objects}
    return str(rng.choice([n for n in names if n not in present]))


def _count(scene: Scene, word: str) -> int:
    return sum(word in (o.color, o.shape) for o in scene.objects)


def _fits(item: SceneObject, name: str) -> bool:
    return name in (item.shape, item.name)


def _is_name(name: str) -> bool:
    *color, shape = name.split(" ")
    return shape in SHAPES and (not color or (len(color) == 1 and color[0] in COLORS))


def _location_tokens(item: SceneObject) -> str:
    x0, y0, x1, y1 = item.box_xyxy
    bins = (round(v / CANVAS_SIZE * _MAX_LOCATION_BIN) for v in (y0, x0, y1, x1))
    return bins_to_text(bins)


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _join(parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
