"""Captions in many languages: XM3600 and COCO-35L.

The split is the language, or has it at its end, and is the kind of an example; the
prompt is `caption {language}`. "quz" is in XM3600 alone, and the papers' mean is over
the other 35.

XM3600. `captions.jsonl` has a line for each picture: "image/key", and under each
language "caption", a list. Pictures are `images/<key>.jpg`. Sources: google.github.io/
crossmodal-3600; big_vision `datasets/xm3600/xm3600.py`.

COCO-35L. `coco_mt_dev.jsonl` and `coco_mt_train.jsonl`, packed by bzip2 as published or
not, have a line for each caption and language it was translated to: image_id (COCO's
number, before "_"), caption_tokenized, trg_lang, translation_tokenized. The English
captions are those of the lines for German, each of which there is once. Pictures are
COCO's, whose folders `dataset_coco.json` has. Training captions are gigabytes: lines of
other languages are not parsed. Sources: as above; big_vision
`datasets/coco35l/coco35l.py`.
"""

from __future__ import annotations

from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.captions.grouping import captioned, group
from keras_pg2.datasets.public.entries import collect, read_id, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.packed_files import read_streamed
from keras_pg2.datasets.public.published_files import (
    Pictures,
    find_file,
    read_entries,
    read_lines,
)
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields

# fmt: off
LANGUAGES = (
    "en", "ar", "bn", "cs", "da", "de", "el", "es", "fa", "fi", "fil", "fr", "he", "hi",
    "hr", "hu", "id", "it", "ja", "ko", "mi", "nl", "no", "pl", "pt", "ro", "ru", "sv",
    "sw", "te", "th", "tr", "uk", "vi", "zh",
)
# fmt: on
"""The 35 languages of COCO-35L."""


def read_xm3600(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return XM3600's pictures with their captions in one language."""
    path = find_file(directory, "captions.jsonl")
    pictures = Pictures(directory, "images")
    problems = Problems(on_bad)

    def read(entry: Fields) -> Example:
        key = read_text(entry, "image/key")
        return captioned(
            id=f"{key}_{split}",
            images=pictures.find("image/key", f"{key}.jpg"),
            captions=entry.fields(split).items("caption", read_text),
            language=split,
        )

    return collect(read_lines(path, problems), read, problems, path)


def read_coco35l(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return COCO's pictures with their captions in one language."""
    part, language = split.split("_")
    name = f"coco_mt_{part}.jsonl"
    path = find_file(directory, name, f"{name}.bz2")
    pictures = Pictures(directory, "images", "")
    problems = Problems(on_bad)
    listed = find_file(directory, "dataset_coco.json")
    files = group(
        read_entries(listed, "images"),
        lambda entry: read_id(entry, "cocoid"),
        lambda entry: f"{read_text(entry, 'filepath')}/{read_text(entry, 'filename')}",
        problems,
    )
    # Of each English caption there is one line for German.
    target = "de" if language == "en" else language
    key = "caption_tokenized" if language == "en" else "translation_tokenized"

    def read_caption(entry: Fields) -> str | None:
        text = read_text(entry, key)
        return text if entry.text("trg_lang") == target else None

    lines = read_streamed(path, f'"{target}"'.encode(), problems)
    captions = group(lines, _number, read_caption, problems)

    def read(entry: Fields) -> Example:
        number = entry.integer("cocoid")
        if number not in files:
            raise ValueError(
                f"expected a cocoid of {listed}, received {number}. Are both files of "
                "COCO 2014?"
            )
        return captioned(
            id=f"{number}_{language}",
            images=pictures.find("filename", files[number][0]),
            captions=[text for text in captions[number] if text is not None],
            language=language,
        )

    entries = [
        (f"{path}, picture {number}", {"cocoid": number})
        for number, texts in captions.items()
        if any(text is not None for text in texts)
    ]
    if not entries:
        raise ValueError(
            f"{path}: expected captions of the split {split}, received none."
        )
    return collect(entries, read, problems, path)


def _number(entry: Fields) -> int:
    """Return COCO's number of a picture, which stands before "_" in an image_id."""
    number = str(read_id(entry, "image_id")).partition("_")[0]
    if not (number.isascii() and number.isdecimal()):
        raise entry.error("image_id", "COCO's number of a picture, before '_'")
    return int(number)


DATA_SETS = (
    DataSet(
        name="xm3600",
        title="XM3600: captions in 36 languages",
        source="google.github.io/crossmodal-3600",
        files="captions.jsonl, images/",
        splits=(*LANGUAGES, "quz"),
        read=read_xm3600,
        metric="cider",
        prompt="caption {language}",
        recipe="coco35l",
    ),
    transfer(
        "coco35l",
        title="COCO-35L: captions translated to 34 languages, and the English ones",
        source="google.github.io/crossmodal-3600",
        files="coco_mt_dev.jsonl, dataset_coco.json, images/val2014/, "
        "images/train2014/",
        splits=tuple(
            f"{part}_{name}" for part in ("dev", "train") for name in LANGUAGES
        ),
        read=read_coco35l,
    ),
)
