"""Which metric a run is scored by, and whether its rows are such as it needs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from keras_pg2 import metrics
from keras_pg2.codecs.parsing import has_only_whole_boxes
from keras_pg2.datasets.rows import Row, source_of, truth_of
from keras_pg2.evaluation.asking import check_truth
from keras_pg2.finetuning.settings import Settings
from keras_pg2.recipes import Recipe

_LOCATION = "<loc"


def choose_metric(
    settings: Settings, recipe: Recipe, rows: Sequence[Row], eval_rows: Sequence[Row]
) -> str:
    """The metric's name, with warnings where rows look like another task's.

    Args:
        settings: has the metric, or "auto".
        recipe: has one where the settings have a recipe's name.
        rows: to train on.
        eval_rows: to evaluate on, may be none.

    Raises:
        ValueError: for an unknown metric, one that needs what the rows to evaluate on
            lack, one of boxes for rows without any, or boxes of other than four
            `<loc...>` tokens among right ones; names the row.
    """
    metric, both = settings.metric, (rows, eval_rows)
    if metric != "auto":
        metrics.get(metric)
    answers = [row["responses"] for part in both for row in part]
    located = [answer for answer in answers if _LOCATION in answer]
    has_boxes = any(map(has_only_whole_boxes, located))
    if metric == "auto":
        metric = _metric_by_rows(
            settings, recipe, bool(located), has_boxes, eval_rows or rows
        )
    elif metric == "ap50" and not has_boxes:
        raise ValueError(
            "Expected answers with <loc....> tokens, four a box, for the metric ap50, "
            "received none. Take exact_match."
        )
    if metric == "ap50":
        for part in both:
            _check_boxes(part)
        if eval_rows and not any(_LOCATION in row["responses"] for row in eval_rows):
            raise ValueError(
                "Expected boxes in the evaluation rows for the metric ap50, received "
                "boxes in the rows to train on alone. Take others, or exact_match."
            )
    lacking = _what_is_lacking(metric, eval_rows)
    if lacking is not None:
        raise ValueError(
            f"{lacking} Take a metric that needs no more than one answer, as "
            "exact_match (--metric)."
        )
    return metric


def _metric_by_rows(
    settings: Settings,
    recipe: Recipe,
    is_located: bool,
    has_boxes: bool,
    rows: Sequence[Row],
) -> str:
    is_about_boxes = recipe.metric == "mask_iou"
    if settings.recipe is not None and is_about_boxes != is_located:
        warnings.warn(
            f"Expected answers {'with' if is_about_boxes else 'without'} <loc....> "
            f"tokens for the recipe {recipe.task!r}, received rows "
            f"{'with' if is_located else 'without'} them, as of another task. Is it "
            "the right recipe?",
            stacklevel=4,
        )
    if has_boxes:
        return "ap50"
    if is_located:
        warnings.warn(
            "Expected boxes of four <loc....> tokens, received answers with other "
            "numbers of them alone. They are trained on as they are, and scored by "
            "exact_match.",
            stacklevel=4,
        )
    if settings.recipe is None or is_about_boxes:
        return "exact_match"
    if recipe.metric == "cider":
        return "perplexity"
    lacking = _what_is_lacking(recipe.metric, rows)
    if lacking is None:
        return recipe.metric
    warnings.warn(
        f"Expected rows for the metric {recipe.metric} of the recipe {recipe.task!r}, "
        f"but: {lacking} They are scored by exact_match, whose figures are not the "
        "paper's. Read the data set by its name (--format), with all its answers.",
        stacklevel=4,
    )
    return "exact_match"


def _what_is_lacking(metric: str, rows: Sequence[Row]) -> str | None:
    """Say why rows cannot be scored by a metric; None if they can be."""
    try:
        found = metrics.get(metric)
    except ValueError as error:
        return str(error)
    for index, row in enumerate(rows):
        try:
            check_truth(found, truth_of(rows, index), row["responses"])
        except ValueError as error:
            return f"{source_of(rows, index)}: {error}"
    return None


def _check_boxes(rows: Sequence[Row]) -> None:
    for index, row in enumerate(rows):
        answer = row["responses"]
        if _LOCATION in answer and not has_only_whole_boxes(answer):
            raise ValueError(
                f"{source_of(rows, index)}: expected boxes as <locY1><locX1><locY2>"
                f"<locX2> label, with ' ; ' between them, received {answer!r:.100}. "
                "Correct it, or take the metric exact_match (--metric), which reads "
                "no boxes."
            )
