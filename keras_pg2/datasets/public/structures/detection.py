"""Things in pictures: COCO detection, DocLayNet, and instance files of one's own.

All are COCO instance files, which `datasets/coco.py` reads. DocLayNet's are
`COCO/val.json`, with the pictures in `PNG` (github.com/DS4SD/DocLayNet).

The truth has the boxes, the size of the picture, and under details "crowds" the regions
of many instances, which evaluation forgives, and "areas", of the masks where there are
any. The prompt is `detect a ; b`:

- "present" names the labels that are in the picture, so it is told what to find;
- "all" names all labels of the file;
- "all classes" says `detect all classes`, as the papers' transfer does
  (arXiv:2412.03555 appendix C).

What precision is over all labels needs one of the last two. A picture without any
instance has no example with the first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.location_tokens import boxes_yxyx_to_text, normalize_boxes_xyxy
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.coco import CocoFile, read_coco
from keras_pg2.datasets.coco_entries import CocoImage
from keras_pg2.datasets.coco_pictures import check_sizes, find_images
from keras_pg2.datasets.moving_boxes import JOINT
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import find_file
from keras_pg2.datasets.public.structures.folders import find_folder
from keras_pg2.datasets.same_pictures import joined
from keras_pg2.metrics.metric import Truth

Asked = Literal["present", "all", "all classes"]
_ASKED = ("present", "all", "all classes")


def read_coco_detection(
    directory: Path,
    split: str,
    on_bad: OnBad = "raise",
    asked: Asked = "present",
) -> Examples:
    """Return COCO's pictures with the things in them.

    Args:
        directory: Directory of the data set.
        split: Name of the split.
        on_bad: As for all readers.
        asked: Which labels a prompt names, see above.
    """
    name = f"instances_{split}.json"
    path = find_file(directory, f"annotations/{name}", name)
    folder = find_folder(directory, split, f"images/{split}")
    return things(path, folder, on_bad, asked)


def read_doclaynet(
    directory: Path,
    split: str,
    on_bad: OnBad = "raise",
    asked: Asked = "all classes",
) -> Examples:
    """Return DocLayNet's pages with their parts; as `read_coco_detection`."""
    path = find_file(directory, f"COCO/{split}.json", f"{split}.json")
    return things(path, find_folder(directory, "PNG"), on_bad, asked)


def read_coco_file(
    directory: Path,
    split: str,
    on_bad: OnBad = "raise",
    asked: Asked = "all",
) -> Examples:
    """Return the pictures of an instance file of one's own; as `read_coco_detection`.

    The file is `_annotations.coco.json`, `annotations.json` or `instances.json` of a
    folder named as the split, or of the directory itself, with the pictures beside it
    or in `images`; the path of a file may stand in the place of a directory.
    """
    if directory.is_file():
        path, root = directory, directory.parent
    else:
        root = directory / split if (directory / split).is_dir() else directory
        names = ("_annotations.coco.json", "annotations.json", "instances.json")
        path = find_file(root, *names)
    folder = root / "images" if (root / "images").is_dir() else root
    return things(path, folder, on_bad, asked)


def things(path: Path, folder: Path, on_bad: OnBad, asked: Asked) -> Examples:
    """Return the pictures of an instance file with the things in them.

    Args:
        path: The file.
        folder: Folder of the pictures.
        on_bad: As for all readers.
        asked: Which labels a prompt names, see above.

    Raises:
        FileNotFoundError, PermissionError: if a file is missing or not readable.
        ValueError: if an entry is invalid, a picture has another size than the file
            says, or none is left.
    """
    if asked not in _ASKED:
        raise ValueError(
            f"Expected asked to be one of {', '.join(_ASKED)}, received {asked!r}."
        )
    problems = Problems(on_bad)
    coco = joined(read_coco(path, on_bad, with_masks=False))
    problems.messages += coco.skipped
    paths = find_images(coco, folder, problems=problems)
    paths = check_sizes(coco, paths, problems)
    labels = tuple(dict.fromkeys(coco.labels.values()))
    found, sources = [], []
    for image in coco.images.values():
        names = _names(coco, image, asked, labels)
        if image.id not in paths or not names:
            continue
        source = f"{path}: image {image.id!r}"
        with problems.of(source):
            if image.id in coco.lost:
                raise ValueError(
                    "expected all things in a picture, of which some cannot be used."
                )
            found.append(_example(coco, image, str(paths[image.id]), names))
            sources.append(source)
    problems.check_some_left(len(found), str(path))
    return Examples(found, problems.messages, sources)


def _names(
    coco: CocoFile, image: CocoImage, asked: Asked, labels: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the labels of a prompt; none if there is nothing to ask for."""
    if asked == "all classes":
        return ("all classes",)
    there = {item.label for item in coco.annotations[image.id]}
    return tuple(name for name in labels if asked == "all" or name in there)


def _example(
    coco: CocoFile, image: CocoImage, path: str, names: tuple[str, ...]
) -> Example:
    truth = coco.truths(image.id)
    details: dict[str, Any] = {
        "crowds": coco.truths(image.id, crowds=True),
        "areas": [float(item.area) for item in coco.annotations[image.id]],
    }
    return Example(
        id=image.id,
        images=path,
        truth=Truth(things=truth, size=(image.height, image.width), details=details),
        fields={"names": JOINT.join(names)},
        response=things_text(truth, image.width, image.height),
    )


def things_text(things: Detections, width: int, height: int) -> str:
    """Return things as the model writes them, in their order.

    Args:
        things: Boxes with labels; what is outside of the picture is cut.
        width: Of the picture in pixels.
        height: Likewise.
    """
    if not len(things):
        return ""
    boxes = things.boxes_xyxy.clip(0, [width, height, width, height])
    locations = boxes_yxyx_to_text(normalize_boxes_xyxy(boxes, width, height))
    return JOINT.join(
        f"{location} {label}".strip()
        for location, label in zip(locations, things.labels)
    )


DATA_SETS = (
    DataSet(
        name="coco_detection",
        title="COCO detection: 80 kinds of things",
        source="cocodataset.org/#format-data",
        files="annotations/instances_val2017.json, val2017/",
        splits=("val2017", "train2017", "val2014", "train2014"),
        read=read_coco_detection,
        metric="coco_ap",
        prompt="detect {names}",
    ),
    DataSet(
        name="doclaynet",
        title="DocLayNet: the parts of pages",
        source="github.com/DS4SD/DocLayNet",
        files="COCO/test.json, PNG/",
        splits=("test", "val", "train"),
        read=read_doclaynet,
        metric="coco_ap",
        prompt="detect {names}",
    ),
    DataSet(
        name="coco",
        title="An instance file of one's own in COCO's form",
        source="cocodataset.org/#format-data",
        files="test/_annotations.coco.json, test/ or instances.json, images/",
        splits=("test", "valid", "val", "train"),
        read=read_coco_file,
        metric="coco_ap",
        prompt="detect {names}",
    ),
)
