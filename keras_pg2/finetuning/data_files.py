"""From a data file of any known kind to rows, checked before anything long."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import numpy as np

from keras_pg2.datasets.checks import OnBad
from keras_pg2.datasets.coco import CocoFile, read_coco
from keras_pg2.datasets.detection_rows import EncodeMask, annotation_rows
from keras_pg2.datasets.jsonl import read_jsonl
from keras_pg2.datasets.labelme import read_labelme
from keras_pg2.datasets.rows import Row, Rows, paths_of
from keras_pg2.datasets.tables import read_table
from keras_pg2.datasets.vqa import PROMPT, question_rows, read_textvqa, read_vqav2
from keras_pg2.datasets.yolo import Split, read_yolo
from keras_pg2.finetuning.file_formats import FORMATS, MASKS, find_format
from keras_pg2.finetuning.public_rows import find_public, read_public_rows
from keras_pg2.preprocessing.image_sources import source_name
from keras_pg2.recipes import Recipe

_ABSENT_SHARE = 0.5
_OPTIONS_OF = {
    "prompt": ("jsonl", "table", "vqav2", "textvqa"),
    "annotations": ("vqav2",),
    "image_key": ("jsonl", "table"),
    "prompt_key": ("jsonl", "table"),
    "response_key": ("jsonl", "table"),
    "encoding": ("table",),
    "max_overhang": ("coco", "coco-masks"),
    "absent_share": (
        "coco",
        "coco-masks",
        "yolo",
        "yolo-masks",
        "labelme",
        "labelme-masks",
    ),
}
"""The formats that an option is for."""


def read_rows(
    path: str | Path,
    image_folder: str | Path | None = None,
    *,
    format: str | None = None,
    prompt: str | None = None,
    recipe: Recipe | None = None,
    annotations: str | Path | None = None,
    image_key: str | None = None,
    prompt_key: str | None = None,
    response_key: str | None = None,
    encoding: str | None = None,
    encode_mask: Callable[[], EncodeMask] | None = None,
    absent_share: float | None = None,
    max_overhang: float | None = None,
    split: str = "train",
    on_bad: OnBad = "raise",
    seed: int = 0,
) -> Rows:
    """Reads and checks a whole data file or folder.

    Args:
        path: the file or folder, or the directory of a public data set.
        image_folder: what the paths of pictures are relative to; None for the folder
            of the file.
        format: one of `FORMATS`, or the name of a public data set for its directory;
            None finds it out.
        prompt: for rows that have none of their own, with keys of the row in braces,
            and for questions, where it has "{question}" in it.
        recipe: has the prompt and the share of labels that are not in a picture,
            where these are not given; None for the defaults.
        annotations: the file of answers of VQAv2; None for the one that is named like
            the questions.
        image_key: the key or column of pictures; None for "image".
        prompt_key: the key or column of prompts; None for "prefix".
        response_key: the key or column of answers; None for "suffix".
        encoding: of a table; None for UTF-8.
        encode_mask: makes the encoder of masks, for the formats of masks.
        absent_share: how often labels are asked for that are not in a picture, as in
            `detection_rows`; None for half of the prompts, or for none by a recipe of
            referring expressions, whose things are always there.
        max_overhang: most pixels of a COCO box beyond its picture, as in `read_coco`.
        split: which part of a YOLO or public data set.
        on_bad: "skip" leaves entries that cannot be used out and counts them.
        seed: of the order of things in answers, of absent labels, and of
            the answer among ten.

    Returns:
        The rows. `skipped` says what was left out, `notes` what else was decided.

    Raises:
        FileNotFoundError, PermissionError: when a file or picture is not there.
        ValueError: for a file or entry that cannot be used, naming file and line; for
            an option that the format has no use for.
    """
    path = Path(path).expanduser()
    format = find_format(path) if format is None else format
    public = find_public(format, path)
    if format not in FORMATS and public is None:
        raise ValueError(
            f"Expected a format of {', '.join(FORMATS)}, or the name of a public data "
            f"set and its directory; received {format!r} and {str(path)!r}."
        )
    if not path.exists():
        raise FileNotFoundError(f"Expected a data file, but there is no {str(path)!r}.")
    given = locals()
    for name, formats in _OPTIONS_OF.items():
        takes = format in formats if public is None else name == "prompt"
        if given[name] is not None and not takes:
            raise ValueError(
                f"Expected {name} (--{name.replace('_', '-')}) with data of "
                f"{', '.join(formats)}, received it with {path}, which is {format}. "
                "Leave it out."
            )
    if public is not None:
        if image_folder is not None:
            raise ValueError(
                f"Expected the pictures of {format} below its directory, where they "
                "are published. Received image_folder (--image-folder). Leave it out."
            )
        return read_public_rows(
            public,
            path,
            split,
            prompt=prompt,
            recipe_prompt=_prompt_of(recipe),
            seed=seed,
            on_bad=on_bad,
            encode_mask=encode_mask,
        )
    folder = path.parent if image_folder is None else Path(image_folder).expanduser()
    if format in ("jsonl", "table"):
        ending = "key" if format == "jsonl" else "column"
        names = {"image": image_key, "prompt": prompt_key, "response": response_key}
        keys: dict[str, Any] = {f"{k}_{ending}": v for k, v in names.items() if v}
        keys |= {} if encoding is None else {"encoding": encoding}
        read = read_jsonl if format == "jsonl" else read_table
        own = _prompt_of(recipe) if prompt is None else prompt
        rows = read(path, image_folder, default_prompt=own, on_bad=on_bad, **keys)
        if prompt is not None and not rows.notes:
            note = "The prompt that was given is not used: all rows have their own."
            rows = Rows(rows, rows.skipped, rows.sources, [note], rows.truths)
    elif format in ("vqav2", "textvqa"):
        if format == "textvqa":
            file = read_textvqa(path, folder, on_bad=on_bad)
        else:
            answers = _answers_of(path) if annotations is None else annotations
            file = read_vqav2(path, answers, folder, on_bad=on_bad)
        if prompt is None:
            by_recipe = _prompt_of(recipe) or ""
            prompt = by_recipe if _fields(by_recipe) == ["question"] else PROMPT
        rows = question_rows(file, prompt=prompt, seed=seed, on_bad=on_bad)
    else:
        encode = None
        if format.endswith(MASKS):
            if encode_mask is None:
                raise ValueError(f"Expected encode_mask with the format {format}.")
            encode = encode_mask()
        rows = annotation_rows(
            _read_annotations(path, image_folder, format, max_overhang, split, on_bad),
            folder,
            encode,
            absent_share=_absent_share(recipe, absent_share),
            seed=seed,
            on_bad=on_bad,
        )
    return _with_note_on_nothing(rows)


def _read_annotations(
    path: Path,
    image_folder: str | Path | None,
    format: str,
    max_overhang: float | None,
    split: str,
    on_bad: OnBad,
) -> CocoFile:
    """Return what is in pictures; arguments as in `read_rows`."""
    has_masks = format.endswith(MASKS)
    kind = format.removesuffix(MASKS)
    if kind == "coco":
        # Masks are checked where they are used.
        return read_coco(path, on_bad, with_masks=False, max_overhang=max_overhang)
    if kind == "labelme":
        return read_labelme(path, image_folder, with_masks=has_masks, on_bad=on_bad)
    return read_yolo(
        path,
        image_folder,
        split=_yolo_split(split),
        with_masks=has_masks,
        on_bad=on_bad,
    )


def _yolo_split(split: str) -> Split:
    for known in get_args(Split):
        if split == known:
            return known
    raise ValueError(
        f"Expected a split of {', '.join(get_args(Split))}, received {split!r}."
    )


def _prompt_of(recipe: Recipe | None) -> str | None:
    """Return a recipe's prompt if fields of rows can be filled in."""
    if recipe is None or recipe.prompt == "{prompt}":
        return None
    return recipe.prompt if all(map(str.isidentifier, _fields(recipe.prompt))) else None


