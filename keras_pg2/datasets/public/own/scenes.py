"""The scenes that the nano preset was made for, as a data set.

Pictures are drawn into the directory, once. The series of a split is that of
scripts/nano_data.py and docs/nano.md: "test" is held out, "validation" chose the
checkpoint, "train" was trained on (every scene of it, from 0 on). So `start` and
`count` of "test" may be anything.

Tasks:

- "answer": a question of each kind that has one right answer; the kind is that of the
  question;
- "caption", "describe", "ocr": the text of each scene;
- "detect", "segment": all four shapes are asked for, there or not; the truth has boxes,
  and masks;
- "pope": is there such a thing, as often yes as no; things that are not there share
  their colour or shape with one that is ("adversarial"), or are any ("random");
- "chair": captions; details have "objects", the names of what is there, and
  "all_objects", of what there can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_pg2.codecs.detections import Detections
from keras_pg2.datasets import scenes
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.moving_boxes import JOINT
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.files.whole_files import replaced
from keras_pg2.metrics.metric import Truth

SEEDS: Mapping[str, int] = {"test": 3, "validation": 2, "train": 1}
"""Seed of the series of each split."""
_NAMES = tuple(f"{color} {shape}" for color in scenes.COLORS for shape in scenes.SHAPES)


class _Drawn(NamedTuple):
    """A scene, its picture, and what is asked about it by chance."""

    number: int
    scene: scenes.Scene
    path: str
    size: int
    rng: np.random.Generator


def read_scenes(
    directory: Path,
    split: str,
    on_bad: OnBad = "raise",
    task: str = "answer",
    count: int = 1000,
    start: int = 0,
    image_size: int = 224,
) -> Examples:
    """Return examples of a task about scenes, drawn as the module says.

    Args:
        directory: Where pictures are drawn to; made if need be.
        split: Name of the split.
        on_bad: As for all readers; no scene is bad.
        task: The task.
        count: Number of scenes.
        start: Index of the first in the series.
        image_size: Height and width of the pictures in pixels.

    Raises:
        ValueError: if the task is unknown, or a number is out of range.
        OSError: if a picture cannot be written.
    """
    problems = Problems(on_bad)
    if task not in _TASKS:
        raise ValueError(
            f"Expected task to be one of {', '.join(_TASKS)}, received {task!r}."
        )
    if count < 1 or start < 0:
        raise ValueError(
            f"Expected count >= 1 and start >= 0, received {count} and {start}."
        )
    directory.mkdir(parents=True, exist_ok=True)
    found, sources = [], []
    for index in range(start, start + count):
        drawn = _draw(directory, split, index, image_size)
        for example in _TASKS[task](drawn):
            found.append(example)
            sources.append(f"Scene {index} of {split}")
    return Examples(found, problems.messages, sources)


def _draw(directory: Path, split: str, index: int, size: int) -> _Drawn:
    rng = scenes.scene_generator(SEEDS[split], index)
    scene = scenes.sample_scene(rng)
    path = directory / f"{split}-{index:06d}-{size}.png"
    if not path.is_file():
        # It can be drawn again, so nothing waits for the disk.
        with replaced(path, sync=False) as part:
            Image.fromarray(scenes.render(scene, size)).save(part, "PNG")
    return _Drawn(index, scene, str(path), size, rng)


def _answers(drawn: _Drawn) -> Iterator[Example]:
    for question in scenes.questions(drawn.scene, drawn.rng):
        yield _example(
            drawn,
            f"answer en {question.question}",
            question.answer,
            question.kind,
            question.kind,
        )


def _example(
    drawn: _Drawn, prompt: str, answer: str, kind: str = "", part: str = ""
) -> Example:
    return Example(
        id=f"{drawn.number}/{part}" if part else drawn.number,
        images=drawn.path,
        truth=Truth(answers=(answer,), kind=kind),
        fields={"prompt": prompt},
    )


def _texts(prompt: str, text: Callable[[scenes.Scene], str]) -> _Task:
    def make(drawn: _Drawn) -> Iterator[Example]:
        yield _example(drawn, prompt, text(drawn.scene))

    return make


def _things(verb: str) -> _Task:
    def make(drawn: _Drawn) -> Iterator[Example]:
        scene, size = drawn.scene, drawn.size
        masks = scenes.masks(scene, size) if verb == "segment" else None
        yield Example(
            id=drawn.number,
            images=drawn.path,
            truth=Truth(
                things=Detections(
                    labels=tuple(item.shape for item in scene.objects),
                    boxes_xyxy=scenes.boxes_xyxy(scene, size),
                    masks=masks,
                ),
                size=(size, size),
            ),
            fields={"prompt": f"{verb} {JOINT.join(scenes.SHAPES)}"},
            # Mask tokens are those of a codec, which no reader has.
            response=None
            if verb == "segment"
            else scenes.detection_target(scene, scenes.SHAPES),
        )

    return make


def _pope(drawn: _Drawn) -> Iterator[Example]:
    there = [item.name for item in drawn.scene.objects]
    absent = [name for name in _NAMES if name not in there]
    for kind in ("random", "adversarial"):
        for number, name in enumerate(there):
            words = set(name.split())
            near = [other for other in absent if words & set(other.split())]
            other = str(drawn.rng.choice(absent if kind == "random" else near))
            for asked, answer in ((name, "yes"), (other, "no")):
                article = "an" if asked[0] in "aeiou" else "a"
                yield _example(
                    drawn,
                    f"answer en is there {article} {asked}?",
                    answer,
                    kind,
                    f"{kind}/{number}/{answer}",
                )


def _chair(drawn: _Drawn) -> Iterator[Example]:
    yield Example(
        id=drawn.number,
        images=drawn.path,
        truth=Truth(
            answers=(scenes.caption(drawn.scene),),
            details={
                "objects": [item.name for item in drawn.scene.objects],
                "all_objects": list(_NAMES),
            },
        ),
        fields={"prompt": "caption en"},
    )


_Task = Callable[[_Drawn], Iterator[Example]]
_TASKS: Mapping[str, _Task] = {
    "answer": _answers,
    "caption": _texts("caption en", scenes.caption),
    "describe": _texts("describe en", scenes.description),
    "ocr": _texts("ocr", scenes.ocr_text),
    "detect": _things("detect"),
    "segment": _things("segment"),
    "pope": _pope,
    "chair": _chair,
}
_METRICS = {
    "detect": "coco_ap",
    "segment": "coco_ap_masks",
    "pope": "pope",
    "chair": "chair",
}


def _data_set(name: str, task: str) -> DataSet:
    return DataSet(
        name=name,
        title=f"Scenes of the nano preset: {task}",
        source="keras_pg2 docs/nano.md",
        files="test-000000-224.png",
        splits=tuple(SEEDS),
        read=read_scenes if name == "scenes" else partial(read_scenes, task=task),
        metric=_METRICS.get(task, "exact_match"),
        prompt="{prompt}",
    )


DATA_SETS = (
    _data_set("scenes", "answer"),
    *(_data_set(f"scenes_{task}", task) for task in _TASKS if task != "answer"),
)
