"""Texts about screens of mobile applications: Screen2Words and WidgetCap.

Both are about pictures of RICO (`combined/<screen>.jpg` of `unique_uis.tar.gz`).

Screen2Words. `screen_summaries.csv` has a line for each summary (screenId, summary),
`split/dev_screens.txt` the screens of a split, one a line. Sources: github.com/
google-research-datasets/screen2words; big_vision `datasets/screen2words/
screen2words.py`.

WidgetCap. `widget_captions.csv` has screenId, nodeId and captions, with "|" between
them; `split/dev.txt` the screens of a split. A nodeId as "0.1.2" is a path from the
root of RICO's `combined/<screen>.json` ("activity", "root", then its "children"), whose
"bounds" are x1, y1, x2, y2 on a screen of 1440 x 2560: both are scaled by the height of
the picture. The widget has a red box around it, see `boxed_pictures`. Sources:
github.com/google-research-datasets/widget-caption; big_vision
`datasets/widgetcap/widgetcap.py`, `pp/proj/paligemma/widgetcap.py`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from keras_pg2.checks.texts import shown
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.coco_pictures import picture_size
from keras_pg2.datasets.public.captions.boxed_pictures import BoxedPicture
from keras_pg2.datasets.public.captions.grouping import captioned, group
from keras_pg2.datasets.public.entries import collect, read_text
from keras_pg2.datasets.public.examples import Example, Examples
from keras_pg2.datasets.public.packed_files import read_csv, stream_lines
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_content
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields

_RICO = ("combined", "rico/combined", "unique_uis/combined")
_CANVAS_HEIGHT = 2560
_SPLITS = ("test", "dev", "train")


def read_screen2words(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return RICO's screens with their summaries."""
    path = find_file(
        directory, "screen_summaries.csv", "screen2words/screen_summaries.csv"
    )
    listed = find_file(path.parent, f"split/{split}_screens.txt")
    pictures = Pictures(directory, *_RICO)
    problems = Problems(on_bad)
    summaries = group(
        read_csv(path, "screenId", "summary"),
        lambda entry: read_text(entry, "screenId"),
        lambda entry: read_text(entry, "summary"),
        problems,
    )

    def read(entry: Fields) -> Example:
        screen = read_text(entry, "screen")
        return captioned(
            id=screen,
            images=pictures.find("screenId", f"{screen}.jpg"),
            captions=summaries.get(screen, ()),
        )

    screens = [(source, {"screen": screen}) for source, screen in _screens(listed)]
    return collect(screens, read, problems, listed)


def read_widgetcap(
    directory: Path,
    split: str,
    on_bad: OnBad = "raise",
    image_size: int | None = None,
) -> Examples:
    """Return RICO's screens, each with a red box around a widget, and its captions.

    Args:
        directory: Directory of the data set.
        split: Name of the split.
        on_bad: As for all readers.
        image_size: Height and width of the model's pictures, to which a picture is
            stretched before the box is drawn, as in the papers; None draws into the
            picture as it is.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as all readers; and ValueError
            if `image_size` is below 1.
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"Expected image_size >= 1, received {image_size}.")
    path = find_file(
        directory, "widget_captions.csv", "widget-caption/widget_captions.csv"
    )
    listed = find_file(path.parent, f"split/{split}.txt", f"{split}.txt")
    pictures = Pictures(directory, *_RICO)
    wanted = {screen for _, screen in _screens(listed)}
    # Widgets of a screen stand together.
    read_screen = lru_cache(maxsize=16)(_read_screen)

    def read(entry: Fields) -> Example:
        screen, node = read_text(entry, "screenId"), read_text(entry, "nodeId")
        image = pictures.find("screenId", f"{screen}.jpg")
        root, width, height = read_screen(image)
        bounds = _bounds(root, node)
        x1, y1, x2, y2 = (value * height / _CANVAS_HEIGHT for value in bounds)
        box = (y1 / height, x1 / width, y2 / height, x2 / width)
        captions = [part.strip() for part in read_text(entry, "captions").split("|")]
        return captioned(
            id=f"{screen}_{node}",
            images=BoxedPicture(image, node, box, image_size),
            captions=[caption for caption in captions if caption],
        )

    rows = read_csv(path, "screenId", "nodeId", "captions")
    entries = [row for row in rows if row[1]["screenId"].strip() in wanted]
    return collect(entries, read, Problems(on_bad), path)


def _screens(path: Path) -> list[tuple[str, str]]:
    """Return source and name of the screens that a file lists."""
    return [
        (source, line.decode(errors="replace").strip())
        for source, line in stream_lines(path)
    ]


def _read_screen(image: str) -> tuple[Fields, int, int]:
    """Return the root of a screen's elements, and the size of its picture."""
    path = Path(image).with_suffix(".json")
    content = read_content(path)
    if not isinstance(content, dict):
        raise ValueError(f"expected an object in {path}, received {shown(content)}.")
    root = Fields(content, path).fields("activity").fields("root")
    return root, *picture_size(Path(image))


def _bounds(root: Fields, node: str) -> list[float]:
    """Return x1, y1, x2, y2 of an element by its path, as "0.1.2" from the root."""
    found = root
    for part in node.split(".")[1:]:
        children = found.items("children", lambda items, i: (items, i))
        if not (part.isascii() and part.isdecimal()) or int(part) >= len(children):
            raise ValueError(
                f"expected a nodeId of an element of {root.source}, received {node!r}."
            )
        items, index = children[int(part)]
        found = items.fields(index)
    bounds = found.items("bounds", Fields.number)
    if len(bounds) != 4 or bounds[0] > bounds[2] or bounds[1] > bounds[3]:
        raise ValueError(
            f"expected bounds x1, y1, x2, y2 of {node!r} in {root.source}, received "
            f"{bounds}."
        )
    return list(bounds)


DATA_SETS = (
    transfer(
        "screen2words",
        title="Screen2Words: summaries of screens",
        source="github.com/google-research-datasets/screen2words",
        files="screen_summaries.csv, split/, combined/",
        splits=_SPLITS,
        read=read_screen2words,
    ),
    transfer(
        "widgetcap",
        title="WidgetCap: what elements of screens are for",
        source="github.com/google-research-datasets/widget-caption",
        files="widget_captions.csv, split/, combined/",
        splits=_SPLITS,
        read=read_widgetcap,
    ),
)
