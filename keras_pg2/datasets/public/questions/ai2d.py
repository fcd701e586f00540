"""AI2D: questions about diagrams of school books, each with four options.

The files are those of ai2-public-datasets (`ai2d-all.zip`): `questions/0.png.json` has
imageName and "questions", an object by their texts of questionId, answerTexts,
correctAnswer (an index) and abcLabel; `annotations/0.png.json` has the boxes of "text"
with a replacementText. Pictures are in `images/`. `ai2d_test_ids.csv`, published
beside it, has the numbers of the pictures for test, one a line.

A question with abcLabel asks for letters that stand in no published picture: they are
to be drawn over the text. `draw_letters` does it once, into `abc_images/`, with another
font than big_vision's (`datasets/ai2d`), which takes one of the user's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from keras_pg2.checks.texts import shown
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import (
    OPTION_SEPARATOR,
    collect,
    read_id,
    read_options,
    read_text,
)
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import (
    Pictures,
    find_file,
    find_folder,
    read_content,
)
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth
from keras_pg2.preprocessing.images import load_rgb

DRAWN_FOLDER = "abc_images"
_MOST_POINTS = 100
_MIN_POINTS = 4


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    root = _root(directory)
    test_ids = set(
        find_file(directory, "ai2d_test_ids.csv", "ai2d/ai2d_test_ids.csv")
        .read_text("utf-8")
        .split()
    )
    pictures = Pictures(root, "images")
    drawn = root / DRAWN_FOLDER
    drawn_pictures = Pictures(root, DRAWN_FOLDER) if drawn.is_dir() else None
    problems = Problems(on_bad)

    def read(entry: Fields) -> Example:
        name = entry.value("imageName")
        found = pictures.find("imageName", name)
        if entry.flag("abcLabel"):
            if drawn_pictures is None:
                raise ValueError(
                    f"expected the picture with its letters drawn, in {drawn}, which "
                    "is not there. Draw them once: keras_pg2.datasets.public."
                    f"questions.ai2d.draw_letters({str(directory)!r})."
                )
            found = drawn_pictures.find("imageName", name)
        options = read_options(entry, "answerTexts")
        right = entry.integer("correctAnswer", at_most=len(options) - 1)
        return Example(
            id=read_id(entry, "questionId"),
            images=found,
            fields={
                "question": read_text(entry, "question"),
                "options": OPTION_SEPARATOR.join(options),
            },
            truth=Truth(answers=(options[right],)),
        )

    entries: list[tuple[str, Any]] = []
    for path in sorted((root / "questions").glob("*.json")):
        if (path.name.split(".")[0] in test_ids) == (split == "test"):
            with problems.of(str(path)):
                entries += _questions(path)
    return collect(entries, read, problems, root / "questions")


def draw_letters(directory: str | Path) -> Path:
    """Draw the letters that questions of AI2D ask for, and return the new folder.

    Each text of a diagram that has a letter in its place is covered by a white box with
    the letter, as large as fits.

    Args:
        directory: Directory of AI2D. Pictures are written to `abc_images/` in it.

    Raises:
        FileNotFoundError: if its files are not there.
        ValueError: if an annotation or picture is invalid; names the file.
    """
    root = _root(Path(directory).expanduser())
    folder = find_folder(root, "annotations")
    pictures = Pictures(root, "images")
    drawn = root / DRAWN_FOLDER
    drawn.mkdir(exist_ok=True)
    for path in sorted(folder.glob("*.json")):
        with Problems("raise").of(str(path)):
            content = Fields(_object(read_content(path)), "the file")
            texts = content.table("text", Fields.fields)
            name = path.name.removesuffix(".json")
            picture = Image.fromarray(
                load_rgb(pictures.find("picture", name)).astype("uint8")
            )
            for text in texts.values():
                _draw_letter(picture, text)
            picture.save(drawn / name)
    return drawn


def _draw_letter(picture: Image.Image, text: Fields) -> None:
    corners = text.items(
        "rectangle", lambda points, index: points.items(index, Fields.number)
    )
    if [len(corner) for corner in corners] != [2, 2]:
        raise text.error("rectangle", "two corners of two numbers")
    (left, top), (right, bottom) = corners
    letter = text.text("replacementText")
    draw = ImageDraw.Draw(picture)
    if right < left or bottom < top:
        raise text.error("rectangle", "its left upper and right lower corner")
    draw.rectangle((left, top, right, bottom), fill="white")
    for points in range(_MOST_POINTS, _MIN_POINTS - 1, -1):
        font = _font(points)
        width, height = font.getbbox(letter)[2:]
        if width <= right - left and height <= bottom - top:
            break
    draw.text((left + (right - left - width) // 2, top), letter, "black", font)


@cache
def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)


def _root(directory: Path) -> Path:
    """Return where the archive was unpacked: the directory, or "ai2d" in it."""
    for root in (directory / "ai2d", directory):
        if (root / "questions").is_dir():
            return root
    received = "other things" if directory.is_dir() else "no such directory"
    raise FileNotFoundError(
        f"Expected the folder ai2d/questions or questions in {str(directory)!r}, "
        f"received {received}. Unpack ai2d-all.zip there."
    )


def _questions(path: Path) -> list[tuple[str, Any]]:
    content = Fields(_object(read_content(path)), "the file")
    name = content.text("imageName")
    found = content.table("questions", Fields.value)
    return [
        (
            f"{path}, question {index}",
            {**entry, "question": text, "imageName": name}
            if isinstance(entry, dict)
            else entry,
        )
        for index, (text, entry) in enumerate(found.items())
    ]


def _object(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, received {shown(content)}.")
    return content


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "ai2d",
        title="AI2D: questions about diagrams, with options",
        source="prior.allenai.org/projects/diagram-understanding",
        files="ai2d_test_ids.csv, questions/, annotations/, images/",
        splits=("test", "train"),
        read=_read,
    ),
)
