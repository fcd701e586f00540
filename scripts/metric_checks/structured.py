"""Metrics of texts with a structure beside the programs that define them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from keras_pg2 import metrics
from keras_pg2.codecs import Detections
from keras_pg2.metrics.metric import Answer, Truth
from scripts.metric_checks import sources
from scripts.metric_checks.check import Check
from scripts.metric_checks.sources import load_source, read_source
from tests.support.metric_cases import draw_cases

Cases = Sequence[tuple[Answer, Truth]]
Figures = Mapping[str, float | Sequence[float]]
"""Of all cases, or by rows of statistics one of each case."""


def compare(
    name: str,
    oracle: Callable[[Cases], Figures],
    random: np.random.Generator,
    count: int,
    adapt: Callable[[Answer, Truth], tuple[Answer, Truth]] = lambda a, t: (a, t),
) -> float:
    """Return the largest difference of any figure, or of a case's, from an oracle's.

    Args:
        name: Name of the metric.
        oracle: Returns figures of all cases by their names, and statistics of each case
            by their keys in the rows, as lists.
        random: Draws the cases.
        count: Number of cases.
        adapt: Changes a drawn case into one that the oracle takes.
    """
    cases = [adapt(*case) for case in draw_cases(name, random, count)]
    metric = metrics.get(name)
    rows = [metric.statistics(*case) for case in cases]
    found = metric.result(rows)
    differences = []
    for key, value in oracle(cases).items():
        own = found[key] if isinstance(value, float) else [row[key] for row in rows]
        differences.append(np.abs(np.subtract(own, value)).max())
    # Of NaN and numbers the largest is NaN, which is no agreement.
    return float(np.max(differences))


def texts(cases: Cases) -> tuple[list[str], list[str]]:
    """Return the texts of answers and truths, blanks around them left out."""
    return (
        [answer.text.strip() for answer, _ in cases],
        [truth.answers[0].strip() for _, truth in cases],
    )


def jiwer_rate(name: str, cases: Cases) -> Figures:
    """Return the rate of all cases, and the mean of each case's."""
    import jiwer

    rate = getattr(jiwer, name)
    said, wanted = texts(cases)
    each = [float(rate(truth, text)) for text, truth in zip(said, wanted)]
    return {name: float(rate(wanted, said)), f"{name}_mean": float(np.mean(each))}


def sheet_music_rates(name: str, cases: Cases) -> Figures:
    """Return the rate that the Sheet Music Transformer is scored by."""
    utils = ModuleType("utils")
    # Its own module needs packages that the distance does not.
    whole = read_source("SMT/utils.py")
    start, end = whole.index("def levenshtein"), whole.index("@logger.catch")
    exec(whole[start:end], vars(utils))
    module = load_source("SMT/eval_functions.py", {"utils": utils})
    said, wanted = texts(cases)
    # It takes an empty text for one symbol and one line, ours for none.
    pairs = [(text, truth) for text, truth in zip(said, wanted) if text and truth]
    parts = {"cer": {"cer_parsing": True}, "ser": {}, "ler": {"ler_parsing": True}}
    given, there = (
        [module.parse_krn_content(text, **parts[name]) for text in own]
        for own in zip(*pairs)
    )
    metric = metrics.get(name)
    rows = [metric.statistics(Answer(a), Truth(answers=(t,))) for a, t in pairs]
    own = metric.result(rows)[name]
    # What the left out cases add is hand-computed.
    difference = own - module.compute_metric(given, there) / 100
    all_rows = [metric.statistics(*case) for case in cases]
    return {name: metric.result(all_rows)[name] - difference}


def as_pages(answer: Answer, truth: Truth) -> tuple[Answer, Truth]:
    """Return a case of whole pages, outside of which PubTabNet finds no table.

    A tag that is cut at the end of the answer is left out.
    """
    said, wanted = (
        f"<html><body>{text}</body></html>"
        for text in (re.sub("<[^>]*$", "", answer.text), truth.answers[0])
    )
    return Answer(said), Truth(answers=(wanted,), kind=truth.kind)


def pubtabnet_teds(cases: Cases) -> Figures:
    """Return PubTabNet's TEDS of each case, with and without content."""
    module = _pubtabnet()
    return {
        key: [
            _score(module.TEDS(structure_only=is_bare).evaluate, case) for case in cases
        ]
        for key, is_bare in (("teds", False), ("teds_structure", True))
    }


def structure_teds(cases: Cases) -> Figures:
    """Return PubTabNet's TEDS of each case without content."""
    return {"teds_structure": pubtabnet_teds(cases)["teds_structure"]}


def package_teds(cases: Cases) -> Figures:
    """Return the TEDS of each case by the package table-recognition-metric."""
    from table_recognition_metric import TEDS

    return {"teds_by_tree_size": [_score(TEDS(), case) for case in cases]}


def _score(teds: Callable[[str, str], float], case: tuple[Answer, Truth]) -> float:
    """Return the score of a case; what no table can be read of gets 0."""
    answer, truth = case
    try:
        return float(teds(answer.text, truth.answers[0]))
    except ValueError:
        return 0.0


