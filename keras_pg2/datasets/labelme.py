"""Folders of LabelMe: pictures, and beside each a JSON file of what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.checks.texts import shown
from keras_pg2.codecs.exchange.labelme import from_labelme
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.coco import CocoFile
from keras_pg2.datasets.coco_pictures import picture_size
from keras_pg2.datasets.collecting import Collector
from keras_pg2.datasets.image_finder import ImageFinder
from keras_pg2.datasets.text_files import read_json_object


def read_labelme(
    path: str | Path,
    image_folder: str | Path | None = None,
    *,
    with_masks: bool = False,
    on_bad: OnBad = "raise",
) -> CocoFile:
    """Reads and checks the files of LabelMe in a folder.

    Args:
        path: the folder of the JSON files, or a single one.
        image_folder: what `imagePath` is relative to; None for the folder of the JSON
            file.
        with_masks: whether masks are kept beside the boxes.
        on_bad: "skip" leaves pictures out whose file cannot be used, and lists them in
            `skipped` of the result.

    Returns:
        The paths of pictures in the place of ids and file names, labels by the order
        in which they come.

    Raises:
        FileNotFoundError: when there is no such folder, or a picture is not there.
        ValueError: when a file is none of LabelMe or has a shape without an area, or a
            picture is of another size than its file says; names the file.
    """
    path = Path(path).expanduser()
    files = labelme_files(path) if path.is_dir() else [path]
    collector = Collector(path, Problems(on_bad))
    for file in files:
        with collector.problems.of(str(file)):
            content = read_json_object(file)
            folder = file.parent if image_folder is None else image_folder
            picture = ImageFinder(folder).find(content.get("imagePath"), "imagePath")
            size = picture_size(Path(picture))
            given = (content.get("imageWidth"), content.get("imageHeight"))
            if given == (None, None):
                content = {**content, "imageWidth": size[0], "imageHeight": size[1]}
            elif given != size:
                raise ValueError(
                    f"expected a picture of {shown(given[0])} x {shown(given[1])} "
                    f"pixels, as the file says, found {size[0]} x {size[1]} in "
                    f"{picture} (upright). Shapes would be in other places."
                )
            found = from_labelme(content, with_masks)
            overhangs = [_overhang(shape, size) for shape in content["shapes"]]
            collector.add(picture, size, found, overhangs)
    return collector.file()


def _overhang(shape: Mapping[str, Any], size: tuple[int, int]) -> float:
    """Return how many pixels a shape that was read ends beyond its picture."""
    points = np.array(shape["points"], np.float64)
    if shape.get("shape_type") == "circle":  # A centre and a point of its edge.
        radius = np.hypot(*(points[1] - points[0]))
        points = np.array([points[0] - radius, points[0] + radius])
    return max(0.0, float(np.maximum(-points, points - size).max()))


def labelme_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder, without hidden ones."""
    return sorted(p for p in folder.glob("*.json") if not p.name.startswith("."))
