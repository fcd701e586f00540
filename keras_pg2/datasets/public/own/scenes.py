"""The scenes that the nano preset was made for, as a data set.

Pictures are drawn into the directory when they are read, once. The series of a split
is that of scripts/nano_data.py and docs/nano.md: "test" is held out, "validation" chose
the checkpoint, "train" was trained on (every scene of it, from 0 on). So `start` and
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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ScenePicture:
    """A picture file of a scene, drawn when it is read first.

    Attributes:
        name: Path of the file.
        seed: Seed of the series.
        index: Index of the scene in it.
        size: Height and width in pixels.
    """

    name: str
    seed: int
    index: int
    size: int

    def read(self) -> bytes:
        """Return the content of the file.

        Raises:
            ValueError: if the size is too small to tell shapes apart.
            OSError: if the file cannot be written.
        """
        path = Path(self.name)
        if not path.is_file():
            scene = scenes.sample_scene(scenes.scene_generator(self.seed, self.index))
            picture = Image.fromarray(scenes.render(scene, self.size))
            # It can be drawn again, so nothing waits for the disk.
            with replaced(path, sync=False) as part:
                picture.save(part, "PNG")
        return path.read_bytes()


class _Asked(NamedTuple):
    """A scene, its picture, and what is drawn by chance about it."""

    scene: scenes.Scene
    picture: ScenePicture
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
    seed = SEEDS[split]
    found, sources = [], []
    for index in range(start, start + count):
        rng = scenes.scene_generator(seed, index)
        scene = scenes.sample_scene(rng)
        name = str(directory / f"{split}-{index:06d}-{image_size}.png")
        picture = ScenePicture(name, seed, index, image_size)
        if index == start:
            picture.read()  # So that a wrong size or directory is told at once.
        for example in _TASKS[task](_Asked(scene, picture, rng)):
            found.append(example)
            sources.append(f"Scene {index} of {split}")
    return Examples(found, problems.messages, sources)


def _answers(asked: _Asked) -> Iterator[Example]:
    for question in scenes.questions(asked.scene, asked.rng):
        yield _example(
            asked,
            f"answer en {question.question}",
            question.answer,
            question.kind,
            question.kind,
        )


def _example(
    asked: _Asked, prompt: str, answer: str, kind: str = "", part: str = ""
) -> Example:
    return Example(
        id=f"{asked.picture.index}/{part}" if part else asked.picture.index,
        images=asked.picture,
        truth=Truth(answers=(answer,), kind=kind),
        fields={"prompt": prompt},
    )


def _texts(prompt: str, text: Callable[[scenes.Scene], str]) -> _Task:
    def make(asked: _Asked) -> Iterator[Example]:
        yield _example(asked, prompt, text(asked.scene))

    return make


def _things(verb: str) -> _Task:
    def make(asked: _Asked) -> Iterator[Example]:
        scene, size = asked.scene, asked.picture.size
        masks = scenes.masks(scene, size) if verb == "segment" else None
        yield Example(
            id=asked.picture.index,
            images=asked.picture,
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


def _pope(asked: _Asked) -> Iterator[Example]:
    there = [item.name for item in asked.scene.objects]
    absent = [name for name in _NAMES if name not in there]
    for kind in ("random", "adversarial"):
        for number, name in enumerate(there):
            words = set(name.split())
            near = [other for other in absent if words & set(other.split())]
            other = str(asked.rng.choice(absent if kind == "random" else near))
            for thing, answer in ((name, "yes"), (other, "no")):
                article = "an" if thing[0] in "aeiou" else "a"
                yield _example(
                    asked,
                    f"answer en is there {article} {thing}?",
                    answer,
                    kind,
                    f"{kind}/{number}/{answer}",
                )


def _chair(asked: _Asked) -> Iterator[Example]:
    yield Example(
        id=asked.picture.index,
        images=asked.picture,
        truth=Truth(
            answers=(scenes.caption(asked.scene),),
            details={
                "objects": [item.name for item in asked.scene.objects],
                "all_objects": list(_NAMES),
            },
        ),
        fields={"prompt": "caption en"},
    )


_Task = Callable[[_Asked], Iterator[Example]]
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
