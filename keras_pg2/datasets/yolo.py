"""Folders of YOLO: a data.yaml, pictures, and a text of labels for each picture.

Source: docs.ultralytics.com/datasets/detect, and `ultralytics/data/utils.py`
(`img2label_paths`, `check_det_dataset`) for where files are looked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from keras_pg2.checks.texts import check_unicode, first_names, printable, shown
from keras_pg2.codecs.exchange.yolo import from_yolo
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.coco import CocoFile
from keras_pg2.datasets.coco_pictures import picture_size
from keras_pg2.datasets.collecting import Collector
from keras_pg2.datasets.text_files import decode
from keras_pg2.datasets.yolo_lines import check_lines
from keras_pg2.files.json_fields import MAX_SMALL_BYTES
from keras_pg2.files.json_files import read_file
from keras_pg2.preprocessing.image_files import check_image_file

Split = Literal["train", "val", "test"]

_ENDINGS = (".yaml", ".yml")
_PICTURES = (".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp")
_KEYS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
# All scalars are texts to it, as 7, yes and 2020-01-01 may be names. The one in C is
# six times as fast, and not in every build of PyYAML.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_NULLS = ("", "~", "null", "Null", "NULL")
"""Values of keys that are left open, by YAML's core schema."""


def read_yolo(
    path: str | Path,
    image_folder: str | Path | None = None,
    *,
    split: Split = "train",
    with_masks: bool = False,
    on_bad: OnBad = "raise",
) -> CocoFile:
    """Reads and checks a split of a YOLO data set.

    A picture without a label file, or with an empty one, has nothing in it, as YOLO
    takes it.

    Args:
        path: data.yaml, or its folder.
        image_folder: the folder of pictures; None for that of the split in data.yaml.
            Labels are looked for beside it: `labels` in the place of `images`.
        split: which of the folders in data.yaml.
        with_masks: whether polygons are kept as masks beside the boxes.
        on_bad: "skip" leaves pictures and lines of labels out that cannot be used, and
            lists them in `skipped` of the result.

    Returns:
        The paths of pictures in the place of ids and file names, classes by their
        numbers.

    Raises:
        FileNotFoundError: when there is no data.yaml, no folder of pictures, or not one
            label file.
        ValueError: when data.yaml has no names, other names than its `nc` counts or no
            such split, a line of labels is invalid, labels have no picture, or a
            picture is damaged; names the file and the line.
    """
    file = find_data_yaml(Path(path).expanduser())
    content = _read_yaml(file)
    names = _names(content, file)
    if image_folder is None:
        folders = _folders(content, file, split)
    else:
        folders = [Path(image_folder).expanduser()]
    collector = Collector(file, Problems(on_bad), list(names))
    num_without = num_pictures = 0
    for folder in folders:
        pictures = _pictures(folder, file)
        num_pictures += len(pictures)
        _check_labels_have_pictures(folder, pictures, collector.problems)
        for picture in pictures:
            num_without += _add(picture, names, collector, with_masks)
    if num_pictures and num_without == num_pictures:
        raise FileNotFoundError(
            f"{file}: expected label files as {str(label_path(pictures[0]))!r}, "
            f"received none for {num_pictures} pictures."
        )
    note = f"Pictures without a label file, taken as without objects: {num_without}."
    return collector.file((note,) if num_without else ())


def _add(
    picture: Path, names: list[str], collector: Collector, with_masks: bool
) -> bool:
    """Add a picture, if it can be used; return whether it has no label file."""
    file = label_path(picture)
    size = text = None
    with collector.problems.of(str(picture)):
        check_image_file(picture)
        text = _read_labels(file)
        size = picture_size(picture)
    if size is not None:
        lines = check_lines(text or "", file, names, size, collector.problems)
        with collector.problems.of(str(picture)):
            found = from_yolo(lines.text, names, *size, with_masks)
            collector.add(str(picture), size, found, lines.overhangs, lines.lost)
    return size is not None and text is None


def find_data_yaml(path: Path) -> Path:
    """Return data.yaml of a folder, or the file itself.

    Raises:
        FileNotFoundError: if there is none, or several of other names.
    """
    if not path.is_dir():
        return path
    found = [p for p in sorted(path.iterdir()) if p.suffix.lower() in _ENDINGS]
    named = [p for p in found if p.stem.lower() in ("data", "dataset")]
    for files in (named, found):
        if len(files) == 1:
            return files[0]
    raise FileNotFoundError(
        f"Expected data.yaml in {str(path)!r}, received "
        f"{first_names([p.name for p in found])}. Pass its path."
    )


