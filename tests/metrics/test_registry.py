"""What holds for every registered metric, whatever it measures."""

import itertools
import json
from functools import cache

import numpy as np
import pytest

from keras_pg2 import metrics, recipes
from keras_pg2.metrics.metric import Answer, MeanOfKinds, Truth
from keras_pg2.metrics.registry import METRICS
from tests.support.metric_cases import OUTSIDE, all_cases, draw_cases

NUM_EXAMPLES = 10
COMPUTED = [name for name in METRICS if name not in OUTSIDE]


@cache
def draw_rows(name, seed=0):
    """Return a metric, drawn cases and their statistics; some take long to make."""
    metric = metrics.get(name)
    cases = draw_cases(name, np.random.default_rng(seed), NUM_EXAMPLES)
    return metric, [metric.statistics(answer, truth) for answer, truth in cases]


def assert_same(figures, expected):
    assert list(figures) == list(expected)
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_every_metric_has_cases_to_draw():
    assert set(METRICS) == set(all_cases())


@pytest.mark.parametrize("name", recipes.METRICS)
def test_what_a_recipe_names_is_a_metric(name):
    assert metrics.get(name).name == name


@pytest.mark.parametrize("name", METRICS)
def test_is_described(name):
    metric = metrics.get(name)
    assert metric.name == name
    assert metric.meaning
    assert metric.source
    assert isinstance(metric.is_higher_better, bool)


@pytest.mark.parametrize("name", COMPUTED)
def test_figures_begin_with_the_metrics_own(name):
    metric, rows = draw_rows(name)
    figures = metric.result(rows)
    assert next(iter(figures)) == name
    assert all(isinstance(value, float) for value in figures.values())
    assert np.isfinite(figures[name])


@pytest.mark.parametrize("name", COMPUTED)
def test_kinds_that_are_called_as_figures_change_none(name):
    metric, rows = draw_rows(name)
    expected = metric.result([{**row, "kind": ""} for row in rows])
    kinds = list(itertools.islice(itertools.cycle(expected), len(rows)))
    found = metric.result(
        [{**row, "kind": kind} for row, kind in zip(rows, kinds, strict=True)]
    )
    # The mean of kinds is by what they are, its `overall` is not.
    own = ["overall"] if isinstance(metric, MeanOfKinds) else expected
    assert_same({key: found[key] for key in own}, {key: expected[key] for key in own})
    if "kind" in rows[0]:
        assert f"kind/{name}" in found


@pytest.mark.parametrize("name", COMPUTED)
def test_figures_change_with_the_answers(name):
    found = {
        metrics.get(name).result(draw_rows(name, seed)[1])[name] for seed in range(3)
    }
    assert len(found) > 1


@pytest.mark.parametrize("name", COMPUTED)
def test_answers_in_batches_are_the_rows(name):
    metric, rows = draw_rows(name)
    cases = draw_cases(name, np.random.default_rng(0), NUM_EXAMPLES)
    state = metrics.State(metric)
    for batch in (range(4, 6), range(4)):
        state.update(batch, *zip(*(cases[i] for i in batch)))
    assert state.rows == dict(enumerate(rows[:6]))


def test_each_example_needs_an_id_an_answer_and_a_truth():
    state = metrics.State(metrics.get("exact_match"))
    answer, truth = metrics.Answer("a"), metrics.Truth(answers=("a",))
    with pytest.raises(ValueError, match="received 2 ids, 1 answers and 2 truths"):
        state.update([0, 1], [answer], [truth, truth])
    assert len(state) == 0


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("seed", range(3))
def test_states_in_any_order_give_the_same(name, seed):
    metric, rows = draw_rows(name, seed)
    whole = metrics.State(metric, dict(enumerate(rows)))
    random = np.random.default_rng(seed)
    owners = random.integers(0, 3, NUM_EXAMPLES)

    def part(owner):
        own = random.permutation(np.flatnonzero(owners == owner)).tolist()
        return metrics.State(metric, {i: rows[i] for i in own})

    def merged(first, *others):
        for other in others:
            first.merge(other)
        return first

    left = merged(merged(part(0), part(1)), part(2))
    right = merged(part(0), merged(part(1), part(2)))
    turned = merged(part(2), part(0), part(1))
    expected = json.dumps(whole.result())
    for state in (left, right, turned):
        # NaN is NaN in JSON.
        assert json.dumps(state.result()) == expected


@pytest.mark.parametrize("name", COMPUTED)
def test_rows_of_a_file_give_the_same(name):
    metric, rows = draw_rows(name, 1)
    read = json.loads(json.dumps(rows))
    assert json.dumps(metric.result(read)) == json.dumps(metric.result(rows))
    np.testing.assert_array_equal(metric.scores(read), metric.scores(rows))


@pytest.mark.parametrize("name", COMPUTED)
def test_counts_of_one_are_no_counts(name):
    metric, rows = draw_rows(name, 1)
    ones = np.ones(len(rows), int)
    assert_same(metric.result(rows, ones), metric.result(rows))


@pytest.mark.parametrize("name", COMPUTED)
def test_scores_are_one_for_each_example(name):
    metric, rows = draw_rows(name)
    scores = metric.scores(rows)
    assert scores.shape == (len(rows),)
    assert scores.dtype == np.float64


@pytest.mark.parametrize("wrong", ["cat", (None,), ("cat", 3)])
def test_answers_that_are_no_texts_are_refused(wrong):
    with pytest.raises(TypeError, match="Expected answers as a tuple of texts"):
        Truth(answers=wrong)
    with pytest.raises(TypeError, match="Expected an answer as text, received 5"):
        Answer(5)


@pytest.mark.parametrize("name", ["coco_ap", "ap50", "text_spotting"])
def test_a_text_without_boxes_is_no_truth_of_boxes(name):
    with pytest.raises(ValueError, match="received the text 'two', which has none"):
        metrics.get(name).statistics(Answer("two"), Truth(answers=("two",)))
