"""What readers say is true, and what metrics need of it, are the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from keras_pg2 import metrics
from keras_pg2.datasets.public import registry
from keras_pg2.datasets.public.examples import Example
from keras_pg2.metrics.metric import Answer, State
from tests.datasets.public.picture_files import CASES
from tests.support.public_files import PublicFiles

BEST = {
    "cer": 0.0,
    "ser": 0.0,
    "ler": 0.0,
    "chair": 0.0,
}
"""Figures of perfect answers, 1.0 for others."""
BY_THEMSELVES = {
    "cider": "two pictures have no words that few others have",
    "mask_iou": "answers are decoded by a mask codec, in tests of the metric",
    "coco_ap_masks": "masks of answers are things, in tests of the metric",
}
"""Metrics whose figure of perfect answers is not asked for, and why."""
SCENES = [
    PublicFiles(
        data_set=name,
        files=dict,
        pictures=(),
        annotations="",
        fields=(),
        options={"count": 6, "image_size": 28},
    )
    for name in registry.DATA_SETS
    if name.startswith("scenes")
]


def score(case: PublicFiles, examples: Sequence[Example]) -> dict[str, float] | None:
    """Return the figures of answers that say what is true; None if there are none."""
    name = registry.find(case.data_set).metric
    if case.data_set == "jsonl":
        examples = [one for one in examples if one.truth.answers]
    if name in BY_THEMSELVES:
        return None
    state = State(metrics.get(name))
    for example in examples:
        text = example.truth.answers[0] if example.truth.answers else example.response
        answer = Answer(text or "", log_probability=-0.1, num_tokens=2)
        state.update([example.id], [answer], [example.truth])
    return state.result()


def by_name(case: Any) -> str:
    return case.data_set


@pytest.mark.parametrize("case", [*CASES, *SCENES], ids=by_name)
def test_answers_that_say_what_is_true_are_perfect(case: PublicFiles, tmp_path: Path):
    examples = case.read(case.write(tmp_path))
    figures = score(case, examples)
    name = registry.find(case.data_set).metric
    if figures is not None:
        assert figures[name] == pytest.approx(BEST.get(name, 1.0)), figures
