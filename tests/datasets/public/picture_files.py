"""The smallest directories of data sets that are not questions about pictures.

After the published descriptions, which the readers name; each has two examples at
least. Pictures are 6 pixels wide and 4 high. Files of videos are none, since readers do
not decode them; tests/datasets/test_videos.py does.
"""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.public_files import Lines, PublicFiles

IDS = ("text", "0", "below 0")
"""Damages that make another id of an id."""
TEXT = ("text",)
WORDS = ("text", "empty text")
GONE = ("missing",)


def _loads(*pairs: tuple[str, tuple[str, ...]]) -> frozenset[str]:
    """Return damages by the place of a field, which give another valid value."""
    return frozenset(f"{place}: {name}" for place, names in pairs for name in names)


def _table(*rows: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _karpathy(split: str = "val") -> dict[str, Any]:
    return {
        "images": [
            {
                "filepath": "val2014",
                "sentids": [number, number + 1],
                "filename": f"COCO_val2014_{number:012d}.jpg",
                "imgid": index,
                "split": split,
                "sentences": [
                    {"tokens": ["a", "cat"], "raw": "A cat.", "imgid": index},
                    {"tokens": ["one", "cat"], "raw": "One cat. ", "imgid": index},
                ],
                "cocoid": number,
            }
            for index, number in enumerate((391895, 522418))
        ],
        "dataset": "coco",
    }


def _caption_file(*domains: str) -> dict[str, Any]:
    images = [
        {"id": i, "file_name": f"{i:016x}.jpg", "width": 6, "height": 4}
        for i in range(2)
    ]
    for image, domain in zip(images, domains):
        image |= {"domain": domain, "open_images_id": image["file_name"][:16]}
    return {
        "info": {"version": "1.0"},
        "images": images,
        "annotations": [
            {"image_id": i % 2, "id": i, "caption": f"caption {i}"} for i in range(4)
        ],
    }


def _textcaps(split: str = "val") -> dict[str, Any]:
    return {
        "dataset_type": split,
        "dataset_name": "textcaps",
        "dataset_version": "v0.1",
        "data": [
            {
                "image_id": f"picture{i % 2}",
                "image_name": f"picture{i % 2}",
                "image_path": f"train/picture{i % 2}.jpg",
                "set_name": split,
                "caption_id": i,
                "caption_str": f"A sign that says {i}.",
                "reference_strs": [],
            }
            for i in range(3)
        ],
    }


def _xm3600() -> Lines:
    return Lines(
        {
            "image/key": key,
            "image/locale": "en",
            "de": {"caption": [f"Ein Bild {key}"]},
            "en": {
                "caption": [f"Picture {key}", f"A picture {key}"],
                "caption/tokenized": [f"Picture {key}", f"A picture {key}"],
            },
        }
        for key in ("0000b8", "00012f")
    )


def _coco35l(language: str = "de") -> Lines:
    return Lines(
        {
            "image_id": f"{number}_{part}",
            "caption_tokenized": f"A cat {part} .",
            "trg_lang": target,
            "translation_tokenized": f"{target} {part} .",
            "backtranslation_tokenized": f"A cat {part} .",
        }
        for number in (391895, 522418)
        for part in range(2)
        for target in ("fr", language)
    )


_FORM = "1-lowercase-and-token-and-remove-figure-index"


def _scicap_caption(text: str) -> dict[str, Any]:
    return {
        "contains-subfigure": False,
        "paper-ID": "1001.0025v1",
        "figure-ID": "1001.0025v1-Figure2-1.png",
        "0-originally-extracted": f"Figure 2: {text}",
        _FORM: {"caption": text, "sentence": [text], "token": text.split()},
    }


_SCICAP = "SciCap-Caption-All/test/1001.0025v1-Figure2-1.json"
_SCICAP_LIST = (
    "List-of-Files-for-Each-Experiments/First-Sentence/No-Subfig/test/file_idx.json"
)


def _scicap() -> dict[str, Any]:
    names = ["1001.0025v1-Figure2-1.png", "1001.0025v1-Figure3-1.png"]
    captions = {
        f"SciCap-Caption-All/test/{name[:-4]}.json": _scicap_caption("impact of it .")
        for name in names
    }
    return {_SCICAP_LIST: names, **captions}


def _rico() -> dict[str, Any]:
    child = {"bounds": [0, 1280, 1440, 2560], "class": "Button"}
    root = {
        "bounds": [0, 0, 1440, 2560],
        "children": [child, {"bounds": [0, 0, 720, 1280], "children": [child]}],
    }
    return {"activity": {"root": root}, "activity_name": "a"}


def _instances(name: str = "{}.jpg", label: str = "cat") -> dict[str, Any]:
    return {
        "images": [
            {"id": i, "file_name": name.format(i), "width": 6, "height": 4}
            for i in (7, 8)
        ],
        "categories": [{"id": 1, "name": label}, {"id": 2, "name": "dog"}],
        "annotations": [
            {
                "id": 10 + i,
                "image_id": i,
                "category_id": 1,
                "bbox": [1, 1, 3, 2],
                "area": 6,
                "iscrowd": 0,
                "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]],
            }
            for i in (7, 8)
        ],
    }


def _refs(split: str = "val") -> bytes:
    references = [
        {
            "ref_id": i,
            "ann_id": 10 + i,
            "image_id": i,
            "split": part,
            "sentences": [
                {"sent": f"{side} cat", "raw": side, "tokens": [side, "cat"]}
                for side in sides
            ],
        }
        for i, part, sides in ((7, split, ["left"]), (8, split, ["right", "other"]))
    ]
    return pickle.dumps(references, 2)


_INSTANCE_FIELDS: tuple[tuple[str | int, ...], ...] = (
    ("images", 0, "file_name"),
    ("images", 0, "id"),
    ("images", 0, "width"),
    ("categories", 0, "name"),
    ("annotations", 0, "bbox"),
    ("annotations", 0, "category_id"),
    ("images",),
    ("annotations",),
)


def _referring(name: str, file: str, split: str) -> PublicFiles:
    return PublicFiles(
        data_set=name,
        split=split,
        files=lambda: {
            f"{name}/{file}": _refs(split),
            f"{name}/instances.json": _instances(),
        },
        pictures=("train2014/7.jpg", "train2014/8.jpg"),
        annotations=f"{name}/instances.json",
        fields=(*_INSTANCE_FIELDS, ("annotations", 0, "segmentation")),
        loads=_loads(("categories.0.name", TEXT)),
        entries=("annotations",),
        answer=(("annotations", 0, "segmentation"), []),
        needed=f"{name}/{file}",
        other_split=lambda: {f"{name}/{file}": _refs("train")},
    )


def _joined() -> dict[str, Any]:
    parts = (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd"))
    files: dict[str, Any] = {}
    for name, who in parts:
        files[f"{name}/refs({who}).p"] = _refs()
        files[f"{name}/instances.json"] = _instances()
    return files


def _icdar_word(text: str, x: int = 0) -> str:
    return f"{x},1,{x + 2},1,{x + 2},3,{x},3,{text}"


def _total_text_word(text: str, orientation: str = "c", x: int = 0) -> str:
    return (
        f"x: [[{x} {x + 2}\n {x + 2} {x}]], y: [[1 1 3 3]], ornt: [u'{orientation}'], "
        f"transcriptions: [u'{text}']\n"
    )


def _hiertext() -> dict[str, Any]:
    def word(text: str, is_legible: bool = True) -> dict[str, Any]:
        left = 0 if is_legible else 3
        return {
            "vertices": [[left, 1], [left + 3, 1], [left + 3, 3], [left, 3]],
            "text": text,
            "legible": is_legible,
            "handwritten": False,
            "vertical": False,
        }

    return {
        "info": {"date": "today", "version": "1"},
        "annotations": [
            {
                "image_id": name,
                "image_width": 6,
                "image_height": 4,
                "paragraphs": [
                    {
                        "vertices": [[0, 0], [6, 0], [6, 4], [0, 4]],
                        "legible": True,
                        "lines": [
                            {
                                "vertices": [[0, 0], [6, 0], [6, 4], [0, 4]],
                                "text": "STOP",
                                "legible": False,
                                "words": [word("STOP"), word("", False)],
                            }
                        ],
                    }
                ],
            }
            for name in ("a1", "b2")
        ],
    }


def table_html(cells: str = "cells") -> dict[str, Any]:
    """Return a table of two rows, whose upper one is a cell of two columns."""
    return {
        "structure": {
            "tokens": [
                *("<thead>", "<tr>", "<td", ' colspan="2"', ">", "</td>", "</tr>"),
                *("</thead>", "<tbody>", "<tr>", "<td>", "</td>", "<td>", "</td>"),
                *("</tr>", "</tbody>"),
            ]
        },
        cells: [
            {"tokens": ["<b>", "a", "&", "</b>"], "bbox": [0, 0, 6, 2]},
            {"tokens": []},
            {"tokens": ["1", "<"], "bbox": [3, 2, 6, 4]},
        ],
    }


def _pubtabnet(split: str = "val") -> Lines:
    return Lines(
        {"filename": f"{i}.png", "split": split, "imgid": i, "html": table_html()}
        for i in range(2)
    )


def _fintabnet() -> Lines:
    return Lines(
        {
            "filename": "HAL/2004/page_82.pdf",
            "split": "test",
            "bbox": [100, 200, 106, 204],
            "table_id": 7 + i,
            "html": {
                **table_html(),
                "cells": [
                    {"tokens": ["a"], "bbox": [100, 202, 106, 204]},
                    {"tokens": []},
                    {"tokens": ["1"], "bbox": [103, 200, 106, 202]},
                ],
            },
        }
        for i in range(2)
    )


BEKERN = (
    "**ekern_1.0\t**ekern_1.0\n*clefF4\t*clefG2\n=12\t=12\n8@C·L\t4@e 4@g\n*-\t*-\n"
)
_MUSIC = "grandstaff_dataset/chopin/mazurkas/mazurka06-1"


def _grandstaff() -> dict[str, Any]:
    names = [f"{_MUSIC}/original_m-{i}.bekrn" for i in (1, 2)]
    listed = {"partitions_grandstaff/types/test.txt": "\n".join(names)}
    return {**listed, **dict.fromkeys(names, BEKERN)}


_REPORT = (
    "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n"
    "\n INDICATION:  ___ year old with\n  cough.\n \n FINDINGS: \n \n The lungs are"
    " clear.\n No effusion.\n \n IMPRESSION: \n \n No pneumonia.\n"
)


def _mimic(split: str = "test") -> dict[str, Any]:
    head = ("dicom_id", "study_id", "subject_id", "split")
    rows = [(f"d{i}", f"5041426{i}", "10000032", split) for i in range(2)]
    studies = [f"files/p10/p10000032/s5041426{i}" for i in range(2)]
    reports = {f"{study}.txt": _REPORT for study in studies}
    return {"mimic-cxr-2.0.0-split.csv": _table(head, *rows), **reports}


def _msrvtt(split: str = "test") -> dict[str, Any]:
    return {
        "info": {"version": "1.0"},
        "videos": [
            {"video_id": f"video{i}", "split": split, "category": 9, "id": i}
            for i in (7010, 7011)
        ],
        "sentences": [
            {"caption": f"a man sings {j}", "video_id": f"video{i}", "sen_id": 10 * i}
            for i in (7010, 7011)
            for j in range(2)
        ],
    }


def _vatex() -> list[dict[str, Any]]:
    return [
        {"videoID": f"{name}_000027_000037", "enCap": ["one", "two"], "chCap": ["一"]}
        for name in ("Ptf_2VRj-V0", "a1")
    ]


def _activitynet() -> dict[str, Any]:
    return {
        "v_uqiMw7tQ1Cc": {
            "duration": 55.15,
            "timestamps": [[0.28, 55.15]],
            "sentences": ["A weight lifting tutorial is given."],
        },
        "v_bXdq2zI1Ms0": {
            "duration": 73.1,
            "timestamps": [[0, 10.5], [9.5, 20]],
            "sentences": ["Three men stand.", " The man lifts it."],
        },
    }


def _video_questions() -> list[dict[str, Any]]:
    return [
        {
            "answer": "couch",
            "category_id": 14,
            "id": 158581 + i,
            "question": "what is a man sitting on?",
            "video_id": 7010 + i,
        }
        for i in range(2)
    ]


def _activitynet_questions() -> dict[str, Any]:
    return {
        "test_q.json": [
            {
                "video_name": f"1QIUV7WYKX{i}",
                "question": "is the athlete wearing trousers",
                "question_id": f"v_1QIUV7WYKX{i}_3",
            }
            for i in range(2)
        ],
        "test_a.json": [
            {"answer": "yes", "type": 3, "question_id": f"v_1QIUV7WYKX{i}_3"}
            for i in range(2)
        ],
    }


def _own() -> Lines:
    return Lines(
        [
            {
                "image": "a.png",
                "question": "How many?",
                "answers": ["2", "two"],
                "id": 1,
            },
            {"images": ["b.png"], "prompt": "caption en", "answer": "a cat", "id": 2},
            {
                "image": "b.png",
                "prompt": "detect cat",
                "boxes": [{"label": "cat", "box": [1, 1, 4, 3]}],
                "id": 3,
            },
        ]
    )


def _as(files: Callable[[], Any], name: str) -> Callable[[], dict[str, Any]]:
    return lambda: {name: files()}


CASES: list[PublicFiles] = [
    PublicFiles(
        data_set="cococap",
        files=_as(_karpathy, "dataset_coco.json"),
        pictures=(
            "val2014/COCO_val2014_000000391895.jpg",
            "val2014/COCO_val2014_000000522418.jpg",
        ),
        annotations="dataset_coco.json",
        fields=(
            ("images", 0, "sentences", 0, "raw"),
            ("images", 0, "sentences"),
            ("images", 0, "filename"),
            ("images", 0, "cocoid"),
            ("images", 0, "split"),
            ("images", 0),
            ("images",),
        ),
        loads=_loads(
            ("images.0.cocoid", IDS),
            ("images.0.sentences.0.raw", TEXT),
            ("images.0", GONE),
        ),
        entries=("images",),
        answer=(("images", 0, "sentences"), []),
        other_split=lambda: {"dataset_coco.json": _karpathy("train")},
    ),
    PublicFiles(
        data_set="nocaps",
        files=lambda: {
            "nocaps_val_4500_captions.json": _caption_file("in-domain", "out-domain")
        },
        pictures=("validation/0000000000000000.jpg", "validation/0000000000000001.jpg"),
        annotations="nocaps_val_4500_captions.json",
        fields=(
            ("annotations", 0, "caption"),
            ("annotations", 0, "image_id"),
            ("images", 0, "file_name"),
            ("images", 0, "id"),
            ("images", 0, "domain"),
            ("images",),
            ("annotations",),
        ),
        loads=_loads(
            ("annotations.0.caption", TEXT),
            ("annotations.0.image_id", ("0",)),
            ("images.0.id", ("0",)),
        ),
        entries=("images",),
        answer=(("annotations",), []),
    ),
    PublicFiles(
        data_set="textcaps",
        files=_as(_textcaps, "TextCaps_0.1_val.json"),
        pictures=("train_images/picture0.jpg", "train_images/picture1.jpg"),
        annotations="TextCaps_0.1_val.json",
        fields=(
            ("data", 0, "caption_str"),
            ("data", 0, "image_id"),
            ("data", 0, "image_name"),
            ("data", 0),
            ("data",),
        ),
        loads=_loads(
            ("data.0.caption_str", TEXT), ("data.0.image_id", IDS), ("data.0", GONE)
        ),
        answer=(("data", 0, "caption_str"), ""),
    ),
    PublicFiles(
        data_set="docci",
        files=lambda: {
            "docci_descriptions.jsonlines": Lines(
                {
                    "example_id": f"test_0000{i}",
                    "split": "test",
                    "image_file": f"test_0000{i}.jpg",
                    "description": "An indoor angled down view of a cat.",
                }
                for i in range(2)
            )
        },
        pictures=("images/test_00000.jpg", "images/test_00001.jpg"),
        annotations="docci_descriptions.jsonlines",
        fields=(
            (0, "description"),
            (0, "example_id"),
            (0, "image_file"),
            (0, "split"),
        ),
        loads=_loads(("0.description", TEXT), ("0.example_id", IDS)),
        entries=(),
        answer=((0, "description"), ""),
    ),
    PublicFiles(
        data_set="xm3600",
        split="en",
        files=_as(_xm3600, "captions.jsonl"),
        pictures=("images/0000b8.jpg", "images/00012f.jpg"),
        annotations="captions.jsonl",
        fields=(
            (0, "en", "caption", 0),
            (0, "en", "caption"),
            (0, "en"),
            (0, "image/key"),
        ),
        loads=_loads(("0.en.caption.0", (*TEXT, *GONE))),
        entries=(),
        answer=((0, "en", "caption"), []),
    ),
    PublicFiles(
        data_set="coco35l",
        split="dev_de",
        files=lambda: {
            "coco_mt_dev.jsonl": _coco35l(),
            "dataset_coco.json": _karpathy(),
        },
        pictures=(
            "images/val2014/COCO_val2014_000000391895.jpg",
            "images/val2014/COCO_val2014_000000522418.jpg",
        ),
        annotations="coco_mt_dev.jsonl",
        fields=((1, "translation_tokenized"), (1, "image_id")),
        loads=_loads(("1.translation_tokenized", TEXT)),
        answer=((1, "translation_tokenized"), ""),
        other_split=lambda: {"coco_mt_dev.jsonl": _coco35l("it")},
    ),
    PublicFiles(
        data_set="scicap",
        files=_scicap,
        pictures=(
            "SciCap-No-Subfig-Img/test/1001.0025v1-Figure2-1.png",
            "SciCap-No-Subfig-Img/test/1001.0025v1-Figure3-1.png",
        ),
        annotations=_SCICAP,
        fields=((_FORM, "caption"), (_FORM,)),
        loads=_loads((f"{_FORM}.caption", TEXT)),
        answer=((_FORM, "caption"), ""),
        needed=_SCICAP_LIST,
    ),
    PublicFiles(
        data_set="screen2words",
        files=lambda: {
            "screen_summaries.csv": _table(
                ("screenId", "summary"),
                ("1", "page of a, calendar"),
                ("2", "settings"),
                ("1", "dates, in months"),
            ),
            "split/test_screens.txt": "1\n2",
        },
        pictures=("combined/1.jpg", "combined/2.jpg"),
        annotations="screen_summaries.csv",
        fields=(),
    ),
    PublicFiles(
        data_set="widgetcap",
        files=lambda: {
            "widget_captions.csv": _table(
                ("screenId", "nodeId", "captions"),
                ("1", "0.1.0", "go back|return"),
                ("2", "0.0", "select the photo"),
            ),
            "split/test.txt": "1\n2\n",
            "combined/1.json": _rico(),
            "combined/2.json": _rico(),
        },
        pictures=("combined/1.jpg", "combined/2.jpg"),
        annotations="combined/1.json",
        fields=(
            ("activity", "root"),
            ("activity", "root", "children", 1, "children", 0, "bounds", 0),
            ("activity", "root", "children", 1, "children", 0, "bounds"),
            ("activity", "root", "children", 1, "children"),
            ("activity", "root", "children"),
        ),
        loads=_loads(
            ("activity.root.children.1.children.0.bounds.0", ("0", "below 0", "half"))
        ),
        needed="widget_captions.csv",
    ),
    PublicFiles(
        data_set="coco_detection",
        files=_as(_instances, "annotations/instances_val2017.json"),
        pictures=("val2017/7.jpg", "val2017/8.jpg"),
        annotations="annotations/instances_val2017.json",
        fields=_INSTANCE_FIELDS,
        loads=_loads(("categories.0.name", TEXT)),
        entries=("images",),
    ),
    PublicFiles(
        data_set="doclaynet",
        files=_as(partial(_instances, "{}.png", "Caption"), "COCO/test.json"),
        pictures=("PNG/7.png", "PNG/8.png"),
        annotations="COCO/test.json",
        fields=_INSTANCE_FIELDS,
        loads=_loads(("categories.0.name", TEXT), ("annotations", ("list",))),
        entries=("images",),
    ),
    PublicFiles(
        data_set="coco",
        files=_as(_instances, "test/_annotations.coco.json"),
        pictures=("test/7.jpg", "test/8.jpg"),
        annotations="test/_annotations.coco.json",
        fields=_INSTANCE_FIELDS,
        loads=_loads(("categories.0.name", TEXT), ("annotations", ("list",))),
        entries=("images",),
    ),
    _referring("refcoco", "refs(unc).p", "testA"),
    _referring("refcoco+", "refs(unc).p", "val"),
    _referring("refcocog", "refs(umd).p", "test"),
    PublicFiles(
        data_set="refcoco_seg",
        files=_joined,
        pictures=("train2014/7.jpg", "train2014/8.jpg"),
        annotations="refcoco/instances.json",
        fields=(("annotations", 0, "bbox"),),
        entries=("annotations",),
        needed="refcocog/refs(umd).p",
    ),
    PublicFiles(
        data_set="icdar15",
        files=lambda: {
            "Challenge4_Test_Task1_GT/gt_img_1.txt": "\ufeff"
            + "\r\n".join(map(_icdar_word, ["a,b", "###", "c"], [0, 2, 4])),
            "Challenge4_Test_Task1_GT/gt_img_2.txt": "\ufeff" + _icdar_word("d"),
        },
        pictures=("ch4_test_images/img_1.jpg", "ch4_test_images/img_2.jpg"),
        annotations="Challenge4_Test_Task1_GT/gt_img_2.txt",
        fields=(),
    ),
    PublicFiles(
        data_set="totaltext",
        files=lambda: {
            "txt_format/Test/poly_gt_img1.txt": _total_text_word("it\\'s")
            + _total_text_word("#", "#", 3),
            "txt_format/Test/poly_gt_img2.txt": _total_text_word("d"),
        },
        pictures=("Images/Test/img1.jpg", "Images/Test/img2.jpg"),
        annotations="txt_format/Test/poly_gt_img2.txt",
        fields=(),
    ),
    PublicFiles(
        data_set="hiertext",
        files=_as(_hiertext, "gt/validation.jsonl"),
        pictures=("validation/a1.jpg", "validation/b2.jpg"),
        annotations="gt/validation.jsonl",
        fields=(
            ("annotations", 0, "paragraphs", 0, "lines", 0, "words", 0, "text"),
            ("annotations", 0, "paragraphs", 0, "lines", 0, "words", 0, "vertices"),
            ("annotations", 0, "paragraphs", 0, "lines", 0, "words", 0, "legible"),
            ("annotations", 0, "paragraphs", 0, "lines", 0, "words"),
            ("annotations", 0, "paragraphs"),
            ("annotations", 0, "image_id"),
            ("annotations", 0, "image_width"),
            ("annotations",),
        ),
        loads=_loads(
            ("annotations.0.paragraphs.0.lines.0.words.0.legible", ("true",)),
            ("annotations.0.paragraphs.0.lines.0.words.0.text", TEXT),
            ("annotations.0.paragraphs.0.lines.0.words", ("list",)),
            ("annotations.0.paragraphs", ("list",)),
        ),
        entries=("annotations",),
    ),
    PublicFiles(
        data_set="pubtabnet",
        files=_as(_pubtabnet, "PubTabNet_2.0.0.jsonl"),
        pictures=("val/0.png", "val/1.png"),
        annotations="PubTabNet_2.0.0.jsonl",
        fields=(
            (0, "html", "structure", "tokens", 0),
            (0, "html", "structure", "tokens"),
            (0, "html", "cells", 0, "tokens", 0),
            (0, "html", "cells", 0, "bbox"),
            (0, "html", "cells"),
            (0, "html"),
            (0, "filename"),
            (0, "imgid"),
        ),
        loads=_loads(
            ("0.html.cells.0.bbox", GONE),
            ("0.html.cells.0.tokens.0", (*WORDS, *GONE)),
            ("0.html.structure.tokens.0", (*WORDS, *GONE)),
            ("0.imgid", IDS),
        ),
        entries=(),
        answer=((0, "html", "cells"), []),
        other_split=lambda: {"PubTabNet_2.0.0.jsonl": _pubtabnet("train")},
    ),
    PublicFiles(
        data_set="fintabnet",
        files=_as(_fintabnet, "FinTabNet_1.0.0_cell_test.jsonl"),
        pictures=("images/7.png", "images/8.png"),
        annotations="FinTabNet_1.0.0_cell_test.jsonl",
        fields=(
            (0, "html", "structure", "tokens", 0),
            (0, "html", "cells", 0, "bbox"),
            (0, "bbox"),
            (0, "table_id"),
        ),
        loads=_loads(
            ("0.html.cells.0.bbox", GONE),
            ("0.html.structure.tokens.0", (*WORDS, *GONE)),
        ),
        entries=(),
        answer=((0, "html", "cells"), []),
    ),
    PublicFiles(
        data_set="grandstaff",
        files=_grandstaff,
        pictures=(f"{_MUSIC}/original_m-1.jpg", f"{_MUSIC}/original_m-2.jpg"),
        annotations="partitions_grandstaff/types/test.txt",
        fields=(),
    ),
    PublicFiles(
        data_set="molecules",
        split="chemdraw",
        files=lambda: {
            "synthetic/chemdraw.csv": _table(
                ("image_id", "SMILES", "file_path"),
                ("0", "CC(=O)O", "synthetic/chemdraw/0.png"),
                ("1", "c1ccccc1", "synthetic/chemdraw/1.png"),
            )
        },
        pictures=("synthetic/chemdraw/0.png", "synthetic/chemdraw/1.png"),
        annotations="synthetic/chemdraw.csv",
        fields=(),
    ),
    PublicFiles(
        data_set="mimic_cxr",
        files=_mimic,
        pictures=(
            "files/p10/p10000032/s50414260/d0.jpg",
            "files/p10/p10000032/s50414261/d1.jpg",
        ),
        annotations="mimic-cxr-2.0.0-split.csv",
        fields=(),
        other_split=lambda: _mimic("train"),
    ),
    PublicFiles(
        data_set="msrvtt_cap",
        files=_as(_msrvtt, "test_videodatainfo.json"),
        pictures=("TestVideo/video7010.mp4", "TestVideo/video7011.mp4"),
        annotations="test_videodatainfo.json",
        fields=(
            ("sentences", 0, "caption"),
            ("sentences", 0, "video_id"),
            ("videos", 0, "video_id"),
            ("videos", 0, "split"),
            ("videos",),
        ),
        loads=_loads(("sentences.0.caption", TEXT), ("sentences.0.video_id", TEXT)),
        entries=("videos",),
        answer=(("sentences",), []),
        other_split=lambda: {"test_videodatainfo.json": _msrvtt("train")},
    ),
    PublicFiles(
        data_set="vatex_cap",
        files=_as(_vatex, "vatex_public_test_english_v1.1.json"),
        pictures=(
            "videos/Ptf_2VRj-V0_000027_000037.mp4",
            "videos/a1_000027_000037.mp4",
        ),
        annotations="vatex_public_test_english_v1.1.json",
        fields=((0, "enCap", 0), (0, "enCap"), (0, "videoID"), (0,)),
        loads=_loads(("0.enCap.0", (*TEXT, *GONE)), ("0", GONE)),
        entries=(),
        answer=((0, "enCap"), []),
    ),
    PublicFiles(
        data_set="activitynet_cap",
        files=_as(_activitynet, "val_2.json"),
        pictures=("videos/v_uqiMw7tQ1Cc.mp4", "videos/v_bXdq2zI1Ms0.mkv"),
        annotations="val_2.json",
        fields=(
            ("v_uqiMw7tQ1Cc", "sentences", 0),
            ("v_uqiMw7tQ1Cc", "sentences"),
            ("v_uqiMw7tQ1Cc", "timestamps", 0),
            ("v_uqiMw7tQ1Cc", "timestamps"),
            ("v_uqiMw7tQ1Cc",),
        ),
        loads=_loads(("v_uqiMw7tQ1Cc.sentences.0", TEXT), ("v_uqiMw7tQ1Cc", GONE)),
        answer=(("v_uqiMw7tQ1Cc", "sentences"), []),
    ),
    PublicFiles(
        data_set="msrvtt_qa",
        files=_as(_video_questions, "test_qa.json"),
        pictures=("videos/video7010.mp4", "videos/video7011.mp4"),
        annotations="test_qa.json",
        fields=((0, "question"), (0, "answer"), (0, "id"), (0, "video_id"), (0,)),
        loads=_loads(
            ("0.answer", TEXT), ("0.id", IDS), ("0.question", TEXT), ("0", GONE)
        ),
        entries=(),
        answer=((0, "answer"), ""),
    ),
    PublicFiles(
        data_set="msvd_qa",
        files=lambda: {
            "test_qa.json": _video_questions(),
            "youtube_mapping.txt": "-4wsuPCjDBc_5_15 vid7010\nb_0_9 vid7011\n",
        },
        pictures=("video/-4wsuPCjDBc_5_15.avi", "video/vid7011.avi"),
        annotations="test_qa.json",
        fields=((0, "question"), (0, "answer"), (0, "id"), (0, "video_id")),
        loads=_loads(("0.answer", TEXT), ("0.id", IDS), ("0.question", TEXT)),
        entries=(),
        answer=((0, "answer"), ""),
    ),
    PublicFiles(
        data_set="activitynet_qa",
        files=_activitynet_questions,
        pictures=("videos/v_1QIUV7WYKX0.mp4", "videos/1QIUV7WYKX1.mp4"),
        annotations="test_a.json",
        fields=((0, "answer"), (0, "type"), (0, "question_id"), (0,)),
        loads=_loads(("0.answer", TEXT), ("0.type", ("0",))),
        entries=(),
        answer=((0, "answer"), ""),
    ),
    PublicFiles(
        data_set="jsonl",
        files=_as(_own, "test.jsonl"),
        pictures=("a.png", "b.png"),
        annotations="test.jsonl",
        fields=(
            (0, "question"),
            (0, "answers", 0),
            (0, "answers"),
            (0, "image"),
            (1, "images"),
            (1, "images", 0),
            (1, "answer"),
            (2, "boxes"),
            (2, "boxes", 0, "label"),
            (2, "boxes", 0, "box"),
            (2, "boxes", 0, "box", 0),
            (0, "id"),
        ),
        loads=_loads(
            ("0.answers.0", (*TEXT, *GONE)),
            ("0.id", (*IDS, *GONE)),
            ("0.question", TEXT),
            ("1.answer", TEXT),
            ("2.boxes.0.box.0", ("0", "half")),
            ("2.boxes.0.label", TEXT),
            ("2.boxes", ("list",)),
        ),
        entries=(),
        answer=((0, "answers"), []),
    ),
]
