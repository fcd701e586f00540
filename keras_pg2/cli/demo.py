"""The command `demo`: the main job on one picture, step by step, with seconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from keras_pg2.cli.answering import ask_model
from keras_pg2.cli.detecting import TASKS, Search, find_things
from keras_pg2.cli.detection_records import format_record, keep_detections
from keras_pg2.cli.inputs import check_pictures, read_picture
from keras_pg2.cli.loading import choose_checkpoint
from keras_pg2.cli.messages import print_result
from keras_pg2.cli.options import ModelChoice, Sampling, with_options
from keras_pg2.cli.outputs import plan_outputs, prepare_folder, save_picture
from keras_pg2.datasets import scenes
from keras_pg2.start.backends import use_backend

HELD_OUT_SEED = 3
"""A series of scenes that the bundled preset was not trained on."""
PICTURE_SIZE = 448


class Clock:
    """Prints lines with the seconds since the line before."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def report(self, step: str, result: str) -> None:
        """Prints one step, its result and its seconds."""
        now = time.perf_counter()
        print_result(f"[{now - self._last:6.2f} s] {step}: {result}")
        self._last = now


@with_options
def demo(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the drawn scene and the pictures with boxes and masks, "
            "NAME_boxes.png and NAME_masks.png, which are replaced if they are there.",
        ),
    ] = Path("demo-output"),
    image: Annotated[
        Path | None,
        typer.Option(
            help="A picture file of your own. Default: a scene is drawn.",
            show_default=False,
        ),
    ] = None,
    scene: Annotated[
        int, typer.Option(min=0, help="Which scene of the held-out series to draw.")
    ] = 27,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            "--labels",
            "-l",
            help="A thing to look for. Default: things that are in the scene.",
            show_default=False,
        ),
    ] = None,
    *,
    choice: ModelChoice,
) -> None:
    """Caption, answers, text, boxes and masks of one picture, step by step."""
    use_backend(choice.backend)
    chosen = choose_checkpoint(choice)
    clock = Clock()
    output = prepare_folder(output)
    if image is None:
        image, asked, names = draw_scene(output, scene)
        clock.report("Draw a scene", str(image))
    else:
        [image] = check_pictures([image]).good
        asked, names = _open_questions(), list(scenes.SHAPES[:2])
    searches = [Search(task, labels or names) for task in TASKS]
    names = searches[0].names()
    targets = [plan_outputs([image], output, kind)[0] for kind in TASKS.values()]
    model = chosen.load()
    parameters = f"{model.count_params():,} parameters"
    clock.report("Load the model", f"{chosen.title}, {parameters}")
    for prompt, right_answer in asked.items():
        [answer] = ask_model(model, [image], [prompt], Sampling())
        clock.report(prompt, _judge(answer.text, right_answer))
    for search, target in zip(searches, targets):
        try:
            [(picture, found)] = find_things(model, [image], names, search)
        except ConnectionError as error:
            # Boxes need no codec, which may have to be downloaded for masks.
            clock.report(search.task, f"left out: {error}")
            continue
        record = keep_detections(image, picture, found, target)
        clock.report(f"{search.task} {' ; '.join(names)}", format_record(record))


def draw_scene(
    output: Path, scene_index: int
) -> tuple[Path, dict[str, str | None], list[str]]:
    """Draws a held-out scene into `demo_scene_<index>.png`.

    Returns:
        The file; prompts with their right answers; two names of things in it.

    Raises:
        ValueError: when something else has that name.
        OSError: when it cannot be written.
    """
    rng = scenes.scene_generator(HELD_OUT_SEED, scene_index)
    scene = scenes.sample_scene(rng)
    path = output / f"demo_scene_{scene_index}.png"
    _write_scene(scenes.render(scene, PICTURE_SIZE), path)
    asked: dict[str, str | None] = {"caption en": scenes.caption(scene)}
    for question in _three_questions(scene, rng):
        asked[f"answer en {question.question}"] = question.answer
    asked["ocr"] = scenes.ocr_text(scene)
    return path, asked, [item.name for item in scene.objects][:2]


def _write_scene(levels: np.ndarray, path: Path) -> None:
    """Writes a scene, unless it is there already."""
    if not path.exists():
        save_picture(Image.fromarray(levels), path)
    elif not _is_picture_of(levels, path):
        raise ValueError(
            f"Expected {str(path)!r} to be free for the scene, but something else is "
            "there. Choose another --output."
        )


def _is_picture_of(levels: np.ndarray, path: Path) -> bool:
    try:
        return np.array_equal(read_picture(path), levels)
    except ValueError:  # No picture at all.
        return False


def _three_questions(
    scene: scenes.Scene, rng: np.random.Generator
) -> list[scenes.Question]:
    """How many, where, and what colour or whether, each with one right answer."""
    by_kind = {question.kind: question for question in scenes.questions(scene, rng)}
    third = by_kind.get("color", by_kind["existence"])
    return [by_kind["count"], by_kind["position"], third]


def _open_questions() -> dict[str, str | None]:
    """What can be asked about any picture; nobody knows the right answers."""
    return {
        "caption en": None,
        "answer en how many objects are there?": None,
        "ocr": None,
    }


def _judge(text: str, right_answer: str | None) -> str:
    """The answer, and whether it is right where that is known."""
    shown = text or "(no text)"
    if right_answer is None:
        return shown
    if text == right_answer:
        return f"{shown}  (right)"
    return f"{shown}  (right would be: {right_answer or '(no text)'})"
