"""The commands `detect` and `segment`: boxes and masks of things in pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
import typer

from keras_pg2.cli import options
from keras_pg2.cli.detection_records import (
    CocoFile,
    check_coco,
    format_record,
    keep_detections,
)
from keras_pg2.cli.inputs import (
    check_pictures,
    describe,
    find_pictures,
    read_picture,
)
from keras_pg2.cli.loading import choose_model
from keras_pg2.cli.messages import fail_in_part, print_json, print_result, progress
from keras_pg2.cli.options import ModelChoice, with_options
from keras_pg2.cli.outputs import ENDINGS, plan_outputs
from keras_pg2.start.backends import use_backend

if TYPE_CHECKING:
    from keras_pg2.codecs import Detections
    from keras_pg2.deploy.runners.runner import ExportedModel
    from keras_pg2.tasks import PaliGemma2CausalLM

Task = Literal["detect", "segment"]
TASKS: dict[Task, str] = {"detect": "boxes", "segment": "masks"}
"""With what a drawn copy shows, as its name says."""


class Asked(StrEnum):
    """How labels are put to the model."""

    TOGETHER = "together"
    EACH = "each"
    BOTH = "both"


def _option(help: str, *names: str, **kwargs: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=options.ANSWERS, **kwargs)


@with_options
def find(
    context: typer.Context,
    images: options.Pictures,
    labels: Annotated[
        list[str],
        typer.Option(
            "--labels",
            "--label",
            "-l",
            help="Names of what to look for, with commas between, or given several "
            "times.",
            show_default=False,
        ),
    ],
    *,
    draw: Annotated[
        Path | None,
        _option(
            "Folder of the drawn copies, or for one picture a file that ends in "
            f"{', '.join(ENDINGS)}; sub-folders of pictures are kept. Default: "
            "NAME_boxes.png or NAME_masks.png beside each picture. A file of that name "
            "is replaced.",
            "--draw",
            "--output",
            "-o",
            show_default=False,
        ),
    ] = None,
    no_draw: Annotated[bool, _option("Draw nothing.", "--no-draw")] = False,
    font: Annotated[
        Path | None,
        _option(
            "Font of the drawn names. Default: one that has their letters, if this "
            "machine has one.",
            metavar="FILE.ttf",
            show_default=False,
        ),
    ] = None,
    coco: Annotated[
        Path | None,
        _option(
            "Also write all that was found as a COCO data set, with scores, to be "
            "corrected in an annotation tool; file names are relative to it.",
            metavar="FILE.json",
            show_default=False,
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        _option(
            "Leave out what has a lower score. Default: 0.5 where scores are "
            "probabilities of being right (the preset has detection_scores.json, as "
            "the bundled one), otherwise 0.",
            min=0.0,
            max=1.0,
            show_default=False,
        ),
    ] = None,
    max_overlap: Annotated[
        float | None,
        _option(
            "Of two boxes with one label that overlap by more (IoU) keep the one with "
            "the higher score. Default: keep both (0.5 with --asked both).",
            min=0.0,
            max=1.0,
            show_default=False,
        ),
    ] = None,
    asked: Annotated[
        Asked,
        _option(
            "Labels all in one prompt, each in its own, or both, which takes longest "
            "and finds most.",
            "--asked",
        ),
    ] = Asked.TOGETHER,
    max_detections: Annotated[int, _option("Most things in a picture.", min=1)] = 20,
    batch_size: options.BatchSize = options.BATCH_SIZE,
    choice: ModelChoice,
    as_json: options.AsJson = False,
) -> None:
    """Find things in pictures, as the task that the command is named after."""
    task = cast(Task, context.command.name)
    use_backend(choice.backend)
    chosen = choose_model(choice, with_codec=task == "segment")
    search = Search(
        task=task,
        labels=labels,
        max_detections=max_detections,
        max_overlap=max_overlap,
        min_score=min_score,
        batch_size=batch_size,
        asked=asked.value,
    )
    names = search.names()
    given = images
    images, errors = check_pictures(find_pictures(given, TASKS.values()))
    targets: Sequence[Path | None] = [None] * len(images)
    if not no_draw:
        targets = plan_outputs(images, draw, TASKS[task], given)
    check_font(font)
    coco_file = None
    if coco is not None:
        coco = check_coco(coco, images, has_masks=task == "segment")
        coco_file = CocoFile(coco, names)
    model = chosen.load()
    records = []
    pictures = find_things(model, images, names, search)
    for image, target, (picture, detections) in zip(images, targets, pictures):
        record = keep_detections(image, picture, detections, target, font)
        if coco_file is not None:
            coco_file.add(image, picture.shape, detections)
        if as_json:
            records.append(record)
        else:
            print_result(format_record(record))
    if coco_file is not None:
        coco_file.write()
    if as_json:
        print_json(records)
    fail_in_part(errors, len(images) + len(errors))


def check_font(font: Path | None) -> None:
    """Raise OSError if the file is no font."""
    from keras_pg2.codecs.drawing_fonts import choose_font

    choose_font(font, [], size=12)


@dataclass(frozen=True)
class Search:
    """What is looked for.

    Attributes:
        task: Boxes, or boxes and masks.
        labels: As given; one may hold several, separated by commas.
        max_detections: Most things in a picture.
        max_overlap: IoU over which the worse of two boxes with one label is dropped.
        min_score: Things with a lower score are left out; None is `detect`'s default.
        batch_size: Pictures at a time.
        asked: Whether labels are in one prompt, each in its own, or both.
    """

    task: Task
    labels: Sequence[str]
    max_detections: int = 20
    max_overlap: float | None = None
    min_score: float | None = None
    batch_size: int = options.BATCH_SIZE
    asked: Literal["together", "each", "both"] = "together"

    def names(self) -> list[str]:
        """Return the labels one by one.

        Raises:
            ValueError: if there are no texts, or one is empty, doubled or invalid.
        """
        from keras_pg2.preprocessing import prompts

        names = [name.strip() for label in self.labels for name in label.split(",")]
        prompts.detect(names)
        return names


def find_things(
    model: PaliGemma2CausalLM | ExportedModel,
    images: Sequence[Path],
    names: list[str],
    search: Search,
) -> Iterator[tuple[np.ndarray, Detections]]:
    """Give the pixels of each picture, and what is in them; a batch is in memory."""
    opened: deque[np.ndarray] = deque()

    def read() -> Iterator[np.ndarray]:
        for image in images:
            opened.append(read_picture(image))
            yield opened[-1]

    look = getattr(model, search.task)
    found = look(
        read(),
        names,
        max_detections=search.max_detections,
        max_overlap=search.max_overlap,
        min_score=search.min_score,
        batch_size=search.batch_size,
        asked=search.asked,
    )
    for i, image in enumerate(images, start=1):
        count = f" ({i} of {len(images)})" if len(images) > 1 else ""
        with progress(f"Looking into {describe(image)}{count}"):
            detections = next(found)
        yield opened.popleft(), detections
