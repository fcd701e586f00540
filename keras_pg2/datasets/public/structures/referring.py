"""RefCOCO, RefCOCO+ and RefCOCOg: an expression, and the thing that it refers to.

`datasets/refcoco.py` reads the files: `refs(unc).p` of RefCOCO and RefCOCO+ or
`refs(umd).p` of RefCOCOg beside `instances.json`, in the folders `refcoco`, `refcoco+`
and `refcocog` (github.com/lichengunc/refer); the pictures are COCO's `train2014`.

An example is an expression, its prompt the expression alone (big_vision
`transfers/refcoco_seg.py`). The truth has box and mask of the thing, and the size of
the picture. Expressions of one thing share the mask (RefCOCO val: 1.2 GB); things to
train on have no mask in the truth (of 13 GB), but in the response.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from keras_pg2.checks.texts import first_names
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.coco import CocoFile, read_coco
from keras_pg2.datasets.coco_pictures import find_images
from keras_pg2.datasets.detection_rows import EncodeMask, instance_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import find_file
from keras_pg2.datasets.public.structures.folders import find_folder
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.datasets.refcoco import (
    Reference,
    join_references,
    of_split,
    read_references,
)
from keras_pg2.metrics.metric import Truth

_FILES = {
    "refcoco": "refs(unc).p",
    "refcoco+": "refs(unc).p",
    "refcocog": "refs(umd).p",
}
_PICTURES = ("train2014", "images/train2014", "images/mscoco/images/train2014")


def read_referring(
    directory: Path,
    split: str,
    on_bad: OnBad = "raise",
    encode_mask: EncodeMask | None = None,
    *,
    name: str,
) -> Examples:
    """Return the expressions of one of the three data sets.

    Args:
        directory: Directory of the data set, or that of all three.
        split: Name of the split.
        on_bad: As for all readers.
        encode_mask: Gives the sixteen `<seg...>` tokens of a mask bool[H, W] within a
            box_xyxy float[4] in pixels, to train on; None has no response.
        name: Which of them.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as `read_references`,
            `read_coco` and `refcoco_rows`.
    """
    references, coco = _read(directory, name, on_bad)
    folder = find_folder(directory, *_PICTURES)
    return _examples([(name, references, coco)], folder, split, on_bad, encode_mask)


def read_joined(
    directory: Path,
    split: str,
    on_bad: OnBad = "raise",
    encode_mask: EncodeMask | None = None,
) -> Examples:
    """Return the expressions of all three, joined as the papers train on them.

    "testA" and "testB" are "test", and pictures of the other splits are left out of
    the training split. Arguments and errors are those of `read_referring`.
    """
    parts = {name: _read(directory, name, on_bad) for name in _FILES}
    held_out = {
        reference.image_id
        for references, _ in parts.values()
        for reference in references
        if reference.split != "train"
    }
    sets = []
    for name, (references, coco) in parts.items():
        kept = tuple(
            reference
            for reference in join_references([references])
            if reference.split != "train" or reference.image_id not in held_out
        )
        sets.append((name, kept, coco))
    folder = find_folder(directory, *_PICTURES)
    return _examples(sets, folder, split, on_bad, encode_mask)


def _read(
    directory: Path, name: str, on_bad: OnBad
) -> tuple[tuple[Reference, ...], CocoFile]:
    """Return the references of a data set, and its boxes and masks."""
    path = find_file(directory, f"{name}/{_FILES[name]}", _FILES[name])
    references = read_references(path)
    coco = read_coco(find_file(path.parent, "instances.json"), on_bad)
    return references, coco


def _examples(
    sets: list[tuple[str, tuple[Reference, ...], CocoFile]],
    folder: Path,
    split: str,
    on_bad: OnBad,
    encode_mask: EncodeMask | None,
) -> Examples:
    problems = Problems(on_bad)
    found, sources = [], []
    # Masks of all training pictures would fill the memory.
    kind: Literal["boxes", "masks"] = "boxes" if split == "train" else "masks"
    for name, references, coco in sets:
        problems.messages += coco.skipped
        found_splits = sorted({reference.split for reference in references})
        if split not in found_splits:
            raise ValueError(
                f"{coco.path.parent}: expected references of the split {split}, "
                f"received those of {first_names(found_splits)}."
            )
        pairs = of_split(references, coco, split)
        wanted = {item.image_id for _, item in pairs}
        paths = find_images(coco, folder, wanted, problems)
        for reference, item in pairs:
            source = f"{coco.path.parent}: reference {reference.id!r}"
            if item.image_id not in paths:
                continue
            with problems.of(source):
                if not reference.sentences:
                    raise ValueError("expected at least one expression, received none.")
                image = coco.images[item.image_id]
                truth = Truth(
                    things=coco.as_detections([item], kind),
                    size=(image.height, image.width),
                )
                response = None
                if encode_mask is not None:
                    response = instance_text(coco, item, encode_mask)
                for index, sentence in enumerate(reference.sentences):
                    example = Example(
                        id=f"{name}/{reference.id}/{index}",
                        images=str(paths[item.image_id]),
                        truth=truth,
                        fields={"expression": sentence},
                        response=response,
                    )
                    found.append(example)
                    sources.append(source)
    problems.check_some_left(len(found), "References")
    return Examples(found, problems.messages, sources)


def _data_set(name: str, splits: tuple[str, ...]) -> DataSet:
    return transfer(
        "refcoco_seg",
        name=name,
        title=f"{name}: expressions and the things that they refer to",
        source="github.com/lichengunc/refer",
        files=f"{name}/{_FILES[name]}, {name}/instances.json, train2014/",
        splits=splits,
        read=partial(read_referring, name=name),
    )


DATA_SETS = (
    _data_set("refcoco", ("val", "testA", "testB", "train")),
    _data_set("refcoco+", ("val", "testA", "testB", "train")),
    _data_set("refcocog", ("val", "test", "train")),
    transfer(
        "refcoco_seg",
        title="RefCOCO: RefCOCO+ and RefCOCOg joined, as the papers train on them",
        source="big_vision datasets/refcoco/refcoco.py",
        files="refcoco/, refcoco+/, refcocog/, train2014/",
        splits=("val", "test", "train"),
        read=read_joined,
    ),
)