def label_path(picture: Path) -> Path:
    """Return where the labels of a picture are: `labels` for the last `images`."""
    parts = list(picture.with_suffix(".txt").parts)
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts)


def _read_labels(file: Path) -> str | None:
    return decode(read_file(file), file) if file.is_file() else None


def _read_yaml(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"Expected data.yaml, but there is no {str(file)!r}.")
    text = decode(read_file(file, MAX_SMALL_BYTES), file)
    try:
        content = yaml.load(text, _LOADER)
    # The loader in Python has the others for escapes beyond Unicode.
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        reason = printable(" ".join(str(error).split()))
        raise ValueError(
            f"Expected YAML in {file}. Received: {reason:.300}."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{file}: expected names and folders, received {type(content).__name__}."
        )
    return {
        key: value
        for key, value in content.items()
        if not (isinstance(value, str) and value in _NULLS)
    }


def _names(content: Mapping[str, Any], file: Path) -> list[str]:
    """Return the class names, which are a list, or by their numbers."""
    names = content.get("names")
    numbers = [str(i) for i in range(len(names))] if isinstance(names, dict) else []
    if isinstance(names, dict) and set(names) == set(numbers):
        names = [names[number] for number in numbers]
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name for name in names
    ):
        raise ValueError(
            f"{file}: expected names of the classes, as a list or by their numbers "
            f"from 0, received {shown(names)}."
        )
    for i, name in enumerate(names):
        check_unicode(name, f"the name of class {i} in {file}")
    count = content.get("nc", str(len(names)))
    if count != str(len(names)):
        raise ValueError(
            f"{file}: expected as many names as nc says, received nc: {shown(count)} "
            f"and {len(names)} names. Correct one of them."
        )
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(
            f"{file}: expected different names of the classes, received "
            f"{shown(twice[0])} twice. Give each class a name of its own."
        )
    return names


def _folders(content: Mapping[str, Any], file: Path, split: str) -> list[Path]:
    """Return the folders of pictures of a split."""
    if split not in _KEYS:
        raise ValueError(f"Expected a split of {', '.join(_KEYS)}, received {split!r}.")
    value = next((content[key] for key in _KEYS[split] if content.get(key)), None)
    given = value if isinstance(value, list) else [value]
    listed = [each for each in given if isinstance(each, str)]
    if len(listed) < len(given):
        raise ValueError(
            f"{file}: expected a folder of pictures under {split!r}, received "
            f"{shown(value)}. The file has {shown(list(content))}."
        )
    path = content.get("path") or "."
    if not isinstance(path, str):
        raise ValueError(
            f"{file}: expected a folder under 'path', received {shown(path)}."
        )
    root = file.parent / path
    folders = []
    for each in listed:
        # Roboflow writes ../train/images for what is beside data.yaml.
        tried = [
            base / text.replace("\\", "/")
            for text in (each, each.removeprefix("../"))
            for base in (root, file.parent)
        ]
        folder = next((one for one in tried if one.is_dir()), None)
        if folder is None:
            raise FileNotFoundError(
                f"{file}: expected a folder of pictures at {str(tried[0])!r}, as it "
                f"says under {split!r}, but there is none. Correct it, or pass the "
                "folder as image_folder (--image-folder)."
            )
        folders.append(folder)
    return folders


def _pictures(folder: Path, file: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{file}: expected a folder of pictures, but there is no {str(folder)!r}."
        )
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _PICTURES and not path.name.startswith(".")
    )


def _check_labels_have_pictures(
    folder: Path, pictures: list[Path], problems: Problems
) -> None:
    known = {label_path(picture) for picture in pictures}
    folders = {label_path(folder / "x").parent, *(path.parent for path in known)}
    for labels in sorted(p for each in folders for p in each.glob("*.txt")):
        if labels not in known and labels.name != "classes.txt":
            with problems.of(str(labels)):
                raise FileNotFoundError(
                    f"expected a picture of this name below {folder}, received none."
                )
