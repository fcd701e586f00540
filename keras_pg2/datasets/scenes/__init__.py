"""Procedural pictures with complete annotation: coloured shapes and a short text.

A `Scene` is a value; everything else is a pure function of it: the picture at any
size, one boolean mask and one box per object, a caption, a description, questions with
answers, detection strings and the text that is written in the picture. Nothing is
downloaded, and the same random generator state gives the same scene on any machine.

    scene = sample_scene(scene_generator(seed=1, index=0))
    picture = render(scene, 448)             # uint8[448, 448, 3]
    caption(scene)                           # "a red circle and a blue star"
    masks(scene, 448), boxes_xyxy(scene, 448)  # bool[N, 448, 448], float32[N, 4]

Lengths are in canvas units. The canvas is `CANVAS_SIZE` = 84 units wide and high, so
at the size of the small trained preset one unit is one pixel of the model.
All orders are fixed so that every text can be compared exactly: objects are listed from
left to right (by the centre of their box), detections in the order of the names asked
for and from left to right within a name.
"""

from __future__ import annotations

from keras_pg2.datasets.scenes.drawing import boxes_xyxy, masks, render
from keras_pg2.datasets.scenes.scene import (
    CANVAS_SIZE,
    CHARACTERS,
    COLORS,
    MAX_CHARACTERS,
    MAX_OBJECTS,
    POSITIONS,
    SHAPES,
    Scene,
    SceneObject,
    sample_scene,
    scene_generator,
)
from keras_pg2.datasets.scenes.texts import (
    QUESTION_KINDS,
    Example,
    Question,
    caption,
    description,
    detection_names,
    detection_target,
    examples,
    ocr_text,
    questions,
)

__all__ = [
    "CANVAS_SIZE",
    "CHARACTERS",
    "COLORS",
    "MAX_CHARACTERS",
    "MAX_OBJECTS",
    "POSITIONS",
    "QUESTION_KINDS",
    "SHAPES",
    "Example",
    "Question",
    "Scene",
    "SceneObject",
    "boxes_xyxy",
    "caption",
    "description",
    "detection_names",
    "detection_target",
    "examples",
    "masks",
    "ocr_text",
    "questions",
    "render",
    "sample_scene",
    "scene_generator",
]
