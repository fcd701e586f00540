"""Boxes and masks of things in picture files: as text, as data, drawn into copies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import typer

from keras_pg2.cli.answering import check_pictures, find_pictures, load_model
from keras_pg2.cli.messages import progress
from keras_pg2.cli.options import BATCH_SIZE, Settings
from keras_pg2.cli.outputs import expand_user, plan_outputs, save_picture

if TYPE_CHECKING:
    from keras_pg2.codecs import Detections

Task = Literal["detect", "segment"]
TASKS: dict[Task, str] = {"detect": "boxes", "segment": "masks"}
"""With what a drawn copy shows, as its name says."""


@dataclass(frozen=True)
class Search:
    """What is looked for.

    Attributes:
        task: boxes, or boxes and masks.
        labels: as given; one may hold several, separated by commas.
        max_detections: most things in a picture.
        max_overlap: IoU over which the worse of two boxes with one label is dropped.
        min_score: things with a lower score are left out.
        batch_size: pictures at a time.
        asked: whether labels are in one prompt, each in its own, or both.
    """

    task: Task
    labels: Sequence[str]
    max_detections: int = 20
    max_overlap: float | None = None
    min_score: float = 0.0
    batch_size: int = BATCH_SIZE
    asked: Literal["together", "each", "both"] = "together"

    def names(self) -> list[str]:
        """The labels apart.

        Raises:
            ValueError: when there is none, one is empty or double, or no plain text.
        """
        from keras_pg2.preprocessing import prompts

        names = [name.strip() for label in self.labels for name in label.split(",")]
        prompts.detect(names)
        return names


@dataclass(frozen=True)
class Outputs:
    """Where things go that were found.

    Attributes:
        draw: folder or file of drawn copies; None for a file beside each picture.
        is_drawn: whether there are drawn copies at all.
        coco: file of a COCO data set; None for none.
        as_json: whether JSON is printed in the end, instead of text for people.
    """

    draw: Path | None = None
    is_drawn: bool = True
    coco: Path | None = None
    as_json: bool = False


def find_in_pictures(
    paths: Sequence[Path], search: Search, settings: Settings, outputs: Outputs
) -> None:
    """Finds things in picture files and folders, prints, draws and writes them.

    Raises:
        ValueError: for bad labels, pictures or places to write to, before the model
            is loaded.
        OSError: when something cannot be written.
        ImportError: when a COCO file of masks is wanted without pycocotools.
    """
    names = search.names()
    images = check_pictures(_without_drawings(find_pictures(paths), paths))
    targets: Sequence[Path | None] = [None] * len(images)
    if outputs.is_drawn:
        targets = plan_outputs(images, outputs.draw, TASKS[search.task])
    coco = None if outputs.coco is None else _check_coco(outputs.coco, images, search)
    model = load_model(settings)
    records, everything = [], []
    found = find_things(model, images, names, search)
    for image, target, (picture, things) in zip(images, targets, found):
        records.append(keep_things(image, picture, things, target))
        # Not the pixels, of which there may be many.
        everything.append((image, picture.shape, things))
        if not outputs.as_json:
            typer.echo(format_record(records[-1]))
    if coco is not None:
        _write_coco(everything, names, coco)
    if outputs.as_json:
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))


def keep_things(
    image: Path, picture: np.ndarray, things: Detections, target: Path | None
) -> dict[str, Any]:
    """Draws what was found into `target` (None: nowhere); a record of it all.

    Raises:
        OSError: when the drawing cannot be written.
    """
    from keras_pg2.codecs import draw_detections

    if target is not None:
        save_picture(draw_detections(picture, things), target)
    return {
        "image": str(image),
        "width": picture.shape[1],
        "height": picture.shape[0],
        "detections": _things(things),
        "annotated": None if target is None else str(target),
    }


def find_things(
    model: Any, images: Sequence[Path], names: list[str], search: Search
) -> Iterator[tuple[np.ndarray, Detections]]:
    """The pixels of each picture, and what is in them."""
    from keras_pg2.cli.answering import read_picture

    find = getattr(model, search.task)
    for start in range(0, len(images), search.batch_size):
        part = images[start : start + search.batch_size]
        pictures = [read_picture(image) for image in part]
        place = f" ({start + len(part)} of {len(images)})" if len(images) > 1 else ""
        with progress(f"Looking into {part[0]}{place}"):
            found = find(
                pictures,
                names,
                max_detections=search.max_detections,
                max_overlap=search.max_overlap,
                batch_size=search.batch_size,
                asked=search.asked,
            )
        for picture, things in zip(pictures, found):
            sure = np.flatnonzero(things.scores >= search.min_score)
            yield picture, things.take(sure)


def _without_drawings(images: list[Path], paths: Sequence[Path]) -> list[Path]:
    """Leaves out copies that an earlier call has drawn beside pictures of a folder."""
    named = {os.path.abspath(expand_user(path)) for path in paths}
    stems = {image.parent / image.stem for image in images}
    endings = tuple(f"_{what}" for what in TASKS.values())

    def is_drawing(image: Path) -> bool:
        original = image.parent / image.stem.rpartition("_")[0]
        return image.stem.endswith(endings) and original in stems

    return [
        image
        for image in images
        if os.path.abspath(image) in named or not is_drawing(image)
    ]


def _check_coco(path: Path, images: Sequence[Path], search: Search) -> Path:
    path = expand_user(path)
    if path.suffix.lower() != ".json" or path.is_dir():
        raise ValueError(
            f"Expected --coco as a file name ending in .json, received {str(path)!r}."
        )
    folder = path.absolute().parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise OSError(
            f"Expected --coco in a folder that can be written to, received "
            f"{str(path)!r}. Make the folder, or choose another."
        )
    if len({os.path.realpath(image) for image in images}) < len(images):
        raise ValueError(
            "Expected each picture once together with --coco, received one twice."
        )
    if search.task == "segment":
        from keras_pg2.codecs.packages import import_coco_mask

        import_coco_mask()
    return path


def _write_coco(
    everything: list[tuple[Path, tuple[int, ...], Detections]],
    names: list[str],
    path: Path,
) -> None:
    from keras_pg2.codecs.exchange import AnnotatedPicture, to_coco_dataset, write_json

    annotated = [
        AnnotatedPicture(os.path.relpath(image, path.parent), width, height, things)
        for image, (height, width, _), things in everything
    ]
    category_ids = {name: i for i, name in enumerate(names, start=1)}
    write_json(to_coco_dataset(annotated, category_ids), path)
    typer.echo(f"COCO data set written to {path}", err=True)


def _things(found: Detections) -> list[dict[str, Any]]:
    assert found.scores is not None
    things = []
    for i, label in enumerate(found.labels):
        box = [round(v, 1) for v in found.boxes_xyxy[i].astype(float).tolist()]
        score = round(float(found.scores[i]), 4)
        thing = {"label": label, "box_xyxy": box, "score": score}
        if found.masks is not None:
            thing["mask_pixels"] = int(found.masks[i].sum())
        things.append({**thing, "tokens": found.tokens[i]})
    return things


def format_record(record: dict[str, Any]) -> str:
    """A record for people to read."""
    found = record["detections"]
    lines = [
        f"{record['image']} ({record['width']} x {record['height']} pixels): "
        f"{len(found)} found"
    ]
    if found:
        width = max(5, *(len(item["label"]) for item in found))
        has_masks = "mask_pixels" in found[0]
        columns = ["x1", "y1", "x2", "y2", "score"] + ["pixels"] * has_masks
        names = "".join(f"{name:>8}" for name in columns)
        lines.append(f"  {'label':<{width}}{names}")
    for item in found:
        numbers = "".join(f"{v:8.1f}" for v in item["box_xyxy"])
        numbers += f"{item['score']:8.2f}"
        if has_masks:
            numbers += f"{item['mask_pixels']:8d}"
        lines.append(f"  {item['label']:<{width}}{numbers}")
    if record["annotated"]:
        lines.append(f"  drawn into {record['annotated']}")
    return "\n".join(lines)