def _pubtabnet() -> ModuleType:
    from rapidfuzz.distance import Levenshtein

    def stand_in(name: str, **content: Any) -> ModuleType:
        module = ModuleType(name)
        vars(module).update(content)
        return module

    return load_source(
        "PubTabNet/src/metric.py",
        {
            "distance": stand_in("distance", levenshtein=Levenshtein.distance),
            "parallel": stand_in("parallel", parallel_process=None),
            "tqdm": stand_in("tqdm", tqdm=None),
        },
    )


def published_teds(random: np.random.Generator, count: int) -> float:
    """Return the largest difference from the scores that PubTabNet prints."""
    import json

    notebook = json.loads(read_source("PubTabNet/src/demo.ipynb"))
    code = ["".join(cell["source"]) for cell in notebook["cells"]]
    printed = [
        "".join(output.get("text", ""))
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
    ]
    example: dict[str, str] = {}
    exec(next(text for text in code if text.startswith("# Sample HTML")), example)
    first = next(text for text in printed if text.startswith("TEDS score:"))
    scores = eval(next(text for text in printed if text.startswith("{")))
    said = json.loads(read_source("PubTabNet/src/sample_pred.json"))
    wanted = json.loads(read_source("PubTabNet/src/sample_gt.json"))
    pairs = [(example["pred"], example["true"], float(first.partition(":")[2]))]
    pairs += [(said[key], wanted[key]["html"], scores[key]) for key in scores]
    metric = metrics.get("teds")
    found = [metric.statistics(Answer(a), Truth(answers=(t,))) for a, t, _ in pairs]
    expected = [score for *_, score in pairs]
    return float(np.abs(np.subtract([row["teds"] for row in found], expected)).max())


def original_grits(cases: Cases) -> Figures:
    """Return GriTS-Top of all cases by the program of its authors' paper.

    It takes no table whose cells leave places of the grid empty; there the package's
    own figure stands.
    """
    module = load_source(
        "table-transformer/src/grits.py",
        {"fitz": SimpleNamespace(Rect=Rect)},  # type: ignore[dict-item]
    )
    top = []
    for answer, truth in cases:
        given, there = _package_cells(answer.text), _package_cells(truth.answers[0])
        grids = [
            module.cells_to_relspan_grid([cell.to_dict() for cell in part])
            for part in (there, given)
            if part
        ]
        if any(place == 0 for grid in grids for row in grid for place in row):
            own = metrics.get("grits_top").statistics(answer, truth)
            top.append(float(metrics.get("grits_top").scores([own])[0]))
        elif len(grids) == 1:
            top.append(0.0)
        else:
            top.append(float(module.grits_top(*map(np.array, grids))[0]))
    return {"grits_top": float(np.mean(top))}


class Rect:
    """What the program uses of PyMuPDF's rectangles, apart from the union.

    For the area of the union it takes the smallest rectangle around both, which is
    larger where a cell spans rows and the other one columns. The paper and grits-metric
    take the union, and so does this.
    """

    def __init__(self, corners: Sequence[float]) -> None:
        self.corners = np.array(corners, float)

    def intersect(self, other: Sequence[float]) -> Rect:
        """Return what both share."""
        low = np.maximum(self.corners[:2], other[:2])
        high = np.minimum(self.corners[2:], other[2:])
        return Rect([*low, *high])

    def include_rect(self, other: Sequence[float]) -> SimpleNamespace:
        """Return what has the area of the union."""
        shared = self.intersect(other).get_area()
        area = self.get_area() + Rect(other).get_area() - shared
        return SimpleNamespace(get_area=lambda: area)

    def get_area(self) -> float:
        """Return the area, 0 of an empty rectangle."""
        return float(np.prod(np.maximum(self.corners[2:] - self.corners[:2], 0)))


def _package_cells(text: str) -> list[Any]:
    from grits.conversion import html_to_cell_list

    return html_to_cell_list(text) or []


def package_grits(cases: Cases) -> Figures:
    """Return GriTS of all cases by grits-metric's own way from HTML to figures."""
    from grits import GritsEvaluator

    evaluator = GritsEvaluator(["con", "top"])
    for answer, truth in cases:
        cells = _package_cells(answer.text)
        evaluator.eval_table_cell_lists([_package_cells(truth.answers[0])], [cells])
    means = evaluator.compute_mean_grits_per_sample()
    over_cells = evaluator.compute_grits()
    return {
        "grits_con": float(means["mean_grits_con_per_sample"]),
        "grits_top": float(means["mean_grits_top_per_sample"]),
        "grits_con_over_cells": float(over_cells["grits_con"]),
        "grits_top_over_cells": float(over_cells["grits_top"]),
    }


