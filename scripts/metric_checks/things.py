"""Metrics of boxes and masks beside the programs that define them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from keras_pg2 import metrics
from keras_pg2.codecs import Detections, mask_to_rle
from keras_pg2.metrics.metric import Answer, Truth
from keras_pg2.metrics.things.reading import read_scored_answer, read_truth
from keras_pg2.metrics.things.referring import MaskIou
from scripts.metric_checks.check import Check
from scripts.metric_checks.sources import load_source
from tests.support.metric_cases import draw_cases

Cases = Sequence[tuple[Answer, Truth]]
# Of `COCOeval.stats`.
STATS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", None, None, "ar100")
SEGMENTATION = (
    "big_vision/big_vision/evaluators/proj/paligemma/transfers/segmentation.py"
)


def coco_stats(package: str, cases: Cases, kind: str) -> np.ndarray:
    """Return float64[12] of COCO's evaluation by pycocotools or a package like it."""
    if package == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluator
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluator
    there: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    truths = [(read_truth(truth), truth.details) for _, truth in cases]
    names = sorted({name for part, _ in truths for name in part.labels})
    for i, ((answer, truth), (things, details)) in enumerate(zip(cases, truths), 1):
        crowds = details.get("crowds", things.take([]))
        for is_crowd, part in enumerate((things, crowds)):
            for entry in _entries(part, i, names):
                there.append({**entry, "iscrowd": is_crowd, "id": len(there) + 1})
        found += _entries(read_scored_answer(answer, truth), i, names)
    table = COCO()
    images = [{"id": i, "width": 40, "height": 40} for i in range(1, len(cases) + 1)]
    table.dataset = {
        "images": images,
        "annotations": there,
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)],
        "info": {},
    }
    with contextlib.redirect_stdout(io.StringIO()):
        table.createIndex()
        results = table.loadRes(found)
        evaluator = Evaluator(table, results, "bbox" if kind == "boxes" else "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return np.asarray(evaluator.stats, np.float64)


def _entries(part: Detections, image: int, names: list[str]) -> list[dict[str, Any]]:
    entries = []
    for i, label in enumerate(part.labels):
        if label not in names:
            continue
        x1, y1, x2, y2 = map(float, part.boxes_xyxy[i])
        entry: dict[str, Any] = {
            "image_id": image,
            "category_id": names.index(label) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
        }
        if part.masks is not None:
            del entry["bbox"]
            entry["segmentation"] = mask_to_rle(part.masks[i])
            entry["area"] = int(part.masks[i].sum())
        if part.scores is not None:
            # Equal ones in the order of the answer, in all copies of a picture alike.
            entry["score"] = float(part.scores[i]) - 1e-13 * i
        entries.append(entry)
    return entries


def compare_coco(
    name: str, package: str, kind: str, random: np.random.Generator, count: int
) -> float:
    """Return the largest difference of a COCO figure, also of a bootstrap's draw."""
    cases = draw_cases(name, random, count)
    metric = metrics.get(name)
    rows = [metric.statistics(*case) for case in cases]
    differences = []
    once = np.ones(count, int)
    drawn = random.multinomial(count, np.full(count, 1 / count))
    for counts in (once, drawn):
        again = [cases[i] for i in np.repeat(np.arange(count), counts)]
        found = metric.result(rows, counts)
        for figure, value in zip(STATS, coco_stats(package, again, kind)):
            if figure in found:
                # The packages print -1 where there is no truth.
                differences.append(np.nan_to_num(found[figure], nan=-1.0) - value)
    return float(np.abs(differences).max())


def compare_masks(random: np.random.Generator, count: int) -> float:
    """Return the largest difference from big_vision's evaluator, run on tokens."""
    width, height = 64, 48
    codes = np.arange(64 * 64, dtype=np.float32).reshape(64, 64) % 7

    def decode_crops(tokens: np.ndarray) -> np.ndarray:
        """Return float32[B, 64, 64], another mask for each first code."""
        return np.stack([codes - row[0] % 8 for row in tokens]).astype(np.float32)

    decoded, masks, boxes, cases = [], [], [], []
    for _ in range(count):
        tokens = random.integers(0, 1024, 4).tolist()
        if random.integers(8):
            tokens = [*sorted(tokens[::2]), *sorted(tokens[1::2])]
            tokens = [tokens[0], tokens[2], tokens[1], tokens[3]]
        segment = random.integers(0, 128, 16).tolist()
        text = "".join(f"<loc{n:04d}>" for n in tokens)
        text += "".join(f"<seg{n:03d}>" for n in segment)
        ids = [*tokens, *(2000 + n for n in segment)]
        if random.integers(10) == 0:
            cut = int(random.integers(20))
            text, ids = "", ids[:cut]
        # What ends an answer is no token of a box or mask.
        decoded.append(np.array([*ids, *[5000] * (24 - len(ids))]))
        x, y = np.sort(random.integers(0, (width, height), (2, 2)).T)
        mask = np.zeros((1, height, width), bool)
        mask[0, y[0] : y[1] + 1, x[0] : x[1] + 1] = True
        box = np.array([[x[0], y[0], x[1] + 1, y[1] + 1]], np.float32)
        masks.append(mask[0][..., None].astype(np.uint8))
        boxes.append(box[0, [1, 0, 3, 2]] / [height, width, height, width])
        cases.append((Answer(text), Truth(things=Detections(("",), box, mask))))
    expected = _run_big_vision(np.array(decoded), masks, np.array(boxes), decode_crops)
    metric = MaskIou(decode_crops=decode_crops)
    rows = [metric.statistics(*case) for case in cases]
    found = metric.result(rows)
    differences = [
        found["mask_iou"] - expected["miou"],
        found["box_accuracy_50"] - expected["boxacc/0.5"],
        found["box_accuracy_75"] - expected["boxacc/0.75"],
        found["valid"] - (1 - expected["invalid"] / expected["total"]),
    ]
    return float(np.abs(differences).max())


def _run_big_vision(
    decoded: np.ndarray,
    masks: list[np.ndarray],
    boxes: np.ndarray,
    decode_crops: Callable[[np.ndarray], np.ndarray],
) -> dict[str, float]:
    """Return what the evaluator yields; it and NumPy run as they are."""
    module = load_source(SEGMENTATION, _flax_and_friends())
    evaluator = object.__new__(module.Evaluator)
    ones = np.ones(len(decoded), bool)
    stacked = np.empty(len(masks), object)
    stacked[:] = masks
    batch = {"_mask": ones, "objects/mask": stacked, "objects/bbox": boxes}
    vars(evaluator).update(
        steps=1,
        get_data_iter=lambda: iter([batch]),
        decode=lambda state, batch: decoded,
        loc0=np.array([0]),
        seg0=np.array([2000]),
        reconstruct_masks=lambda codes: decode_crops(codes)[..., None],
        det_ious=(0.5, 0.75),
    )
    return dict(evaluator.run(None))


def _flax_and_friends() -> dict[str, Any]:
    """Return stand-ins for what the evaluator imports and does not need here."""

    def stand_in(name: str, **content: Any) -> ModuleType:
        module = ModuleType(name)
        vars(module).update(content)
        return module

    linen = stand_in("flax.linen", Module=object, compact=lambda function: function)
    jax = stand_in(
        "jax",
        device_put=lambda x, device: x,
        device_get=lambda x: x,
        local_devices=lambda backend: [None],
        numpy=np,
    )
    common = stand_in("big_vision.evaluators.common", process_sum=lambda sums: sums)
    utils = stand_in("big_vision.utils", get_local_slice_from_fsarray=lambda x: x)
    tokenizer = stand_in("big_vision.pp.tokenizer")
    pp = stand_in("big_vision.pp", tokenizer=tokenizer)
    evaluators = stand_in("big_vision.evaluators", common=common)
    return {
        "flax": stand_in("flax", linen=linen),
        "flax.linen": linen,
        "jax": jax,
        "jax.numpy": np,
        "big_vision": stand_in("big_vision", pp=pp, utils=utils, evaluators=evaluators),
        "big_vision.pp": pp,
        "big_vision.pp.tokenizer": tokenizer,
        "big_vision.utils": utils,
        "big_vision.evaluators": evaluators,
        "big_vision.evaluators.common": common,
        "tensorflow": stand_in("tensorflow"),
        "tensorflow.io": SimpleNamespace(gfile=None),
    }


def compare_boxes(random: np.random.Generator, count: int) -> float:
    """Return the largest difference from areas that shapely computes."""
    import shapely

    cases = draw_cases("box_accuracy", random, count)
    metric = metrics.get("box_accuracy")
    rows = [metric.statistics(*case) for case in cases]
    expected = []
    for answer, truth in cases:
        assert answer.things is not None
        assert truth.things is not None
        iou = 0.0
        if len(answer.things):
            given, there = (
                shapely.box(*map(float, part.boxes_xyxy[0]))
                for part in (answer.things, truth.things)
            )
            shared = given.intersection(there).area
            united = given.area + there.area - shared
            iou = shared / united if united else 0.0
        expected.append(iou)
    found = metric.result(rows)
    differences = [
        *np.subtract([row["box_iou"] for row in rows], expected),
        found["box_accuracy"] - np.mean(np.array(expected) >= 0.5),
        found["box_accuracy_75"] - np.mean(np.array(expected) >= 0.75),
    ]
    return float(np.abs(differences).max())


def _coco_checks() -> tuple[Check, ...]:
    kinds = {"coco_ap": "boxes", "coco_ap_masks": "masks", "ap50": "boxes"}
    packages = {"pycocotools": "COCOeval", "faster-coco-eval": "COCOeval_faster"}
    return tuple(
        Check(
            metric=name,
            oracle=f"{package} `{program}`, once and as a bootstrap draws",
            compare=partial(compare_coco, name, package, kind),
            num_quick=40,
        )
        for name, kind in kinds.items()
        for package, program in packages.items()
    )


CHECKS = (
    *_coco_checks(),
    Check(
        metric="mask_iou",
        oracle="big_vision `transfers/segmentation.py`, Evaluator.run",
        compare=compare_masks,
    ),
    Check(
        metric="box_accuracy",
        oracle="areas of shapely's boxes",
        compare=compare_boxes,
    ),
)
