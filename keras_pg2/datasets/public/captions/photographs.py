"""Captions of photographs: COCO, NoCaps, TextCaps and DOCCI.

COCO. Andrej Karpathy's splits are one file, `dataset_coco.json`: "images" with filepath
("val2014"), filename, cocoid, split ("train", "restval", "val", "test") and sentences
(raw). The publisher's own files, `annotations/captions_val2014.json`, hold "images"
(id, file_name) and "annotations" (image_id, caption). Sources: cs.stanford.edu/people/
karpathy/deepimagesent; cocodataset.org/#format-data. The papers train on train and
restval of the first, and evaluate on val (big_vision `transfers/cococap.py`).

NoCaps. `nocaps_val_4500_captions.json` has the form of COCO's files, and a domain for
each picture ("in-domain", "near-domain", "out-domain"), which is the kind of an
example. Sources: nocaps.org; big_vision `datasets/nocaps/nocaps.py`.

TextCaps. `TextCaps_0.1_val.json` has under "data" an entry for each caption: image_id,
image_name, caption_str. Train and val are of the pictures in `train_images`. The papers
train on captions in lower case, and compare with those of the file. Sources:
textvqa.org/textcaps; big_vision `datasets/textcaps/textcaps.py`,
`transfers/textcaps.py`.

DOCCI. `docci_descriptions.jsonlines` has lines of example_id, split ("train", "test",
"qual_dev", "qual_test"), image_file and description; pictures are in `images`. Source:
google.github.io/docci.
"""

from __future__ import annotations

from pathlib import Path

from keras_pg2.checks.texts import first_names, shown
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.captions.grouping import (
    captioned,
    check_split,
    group,
    of_split,
)
from keras_pg2.datasets.public.entries import collect, read_id, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import (
    Pictures,
    find_file,
    read_entries,
    read_lines,
)
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Id

_KARPATHY = ("val", "test", "train", "restval")
_COCO = ("val2014", "train2014", "val2017", "train2017")
_DOCCI = ("test", "train", "qual_dev", "qual_test")
_DOMAINS = ("in-domain", "near-domain", "out-domain")


def read_coco_captions(
    directory: Path, split: str, on_bad: OnBad = "raise"
) -> Examples:
    """Return COCO's pictures with their captions, of either kind of file."""
    if split in _COCO:
        path = find_file(
            directory, f"annotations/captions_{split}.json", f"captions_{split}.json"
        )
        pictures = Pictures(directory, split, f"images/{split}")
        return _read_caption_file(path, pictures, Problems(on_bad))
    path = find_file(directory, "dataset_coco.json")
    pictures = Pictures(directory, "", "images")

    def read(entry: Fields) -> Example:
        check_split(entry, _KARPATHY)
        name = f"{read_text(entry, 'filepath')}/{read_text(entry, 'filename')}"
        return captioned(
            id=read_id(entry, "cocoid"),
            images=pictures.find("filename", name),
            captions=entry.items(
                "sentences", lambda items, i: read_text(items.fields(i), "raw")
            ),
        )

    listed = read_entries(path, "images")
    entries = of_split(listed, split.split("+"), _KARPATHY, path)
    return collect(entries, read, Problems(on_bad), path)


def read_nocaps(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return NoCaps' pictures with their captions, by domain."""
    path = find_file(directory, f"nocaps_{split}_4500_captions.json")
    pictures = Pictures(directory, "validation", "images", "Images/validation")
    return _read_caption_file(path, pictures, Problems(on_bad), has_domains=True)


def read_textcaps(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return TextCaps' pictures with their captions."""
    path = find_file(directory, f"TextCaps_0.1_{split}.json")
    pictures = Pictures(directory, "train_images")
    problems = Problems(on_bad)
    captions = group(
        read_entries(path, "data"),
        _image_id,
        lambda entry: (read_text(entry, "image_name"), read_text(entry, "caption_str")),
        problems,
    )

    def read(entry: Fields) -> Example:
        image_id = _image_id(entry)
        names = {name for name, _ in captions[image_id]}
        if len(names) > 1:
            raise ValueError(
                f"expected one image_name, received {first_names(sorted(names))}."
            )
        return captioned(
            id=image_id,
            images=pictures.find("image_name", f"{names.pop()}.jpg"),
            captions=[text for _, text in captions[image_id]],
        )

    entries = [(f"{path}, image {shown(i)}", {"image_id": i}) for i in captions]
    return collect(entries, read, problems, path)


def read_docci(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return DOCCI's pictures with their descriptions."""
    path = find_file(directory, "docci_descriptions.jsonlines")
    pictures = Pictures(directory, "images")
    problems = Problems(on_bad)

    def read(entry: Fields) -> Example:
        check_split(entry, _DOCCI)
        return captioned(
            id=read_id(entry, "example_id"),
            images=pictures.find("image_file", entry.value("image_file")),
            captions=[read_text(entry, "description")],
        )

    entries = of_split(read_lines(path, problems), [split], _DOCCI, path)
    return collect(entries, read, problems, path)


def _read_caption_file(
    path: Path, pictures: Pictures, problems: Problems, has_domains: bool = False
) -> Examples:
    """Read a file of images and annotations in COCO's form."""
    images = read_entries(path, "images")
    listed = [entry.get("id") for _, entry in images if isinstance(entry, dict)]
    known = {image_id for image_id in listed if isinstance(image_id, int | str)}

    def read_caption(entry: Fields) -> str:
        if read_id(entry, "image_id") not in known:
            raise entry.error("image_id", "the id of a picture of the file")
        return read_text(entry, "caption")

    captions = group(
        read_entries(path, "annotations"), _image_id, read_caption, problems
    )

    def read(entry: Fields) -> Example:
        image_id = read_id(entry, "id")
        return captioned(
            id=image_id,
            images=pictures.find("file_name", entry.value("file_name")),
            captions=captions.get(image_id, ()),
            kind=entry.text("domain", choices=_DOMAINS) if has_domains else "",
        )

    return collect(images, read, problems, path)


def _image_id(entry: Fields) -> Id:
    return read_id(entry, "image_id")


DATA_SETS = (
    transfer(
        "cococap",
        title="COCO captions: five of each picture",
        source="cs.stanford.edu/people/karpathy/deepimagesent; cocodataset.org",
        files="dataset_coco.json, val2014/, train2014/ or "
        "annotations/captions_val2017.json, val2017/",
        splits=(*_KARPATHY, "train+restval", *_COCO),
        read=read_coco_captions,
    ),
    transfer(
        "cococap",
        name="nocaps",
        title="NoCaps: captions of things that COCO has and has not",
        source="nocaps.org",
        files="nocaps_val_4500_captions.json, validation/",
        splits=("val",),
        read=read_nocaps,
    ),
    transfer(
        "textcaps",
        title="TextCaps: captions that need what is written in the picture",
        source="textvqa.org/textcaps",
        files="TextCaps_0.1_val.json, train_images/",
        splits=("val", "train"),
        read=read_textcaps,
        lower_case=True,
    ),
    DataSet(
        name="docci",
        title="DOCCI: long descriptions of photographs",
        source="google.github.io/docci",
        files="docci_descriptions.jsonlines, images/",
        splits=_DOCCI,
        read=read_docci,
        metric="cider",
        prompt="describe en",
    ),
)
