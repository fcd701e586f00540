"""The papers' figures beside a measured one."""

from __future__ import annotations

import pytest

from keras_pg2.catalogue.released import PRESETS
from keras_pg2.evaluation import find_published
from keras_pg2.evaluation.publishing import ModelKind, kind_of

KIND = ModelKind(2, "3b", 448)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pali_gemma2_pt_3b_896", ModelKind(2, "3b", 896)),
        ("pali_gemma2_mix_10b_224", ModelKind(2, "10b", 224)),
        ("pali_gemma2_pt_28b_448", ModelKind(2, "28b", 448)),
        ("pali_gemma_3b_448", ModelKind(1, "3b", 448)),
    ],
)
def test_released_models_are_known_by_their_numbers(name, kind):
    assert kind_of(PRESETS[name].architecture) == kind


def test_the_figure_of_task_size_and_resolution():
    found = find_published("docvqa", "docvqa", "val", KIND, "anls", {"anls": 0.7})
    assert found.figures == {"anls": 0.736}  # arXiv:2412.03555, table 13.
    assert found.deviations == pytest.approx({"anls": 0.003})
    assert found.model == "PaliGemma 2 3B, 448 px"
    assert found.source == "PaliGemma 2, arXiv:2412.03555v1, table 13"
    assert found.note == ""
    human = find_published(
        "chartqa", "chartqa", "test", KIND, "relaxed_accuracy", {"human": 0.5}
    )
    assert human.figures == {"augmented": 0.892, "human": 0.54}
    assert "names no split" in human.note
    assert "Not measured here: augmented." in human.note


def test_a_test_split_has_figures_of_its_own():
    old = ModelKind(1, "3b", 896)
    found = find_published("docvqa", "docvqa", "test", old, "anls", {"anls": 0.8})
    assert found.figures == {"anls": 0.848}  # arXiv:2407.07726, table 1.
    assert found.source.endswith("arXiv:2407.07726v2, table 1")
    one = find_published(
        "refcoco_seg", "refcoco", "testA", KIND, "mask_iou", {"mask_iou": 0.7}
    )
    assert one.figures == pytest.approx({"mask_iou": 0.786})
    assert one.note == "At 896 px: [P1] table 1."


def test_what_differs_is_said():
    other = find_published("docvqa", "docvqa", "train", KIND, "anls", {"anls": 1.0})
    assert "The paper's split is val, this one is train." in other.note
    mine = find_published("docvqa", "my/pages.jsonl", "", KIND, "anls", {"anls": 1.0})
    assert "data set is docvqa, yours has another name" in mine.note
    without = find_published(None, "docvqa", "val", KIND, "anls", {"anls": 1.0})
    assert "recipe was not taken" in without.note


def test_there_is_nothing_where_the_papers_have_nothing():
    assert find_published("docvqa", "docvqa", "val", None, "anls", {}) is None
    large = ModelKind(2, "3b", 896)
    assert find_published("docvqa", "docvqa", "val", large, "anls", {}) is None
    assert find_published(None, "scenes", "", KIND, "exact_match", {}) is None
