"""Words in photographs: ICDAR 2015, Total-Text and HierText.

The truth's things are the boxes of the words with their texts as labels. Under details
are "polygons", the corners [[x, y], ...] of each in pixels, and "ignored", whether it
counts for nothing, found or not. The response has a box and the text of each word that
counts, from top to bottom. The papers' form of it is not published (arXiv:2412.03555
section 4.2 says what is measured); this one is that of `detect`.

ICDAR 2015, challenge 4 (rrc.cvc.uab.es/?ch=4): `gt_img_1.txt` of `img_1.jpg` has a line
x1,y1,x2,y2,x3,y3,x4,y4,text for each word; the text "###" is one to ignore. The files
begin with a byte order mark, and texts may have commas.

Total-Text (github.com/cs-chan/Total-Text-Dataset, Groundtruth/Text, the .txt format):
`poly_gt_img1.txt` of `img1.jpg` has for each word `x: [[153 161 179]], y: [[347 323
305]], ornt: [u'c'], transcriptions: [u'the']`; numbers may go on in the next line.
Orientation or text "#" is one to ignore.

HierText (github.com/google-research-datasets/hiertext): `gt/validation.jsonl` is one
JSON object of "annotations", with image_id, image_width, image_height, and paragraphs
of lines of words (vertices, text, legible). Words that are not legible are ignored.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_pg2.codecs.detections import Detections
from keras_pg2.datasets.checks import OnBad, Problems, check_text
from keras_pg2.datasets.coco_pictures import picture_size
from keras_pg2.datasets.public.entries import collect, read_id
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.packed_files import stream_lines
from keras_pg2.datasets.public.published_files import Pictures, find_file
from keras_pg2.datasets.public.structures.detection import things_text
from keras_pg2.datasets.public.structures.folders import find_folder
from keras_pg2.datasets.text_files import decode
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.json_files import parse_value, read_file
from keras_pg2.metrics.metric import Id, Truth

PROMPT = "detect text"
_ICDAR = {
    "test": ("Challenge4_Test_Task1_GT", "ch4_test_images"),
    "train": ("ch4_training_localization_transcription_gt", "ch4_training_images"),
}


class Word(NamedTuple):
    """A word of a picture.

    points: corners [x, y] in pixels.
    text: "" or a mark where it is ignored.
    is_ignored: whether it counts for nothing, found or not.
    """

    points: list[list[float]]
    text: str
    is_ignored: bool


_TOTAL_TEXT = re.compile(
    r"x:\s*\[\[([^]]*)\]\],\s*y:\s*\[\[([^]]*)\]\],\s*ornt:\s*\[([^]]*)\],\s*"
    r"transcriptions:\s*\[(u?'(?:[^'\\]|\\.)*'|u?\"(?:[^\"\\]|\\.)*\"|)\]"
)


def read_icdar15(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return ICDAR 2015's pictures with their words."""
    truths, images = _ICDAR[split]
    folders = find_folder(directory, images, ""), find_folder(directory, truths, "")

    def read_words(content: str) -> list[Word]:
        lines = enumerate(content.splitlines(), start=1)
        return [_icdar_word(line, number) for number, line in lines if line.strip()]

    return _read_pairs(*folders, "img_", "gt_", read_words, Problems(on_bad))


