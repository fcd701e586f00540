"""From a data file of any known kind to rows, checked before anything long."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.datasets.coco import read_coco
from keras_pg2.datasets.detection_rows import (
    EncodeMask,
    detection_rows,
    segmentation_rows,
)
from keras_pg2.datasets.jsonl import read_jsonl
from keras_pg2.datasets.rows import OnBad, Row, Rows, choose_rows, paths_of
from keras_pg2.datasets.tables import read_table
from keras_pg2.datasets.vqa import PROMPT, question_rows, read_textvqa, read_vqav2
from keras_pg2.files.json_files import read_json

FORMATS: Mapping[str, str] = {
    "jsonl": "JSON lines of image, prefix, suffix",
    "table": "CSV or TSV with columns image, prefix, suffix",
    "coco": "COCO instances as boxes",
    "coco-masks": "COCO instances as boxes and masks",
    "vqav2": "questions of VQAv2 and OK-VQA, with a file of annotations",
    "textvqa": "TextVQA",
}
"""Kinds of data files."""

_BY_ENDING = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "table", ".tsv": "table"}
_BY_KEY = {"annotations": "coco", "questions": "vqav2", "data": "textvqa"}


def find_format(path: Path) -> str:
    """The kind of a data file, by its ending, and what is in a .json file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is of no known kind.
    """
    if path.is_dir():
        return "table"
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a data file, but there is no {str(path)!r}. Check its path."
        )
    found = _BY_ENDING.get(path.suffix.lower())
    if found is None and path.suffix.lower() == ".json":
        content = read_json(path)
        # COCO's files have "images" too, those of VQAv2's answers have not.
        is_coco = "images" in content and "annotations" in content
        keys = ("annotations",) if is_coco else ("questions", "data")
        found = next((_BY_KEY[key] for key in keys if key in content), None)
    if found is None:
        raise ValueError(
            f"Expected a data file that tells what it is ({', '.join(_BY_ENDING)}, or "
            f"a .json of COCO, VQAv2 or TextVQA), received {str(path)!r}. Pass its "
            f"format: {', '.join(FORMATS)}."
        )
    return found


def read_rows(
    path: str | Path,
    image_folder: str | Path | None = None,
    *,
    format: str | None = None,
    prompt: str | None = None,
    annotations: str | Path | None = None,
    encode_mask: Callable[[], EncodeMask] | None = None,
    on_bad: OnBad = "raise",
    seed: int = 0,
) -> Rows:
    """Reads and checks a whole data file.

    Args:
        path: the file.
        image_folder: what the paths of pictures are relative to; None for the folder
            of the file.
        format: one of `FORMATS`; None finds it out.
        prompt: for rows that have none of their own, and for questions, where it has
            "{question}" in it.
        annotations: the file of answers of VQAv2; None for the one that is named like
            the questions.
        encode_mask: makes the encoder of masks, for "coco-masks".
        on_bad: "skip" leaves entries that cannot be used out and counts them.
        seed: of the order of things in answers, and of the answer among ten.

    Raises:
        FileNotFoundError, PermissionError: when a file or picture is not there.
        ValueError: for a file or entry that cannot be used; names file and line.
    """
    path = Path(path).expanduser()
    format = find_format(path) if format is None else format
    if format not in FORMATS:
        raise ValueError(
            f"Expected a format of {', '.join(FORMATS)}; received {format!r}."
        )
    if not path.exists():
        raise FileNotFoundError(f"Expected a data file, but there is no {str(path)!r}.")
    folder = path.parent if image_folder is None else Path(image_folder).expanduser()
    if format in ("jsonl", "table"):
        own = None if prompt is None or _has_prompts(path, format) else prompt
        read = read_jsonl if format == "jsonl" else read_table
        return read(path, image_folder, prompt=own, on_bad=on_bad)
    if format in ("vqav2", "textvqa"):
        if format == "textvqa":
            file = read_textvqa(path, folder, on_bad=on_bad)
        else:
            answers = _answers_of(path) if annotations is None else annotations
            file = read_vqav2(path, answers, folder, on_bad=on_bad)
        asked = prompt if prompt and "{question}" in prompt else PROMPT
        return question_rows(file, prompt=asked, seed=seed)
    coco = read_coco(path, on_bad)
    if format == "coco":
        made = detection_rows(coco, folder, seed=seed)
    else:
        if encode_mask is None:
            raise ValueError("Expected encode_mask together with the format coco-masks")
        made = segmentation_rows(coco, folder, encode_mask(), seed=seed)
    rows = list(made)
    if not rows:
        raise ValueError(f"{path}: expected annotated pictures, received none.")
    return Rows(rows, coco.skipped)


def _has_prompts(path: Path, format: str) -> bool:
    """Whether rows bring prompts of their own; tells by the first line."""
    if path.is_dir():
        return True
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    if format == "table":
        return b"prefix" in first
    try:
        return "prefix" in json.loads(first.decode("utf-8-sig"))
    except (ValueError, TypeError):
        return True  # The reader says what is wrong with it.


def _answers_of(path: Path) -> Path:
    """v2_OpenEnded_mscoco_train2014_questions.json -> v2_mscoco_..._annotations.json"""
    name = path.name.replace("questions", "annotations").replace("OpenEnded_", "")
    found = path.with_name(name)
    if name == path.name or not found.is_file():
        raise FileNotFoundError(
            f"Expected the answers to {path} beside it, as {found.name}, which is not "
            "there. Pass the file of annotations."
        )
    return found


def split_rows(rows: Rows, share: float, seed: int = 0) -> tuple[Rows, Rows]:
    """Training rows, and evaluation rows of other pictures.

    Args:
        rows: all rows.
        share: of the pictures that are for evaluation, above 0 and below 1; at least
            one on both sides.
        seed: of the choice.

    Raises:
        ValueError: for a share out of range, or fewer than two pictures.
    """
    if not 0 < share < 1:
        raise ValueError(f"Expected a share above 0 and below 1, received {share}.")
    names = [str(paths_of(row)[0]) for row in rows]
    pictures = list(dict.fromkeys(names))
    if len(pictures) < 2:
        raise ValueError(
            f"Expected at least two pictures to split, received {len(pictures)}. Pass "
            "evaluation rows of their own."
        )
    count = min(max(1, round(share * len(pictures))), len(pictures) - 1)
    order = np.random.default_rng(seed).permutation(len(pictures))
    chosen = {pictures[i] for i in order[:count]}
    kept = [i for i, name in enumerate(names) if name not in chosen]
    split = [i for i, name in enumerate(names) if name in chosen]
    return choose_rows(rows, kept, rows.skipped), choose_rows(rows, split)


def fingerprint(rows: Sequence[Row]) -> str:
    """A hash of what rows say, by which a resumed run knows its data again.

    Of pictures in files it has the names without their folders, which may move.
    """
    digest = hashlib.sha256()
    for row in rows:
        for image in paths_of(row):
            if isinstance(image, str | os.PathLike):
                digest.update(os.path.basename(os.fspath(image)).encode())
            else:
                digest.update(np.asarray(image).tobytes())
        texts: list[Any] = [row["prompts"], row["responses"]]
        digest.update(json.dumps(texts).encode())
    return digest.hexdigest()[:16]
