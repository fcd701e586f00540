"""One's own examples, a JSON object a line.

    {"image": "a.jpg", "question": "how many?", "answers": ["2", "two"], "kind": "num"}
    {"id": 7, "images": ["a.jpg", "b.jpg"], "prompt": "caption en", "answer": "a cat"}
    {"image": "a.jpg", "prompt": "detect cat", "boxes": [{"label": "cat", "box":
     [10, 20, 110, 90]}]}

Keys of a line:

- image, a path, or images, a list of paths, relative to the folder of the file;
- prompt (or prefix), or question, which is asked as `answer en ...`;
- answers, a list of all that are right, or answer;
- boxes, [x1, y1, x2, y2] in pixels with a label, what is to be found;
- id, of its own, the number of the line if left out; kind, by which results are split;
- response (or suffix), the text to train on where it differs from the answers; a suffix
  alone is the answer, too;
- any other text is a field that a prompt can name, as "{language}".

The file is `<split>.jsonl`, `_annotations.<split>.jsonl`, or `annotations.jsonl` of the
directory; the path of a file may stand in the place of a directory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_pg2.checks.texts import shown
from keras_pg2.codecs.detections import Detections
from keras_pg2.datasets.checks import OnBad, Problems, check_text
from keras_pg2.datasets.coco_entries import check_label
from keras_pg2.datasets.coco_pictures import picture_size
from keras_pg2.datasets.public.entries import collect, read_id, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_lines
from keras_pg2.datasets.public.structures.detection import things_text
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

_KEYS = {
    *("id", "image", "images", "prompt", "prefix", "question", "answer", "answers"),
    *("suffix", "boxes", "kind", "response"),
}


def read_own_lines(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return the examples of a file of JSON lines, as the module says."""
    path = directory
    if not directory.is_file():
        names = (f"{split}.jsonl", f"_annotations.{split}.jsonl", "annotations.jsonl")
        path = find_file(directory, *names)
    pictures = Pictures(path.parent, "")
    problems = Problems(on_bad)

    def read(entry: Fields) -> Example:
        images = _images(entry, pictures)
        truth = _truth(entry, images)
        response = _response(entry)
        if response is None and truth.things is not None and truth.size is not None:
            response = things_text(truth.things, truth.size[1], truth.size[0])
        return Example(
            id=read_id(entry, "id"),
            images=images if len(images) > 1 else images[0],
            truth=truth,
            fields=_fields(entry),
            response=response,
        )

    entries = [
        (source, {"id": index, **value} if isinstance(value, dict) else value)
        for index, (source, value) in enumerate(read_lines(path, problems))
    ]
    return collect(entries, read, problems, path)


def _images(entry: Fields, pictures: Pictures) -> tuple[str, ...]:
    """Return the paths of an entry's pictures, at least one."""
    if "images" not in entry:
        return (pictures.find("image", entry.value("image")),)
    if "image" in entry:
        raise ValueError("expected image or images, received both.")
    found = entry.items("images", lambda items, i: items.value(i))
    if not found:
        raise ValueError("expected at least one picture under 'images', received [].")
    return tuple(pictures.find("images", name) for name in found)


def _fields(entry: Fields) -> dict[str, str]:
    """Return what a prompt can name, "prompt" itself among them."""
    names = [name for name in ("prompt", "prefix", "question") if name in entry]
    if len(names) != 1:
        raise ValueError(
            "expected one of prompt, prefix and question, received "
            f"{' and '.join(names) or 'none'}."
        )
    [name] = names
    text = check_text(entry.value(name), name)
    fields = {key: entry.value(key) for key in entry if key not in _KEYS}
    texts = {key: value for key, value in fields.items() if isinstance(value, str)}
    if name == "question":
        return {**texts, "question": text, "prompt": f"answer en {text}"}
    return {**texts, "prompt": text}


def _response(entry: Fields) -> str | None:
    names = [name for name in ("response", "suffix") if name in entry]
    if len(names) == 2 and ("answer" in entry or "answers" in entry):
        raise ValueError("expected response or suffix, to train on, received both.")
    return read_text(entry, names[0]) if names else None


def _truth(entry: Fields, images: tuple[str, ...]) -> Truth:
    names = [name for name in ("answers", "answer") if name in entry]
    if not names and "suffix" in entry:
        names = ["suffix"]
    if len(names) > 1 or not (names or "boxes" in entry):
        raise ValueError(
            "expected one of answers and answer, or suffix, or boxes, received "
            f"{' and '.join(names) or 'none'}."
        )
    answers: tuple[str, ...] = ()
    if names == ["answers"]:
        answers = tuple(entry.items("answers", read_text))
        if not answers:
            raise ValueError("expected at least one answer, received [].")
    elif names:
        answers = (check_text(entry.value(names[0]), names[0]),)
    kind = entry.text("kind", "")
    if "boxes" not in entry:
        return Truth(answers=answers, kind=kind)
    if len(images) != 1:
        raise ValueError(
            f"expected one picture for boxes, received {len(images)} pictures."
        )
    width, height = picture_size(Path(images[0]))
    things = _things(entry.items("boxes", Fields.fields), width, height)
    return Truth(answers=answers, kind=kind, things=things, size=(height, width))


def _things(entries: list[Fields], width: int, height: int) -> Detections:
    labels, boxes = [], []
    for index, one in enumerate(entries):
        labels.append(check_label(one.text("label").strip(), f"box {index}"))
        box = one.items("box", Fields.number)
        x1, y1, x2, y2 = box if len(box) == 4 else (1, 1, 0, 0)
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise ValueError(
                f"box {index}: expected x1, y1, x2, y2 within the picture of {width} x "
                f"{height} pixels, received {shown(box)}."
            )
        boxes.append(box)
    return Detections(tuple(labels), np.array(boxes, np.float32).reshape(-1, 4))


DATA_SETS = (
    DataSet(
        name="jsonl",
        title="JSON lines of one's own",
        source="keras_pg2 docs/evaluation.md",
        files="test.jsonl or _annotations.test.jsonl or annotations.jsonl",
        splits=("test", "valid", "val", "validation", "train"),
        read=read_own_lines,
        metric="exact_match",
        prompt="{prompt}",
    ),
)