def mol_scribe(cases: Cases) -> Figures:
    """Return MolScribe's figures, groups that RDKit does not know left as they are."""
    tokenizer = SimpleNamespace(atomwise_tokenizer=None)
    module = load_source(
        "MolScribe/molscribe/evaluate.py",
        {"SmilesPE": SimpleNamespace(), "SmilesPE.pretokenizer": tokenizer},  # type: ignore[dict-item]
    )
    said, wanted = texts(cases)

    def canonical(text: str, has_stereo: bool) -> tuple[str, bool]:
        form, is_valid = module.canonicalize_smiles(
            text, ignore_chiral=not has_stereo, replace_rgroup=False
        )
        return form, is_valid

    return {
        "smiles_exact_match": float(
            np.mean(
                [
                    canonical(a, True)[0] == canonical(t, True)[0]
                    for a, t in zip(said, wanted)
                ]
            )
        ),
        "graph_match": float(
            np.mean(
                [
                    canonical(a, False)[0] == canonical(t, False)[0]
                    for a, t in zip(said, wanted)
                ]
            )
        ),
        "valid": float(np.mean([canonical(a, True)[1] for a in said])),
    }


def hiertext(cases: Cases) -> Figures:
    """Return the figures of HierText's evaluator."""
    with _hiertext() as evaluator:
        judge = evaluator.HierTextEvaluator(
            text_box_type=evaluator.TextBoxRep.POLY, evaluate_text=True
        )
        sums: dict[str, float] = {}
        for answer, truth in cases:
            assert answer.things is not None
            assert truth.things is not None
            weights = np.where(truth.details["ignored"], 0.0, 1.0)
            one = judge.evaluate_one_image(
                {
                    "gt_weights": weights,
                    "gt_boxes": _corners(truth.things, truth.details["polygons"]),
                    "gt_texts": np.array(truth.things.labels, object),
                    "detection_boxes": _corners(answer.things),
                    "pred_texts": np.array(answer.things.labels, object),
                }
            )
            sums = {key: sums.get(key, 0.0) + value for key, value in one.items()}
        found = judge.evaluate(sums)
    return {
        f"{own}{suffix}": float(found[f"{theirs}-{figure}"])
        for own, theirs in (("text_spotting", "E2E"), ("detection", "Det"))
        for suffix, figure in (
            ("", "Fscore"),
            ("_precision", "Precision"),
            ("_recall", "Recall"),
            ("_tightness", "Tightness"),
            ("_pq", "PQ"),
        )
    }


def _corners(
    words: Detections, polygons: Sequence[Any] | None = None
) -> list[np.ndarray]:
    found = []
    for i, (x1, y1, x2, y2) in enumerate(words.boxes_xyxy.tolist()):
        box = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
        polygon = None if polygons is None else polygons[i]
        found.append(np.array(box if polygon is None else polygon, float))
    return found


@contextmanager
def _hiertext() -> Iterator[ModuleType]:
    """Import the evaluator, which is of the time of NumPy 1."""
    read_source("hiertext/evaluator/evaluator.py")
    assert sources.DIRECTORY is not None
    logging = SimpleNamespace(error=lambda message: None)
    moves = SimpleNamespace(range=range)
    before = dict(sys.modules)
    path = str(Path(sources.DIRECTORY).expanduser() / "hiertext")
    sys.path.insert(0, path)
    stand_ins: dict[str, Any] = {
        "absl": SimpleNamespace(logging=logging),
        "six": SimpleNamespace(moves=moves),
        "six.moves": moves,
    }
    sys.modules.update(stand_ins)
    np.float = float  # type: ignore[attr-defined]
    try:
        from evaluator import evaluator

        yield evaluator
    finally:
        del np.float  # type: ignore[attr-defined]
        sys.path.remove(path)
        for name in [*stand_ins, "evaluator", "evaluator.evaluator"]:
            sys.modules.pop(name, None)
        sys.modules.update({k: v for k, v in before.items() if k in stand_ins})


def _check(
    metric: str,
    oracle: str,
    figures: Callable[[Cases], Figures],
    num_quick: int = 300,
    **options: Any,
) -> Check:
    return Check(
        metric=metric,
        oracle=oracle,
        compare=partial(compare, metric, figures, **options),
        num_quick=num_quick,
    )


CHECKS = (
    _check("cer", "jiwer `cer`", partial(jiwer_rate, "cer")),
    _check("wer", "jiwer `wer`", partial(jiwer_rate, "wer")),
    *(
        _check(name, "SMT `eval_functions.py`", partial(sheet_music_rates, name))
        for name in ("cer", "ser", "ler")
    ),
    _check(
        "teds", "PubTabNet `src/metric.py`, each table", pubtabnet_teds, adapt=as_pages
    ),
    _check(
        "teds",
        "table-recognition-metric `TEDS`, each table",
        package_teds,
        num_quick=100,
        adapt=as_pages,
    ),
    Check(
        metric="teds",
        oracle="PubTabNet's printed scores of 21 tables",
        compare=published_teds,
    ),
    _check(
        "teds_structure",
        "PubTabNet `src/metric.py`, each table",
        structure_teds,
        adapt=as_pages,
    ),
    _check("grits_con", "grits-metric `GritsEvaluator`", package_grits, num_quick=60),
    _check("grits_top", "table-transformer `src/grits.py`", original_grits),
    _check("smiles_exact_match", "MolScribe `molscribe/evaluate.py`", mol_scribe),
    _check("text_spotting", "HierText `evaluator/evaluator.py`", hiertext),
)