def _fields(prompt: str) -> list[str]:
    """Return the names in braces of a recipe's prompt."""
    return [name for _, name, _, _ in Formatter().parse(prompt) if name is not None]


def _absent_share(recipe: Recipe | None, chosen: float | None) -> float:
    if chosen is not None:
        return chosen
    refers = recipe is not None and recipe.prompt == "{expression}"
    return 0.0 if refers else _ABSENT_SHARE


def _with_note_on_nothing(rows: Rows) -> Rows:
    """Tell how many rows say that what is asked for is not there."""
    count = sum(not row["responses"] for row in rows)
    if not count:
        return rows
    note = (
        "Rows with an empty answer, as what they ask for is not in the picture: "
        f"{count} of {len(rows)}."
    )
    notes = [*rows.notes, note]
    return Rows(rows, rows.skipped, rows.sources, notes, rows.truths)


def _answers_of(path: Path) -> Path:
    """v2_OpenEnded_mscoco_train2014_questions.json -> v2_mscoco_..._annotations.json"""
    name = path.name.replace("questions", "annotations").replace("OpenEnded_", "")
    found = path.with_name(name)
    if name == path.name or not found.is_file():
        raise FileNotFoundError(
            f"Expected the answers to {path} beside it, as {found.name}, which is not "
            "there. Pass the file of annotations (--annotations)."
        )
    return found


def fingerprint(rows: Sequence[Row]) -> str:
    """A hash of what rows say, by which a resumed run knows its data again.

    Of pictures with names, as files, frames of videos and pictures with a box, it has
    the names without their folders, which may move.
    """
    digest = hashlib.sha256()
    for row in rows:
        for image in paths_of(row):
            name = source_name(image)
            if name is not None:
                digest.update(os.path.basename(name).encode())
            else:
                digest.update(np.asarray(image).tobytes())
        texts: list[Any] = [row["prompts"], row["responses"]]
        digest.update(json.dumps(texts).encode())
    return digest.hexdigest()[:16]