def read_total_text(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return Total-Text's pictures with their words."""
    part = split.capitalize()
    texts = (f"txt_format/{part}", f"Groundtruth/Polygon/{part}", f"Polygon/{part}")
    folders = find_folder(directory, f"Images/{part}"), find_folder(directory, *texts)
    return _read_pairs(*folders, "img", "poly_gt_", _total_text_words, Problems(on_bad))


def _read_pairs(
    images: Path,
    texts: Path,
    name: str,
    prefix: str,
    read_words: Callable[[str], list[Word]],
    problems: Problems,
) -> Examples:
    """Return pictures with their words, a file of text for each.

    Args:
        images: Folder of the pictures.
        texts: Folder of the texts.
        name: What names of pictures begin with.
        prefix: What stands before it in the name of a text.
        read_words: Returns the words of a text.
        problems: Stops at bad files, or collects what is wrong with them.

    Raises:
        FileNotFoundError, ValueError: if a picture or text is without the other, or a
            text is not as described.
    """
    files = {path.stem: path for path in sorted(images.glob(f"{name}*.*"))}
    files = {stem: path for stem, path in files.items() if path.suffix != ".txt"}
    stems = {path.stem.removeprefix(prefix) for path in texts.glob(f"{prefix}*.txt")}

    def read(entry: Fields) -> Example:
        stem = entry.text("name")
        path = texts / f"{prefix}{stem}.txt"
        if stem not in files:
            raise FileNotFoundError(
                f"Expected the picture {images / stem}.jpg, which does not exist."
            )
        if not path.is_file():
            raise FileNotFoundError(f"Expected the file {path}, which does not exist.")
        return _example(
            stem, str(files[stem]), read_words(decode(read_file(path), path))
        )

    names = sorted(files.keys() | stems, key=_number)
    if not names:
        raise FileNotFoundError(
            f"Expected pictures {name}1.jpg, {name}2.jpg, ... in {str(images)!r} and "
            f"their texts {prefix}{name}1.txt, ... in {str(texts)!r}, received none."
        )
    entries = [(str(texts / f"{prefix}{stem}.txt"), {"name": stem}) for stem in names]
    return collect(entries, read, problems, texts)


def _number(stem: str) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", stem)
    return (int(digits[1]) if digits else 0, stem)


def read_hiertext(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return HierText's pictures with their words."""
    name = f"{split}.jsonl"
    path = find_file(directory, f"gt/{name}", f"gt/{name}.gz", name, f"{name}.gz")
    content = parse_value(b"".join(line for _, line in stream_lines(path)), path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected an object of annotations, received "
            f"{type(content).__name__}. Is it another version of the file?"
        )
    annotations = Fields(content, path).items("annotations", Fields.value)
    pictures = Pictures(directory, split, f"images/{split}")

    def read(entry: Fields) -> Example:
        image_id = read_id(entry, "image_id")
        image = pictures.find("image_id", f"{image_id}.jpg")
        size = (
            entry.integer("image_height", at_least=1),
            entry.integer("image_width", at_least=1),
        )
        found = picture_size(Path(image))
        if found != size[::-1]:
            raise ValueError(
                f"expected a picture of {size[1]} x {size[0]} pixels, as the file "
                f"says, found {found[0]} x {found[1]} in {image}."
            )
        words = [
            _hiertext_word(word)
            for paragraph in _objects(entry, "paragraphs")
            for line in _objects(paragraph, "lines")
            for word in _objects(line, "words")
        ]
        return _example(image_id, image, words)

    entries = [(f"{path}, entry {i}", value) for i, value in enumerate(annotations)]
    return collect(entries, read, Problems(on_bad), path)


def _objects(entry: Fields, name: str) -> list[Fields]:
    found: list[Fields] = entry.items(name, Fields.fields)
    return found


def _hiertext_word(word: Fields) -> Word:
    points = word.items("vertices", lambda items, i: items.items(i, Fields.number))
    is_legible = word.flag("legible")
    text = check_text(word.value("text"), "text", is_empty_allowed=not is_legible)
    return _word(points, text, not is_legible)


def _icdar_word(line: str, number: int) -> Word:
    """Return the word of a line of eight coordinates and a text."""
    cells = line.lstrip("\ufeff").split(",", 8)
    try:
        values = [float(cell) for cell in cells[:8]]
    except ValueError as error:
        raise ValueError(
            f"line {number}: expected eight coordinates and a text, received "
            f"{line!r:.80}."
        ) from error
    if len(cells) < 9:
        raise ValueError(
            f"line {number}: expected eight coordinates and a text, received "
            f"{line!r:.80}."
        )
    points = [values[i : i + 2] for i in range(0, 8, 2)]
    text = check_text(cells[8], f"text of line {number}").strip()
    return _word(points, text, text == "###")


def _total_text_words(content: str) -> list[Word]:
    """Return the words of a file; numbers of one may go over several lines."""
    found = list(_TOTAL_TEXT.finditer(content))
    # What stands between two words, and at the ends, is blank.
    rest = _TOTAL_TEXT.sub("", content)
    if rest.strip():
        raise ValueError(
            "expected words as x: [[..]], y: [[..]], ornt: [u'c'], transcriptions: "
            f"[u'..'], received {rest.strip()[:80]!r}."
        )
    words = []
    for index, match in enumerate(found):
        try:
            xs, ys = ([float(v) for v in part.split()] for part in match.groups()[:2])
        except ValueError as error:
            raise ValueError(
                f"word {index}: expected numbers with blanks between them, received "
                f"{match[0]!r:.80}."
            ) from error
        if len(xs) != len(ys):
            raise ValueError(
                f"word {index}: expected as many x as y, received {len(xs)} and "
                f"{len(ys)}."
            )
        orientation = match[3].strip().lstrip("u").strip("'\"")
        text = ast.literal_eval(match[4]) if match[4] else "#"
        is_ignored = orientation == "#" or text == "#"
        words.append(_word([[x, y] for x, y in zip(xs, ys)], text, is_ignored))
    return words


def _word(points: list[list[float]], text: str, is_ignored: bool) -> Word:
    if len(points) < 3 or any(len(point) != 2 for point in points):
        raise ValueError(
            f"expected a polygon of three or more points x, y, received {points!s:.80}."
        )
    if not np.isfinite(points).all():
        raise ValueError(f"expected finite coordinates, received {points!s:.80}.")
    return Word(points, text, is_ignored)


def _example(id: Id, image: str, words: list[Word]) -> Example:
    width, height = picture_size(Path(image))
    corners = [np.array(word.points) for word in words]
    boxes = [np.concatenate([points.min(0), points.max(0)]) for points in corners]
    things = Detections(
        labels=tuple(word.text for word in words),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
    )
    counting = [i for i, word in enumerate(words) if not word.is_ignored]
    counting.sort(key=lambda i: (things.boxes_xyxy[i, 1], things.boxes_xyxy[i, 0]))
    return Example(
        id=id,
        images=image,
        truth=Truth(
            things=things,
            size=(height, width),
            details={
                "polygons": [word.points for word in words],
                "ignored": [word.is_ignored for word in words],
            },
        ),
        response=things_text(things.take(counting), width, height),
    )


DATA_SETS = (
    DataSet(
        name="icdar15",
        title="ICDAR 2015 incidental scene text",
        source="rrc.cvc.uab.es/?ch=4",
        files="Challenge4_Test_Task1_GT/, ch4_test_images/",
        splits=("test", "train"),
        read=read_icdar15,
        metric="text_spotting",
        prompt=PROMPT,
    ),
    DataSet(
        name="totaltext",
        title="Total-Text: curved text",
        source="github.com/cs-chan/Total-Text-Dataset",
        files="txt_format/Test/, Images/Test/",
        splits=("test", "train"),
        read=read_total_text,
        metric="text_spotting",
        prompt=PROMPT,
    ),
    DataSet(
        name="hiertext",
        title="HierText: words of dense text",
        source="github.com/google-research-datasets/hiertext",
        files="gt/validation.jsonl, validation/",
        splits=("validation", "train"),
        read=read_hiertext,
        metric="text_spotting",
        prompt=PROMPT,
    ),
)
