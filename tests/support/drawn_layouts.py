"""One drawn data set in the layouts of several tools, as these write them.

Three pictures: two things in the first, one in the second, none in the third. Boxes
touch the border, and all numbers are such as every layout can say exactly.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

LABELS = ("cat", "dog")
SIZES = {"a.png": (64, 32), "b.png": (40, 40), "c.png": (32, 16)}
"""Width and height by name."""
TRUTH = {
    "a.png": [("cat", (8, 4, 24, 20)), ("dog", (32, 8, 64, 32))],
    "b.png": [("cat", (0, 0, 20, 40))],
    "c.png": [],
}
"""Labels and boxes x1, y1, x2, y2 by name."""
CAT = "<loc0128><loc0128><loc0639><loc0384> cat"
"""4/32, 8/64, 20/32, 24/64 times 1023 are 127.9, 127.9, 639.4, 383.6."""
DOG = "<loc0256><loc0512><loc1023><loc1023> dog"
"""8/32 and 32/64 times 1023 are 255.75 and 511.5, halves to the even number."""
HALF = "<loc0000><loc0000><loc1023><loc0512> cat"
ANSWERS = {"a.png": f"{CAT} ; {DOG}", "b.png": HALF, "c.png": ""}


def draw_pictures(folder: Path) -> None:
    """Draw the pictures, each thing as a box of a colour of its label."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        picture = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(picture)
        for label, (x1, y1, x2, y2) in TRUTH[name]:
            colour = "red" if label == "cat" else "blue"
            draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=colour)
        picture.save(folder / name)


def write_roboflow_jsonl(folder: Path) -> Path:
    """Roboflow's PaliGemma export: every label asked for, "" where nothing is."""
    draw_pictures(folder)
    lines = [
        {"image": name, "prefix": "detect cat ; dog", "suffix": ANSWERS[name]}
        for name in SIZES
    ]
    path = folder / "_annotations.train.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def write_roboflow_coco(folder: Path) -> Path:
    """Roboflow's COCO export: a root category 0, `supercategory`s, ids from 0."""
    draw_pictures(folder)
    content = _coco(first_id=0)
    content["categories"] = [
        {"id": 0, "name": "pets-x1y2", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets-x1y2"},
        {"id": 2, "name": "dog", "supercategory": "pets-x1y2"},
    ]
    for item in content["annotations"]:
        item["segmentation"] = []
    path = folder / "_annotations.coco.json"
    path.write_text(json.dumps(content))
    return path


def write_coco(folder: Path) -> Path:
    """COCO's own: polygons, run lengths of a crowd, pictures in a folder of theirs."""
    draw_pictures(folder / "train2017")
    content = _coco(first_id=100)
    content["categories"] = [
        {"id": 1, "name": "cat", "supercategory": "animal"},
        {"id": 2, "name": "dog", "supercategory": "animal"},
    ]
    for item in content["annotations"]:
        x, y, width, height = item["bbox"]
        right, bottom = x + width, y + height
        item["segmentation"] = [[x, y, right, y, right, bottom, x, bottom]]
    content["annotations"].append(
        {
            "id": 900,
            "image_id": 1,
            "category_id": 2,
            "bbox": [0, 0, 4, 4],
            "area": 16,
            "iscrowd": 1,
            "segmentation": {"counts": [40 * 40], "size": [40, 40]},
        }
    )
    path = folder / "annotations" / "instances_train2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    return path


def _coco(first_id: int) -> dict[str, Any]:
    images, annotations = [], []
    for image_id, (name, (width, height)) in enumerate(SIZES.items()):
        images.append(
            {"id": image_id, "file_name": name, "width": width, "height": height}
        )
        for label, (x1, y1, x2, y2) in TRUTH[name]:
            annotations.append(
                {
                    "id": first_id + len(annotations),
                    "image_id": image_id,
                    "category_id": LABELS.index(label) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    return {"info": {}, "images": images, "annotations": annotations}


def write_yolo(folder: Path) -> Path:
    """Roboflow's YOLO export: `../train/images` for what is beside data.yaml."""
    draw_pictures(folder / "train" / "images")
    labels = folder / "train" / "labels"
    labels.mkdir()
    for name, (width, height) in SIZES.items():
        lines = [
            f"{LABELS.index(label)} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} "
            f"{(x2 - x1) / width} {(y2 - y1) / height}\n"
            for label, (x1, y1, x2, y2) in TRUTH[name]
        ]
        (labels / name).with_suffix(".txt").write_text("".join(lines))
    path = folder / "data.yaml"
    path.write_text(
        "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['cat', 'dog']\n"
    )
    return path


def write_labelme(folder: Path) -> Path:
    """LabelMe's: a JSON file beside each picture, corners as they were drawn."""
    draw_pictures(folder)
    for name, (width, height) in SIZES.items():
        shapes = [
            {
                "label": label,
                "points": [[x2, y2], [x1, y1]],
                "group_id": None,
                "description": "",
                "shape_type": "rectangle",
                "flags": {},
                "mask": None,
            }
            for label, (x1, y1, x2, y2) in TRUTH[name]
        ]
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": name,
            "imageData": base64.b64encode((folder / name).read_bytes()).decode(),
            "imageHeight": height,
            "imageWidth": width,
        }
        (folder / name).with_suffix(".json").write_text(json.dumps(content, indent=2))
    return folder


QUESTION = "what is it?"
WORDS = {"a.png": "pets", "b.png": "cat", "c.png": "nothing"}


def write_vqa(folder: Path) -> Path:
    """VQAv2's two files: ten answers a question."""
    names = [f"COCO_train2014_{i:012d}.jpg" for i in range(len(SIZES))]
    draw_pictures(folder)
    for old, new in zip(SIZES, names):
        Image.open(folder / old).save(folder / new)
    questions = [
        {"question_id": 10 * i, "image_id": i, "question": QUESTION}
        for i in range(len(SIZES))
    ]
    annotations = [
        {
            "question_id": 10 * i,
            "image_id": i,
            "answer_type": "other",
            "answers": [{"answer": word, "answer_id": k} for k in range(1, 11)],
        }
        for i, word in enumerate(WORDS.values())
    ]
    path = folder / "v2_OpenEnded_mscoco_train2014_questions.json"
    path.write_text(json.dumps({"data_subtype": "train2014", "questions": questions}))
    (folder / "v2_mscoco_train2014_annotations.json").write_text(
        json.dumps({"data_subtype": "train2014", "annotations": annotations})
    )
    return path


def write_excel_csv(folder: Path) -> Path:
    """Excel's "CSV UTF-8" of a German system: a mark, semicolons, lines left empty."""
    draw_pictures(folder)
    lines = ["image;prefix;suffix"]
    lines += [f'{name};answer en {QUESTION};"{WORDS[name]}"' for name in SIZES]
    path = folder / "train.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, ";;", ""]).encode())
    (folder / "._train.csv").write_bytes(b"\x00\x05\x16\x07\x00")
    return path


def dataset_records(folder: Path) -> list[dict[str, Any]]:
    """Rows of `datasets` from Parquet with `decode=False`: `{"bytes", "path"}`."""
    draw_pictures(folder)
    records = []
    for name in SIZES:
        buffer = io.BytesIO((folder / name).read_bytes())
        records.append(
            {
                "image": {"bytes": buffer.getvalue(), "path": name},
                "prefix": f"answer en {QUESTION}",
                "suffix": WORDS[name],
            }
        )
    return records


def pixels(path: str | Path) -> np.ndarray:
    """Return uint8[H, W, 3] of a picture."""
    return np.array(Image.open(path).convert("RGB"))
