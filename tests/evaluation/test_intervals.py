"""Bootstrap intervals: SciPy's, how often they hold, and what is refused."""

import numpy as np
import pytest
from scipy import stats

from keras_pg2 import metrics
from keras_pg2.evaluation.intervals import bootstrap, draw_figures
from keras_pg2.metrics.metric import Answer, Truth
from keras_pg2.metrics.registry import METRICS
from tests.support.metric_cases import OUTSIDE, draw_cases

EXACT = metrics.get("exact_match")


def rows_of(scores, kinds=None):
    kinds = kinds or [""] * len(scores)
    return [{"score": float(s), "kind": k} for s, k in zip(scores, kinds)]


def test_is_scipys_interval():
    scores = np.random.default_rng(1).uniform(size=300)
    found = bootstrap(EXACT, rows_of(scores), num_draws=3000)["exact_match"]
    expected = stats.bootstrap(
        (scores,), np.mean, n_resamples=3000, method="percentile", rng=2
    ).confidence_interval
    # Ends of two sets of draws differ by chance, of a width of 0.065.
    np.testing.assert_allclose(found, expected, atol=0.003)


def test_holds_the_true_share_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for seed in range(60):
        rows = rows_of(random.uniform(size=150) < 0.7)
        low, high = bootstrap(EXACT, rows, 150, level=0.9, seed=seed)["exact_match"]
        held += low <= 0.7 <= high
    # Three standard deviations, 0.039 each, around 0.9.
    assert 0.78 <= held / 60 <= 1


def test_a_seed_gives_the_same_draws():
    rows = rows_of(np.arange(50) % 3 == 0, ["a", "b"] * 25)
    assert bootstrap(EXACT, rows, 100, seed=3) == bootstrap(EXACT, rows, 100, seed=3)
    assert bootstrap(EXACT, rows, 100, seed=3) != bootstrap(EXACT, rows, 100, seed=4)


@pytest.mark.parametrize("name", [name for name in METRICS if name not in OUTSIDE])
def test_every_metric_has_the_same_draws_prepared_or_not(name):
    metric = metrics.get(name)
    cases = draw_cases(name, np.random.default_rng(0), 8)
    rows = [metric.statistics(answer, truth) for answer, truth in cases]
    draws = draw_figures(metric, rows, 6, seed=0)
    random = np.random.default_rng(0)
    for draw in range(6):
        counts = np.bincount(random.integers(8, size=8), minlength=8)
        for figure, value in metric.result(rows, counts).items():
            assert draws[figure][draw] == pytest.approx(value, abs=1e-12, nan_ok=True)


MEANS = ("vqav2_accuracy", "relaxed_accuracy", "rsvqa_accuracy", "pope", "perplexity")


@pytest.mark.parametrize("name", [*MEANS, "science_qa_accuracy", "ece"])
def test_counts_are_rows_repeated(name):
    metric = metrics.get(name)
    random = np.random.default_rng(5)
    cases = draw_cases(name, random, 20)
    rows = [metric.statistics(answer, truth) for answer, truth in cases]
    counts = random.integers(0, 3, 20)
    repeated = [row for row, count in zip(rows, counts) for _ in range(count)]
    found = metric.result(rows, counts)
    for figure, value in metric.result(repeated).items():
        assert found[figure] == pytest.approx(value, abs=1e-12)


def test_a_kind_that_few_draws_have_has_an_interval_of_those():
    rows = rows_of([1, 0, 1], ["rare", "", ""])
    assert bootstrap(EXACT, rows, 200)["rare"] == (1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"num_draws": 0}, "Expected num_draws"),
        ({"level": 95}, "Expected level between 0 and 1, as 0.95; received 95"),
        ({"seed": -1}, "Expected seed"),
    ],
)
def test_what_is_no_argument_is_refused(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        bootstrap(EXACT, rows_of([1]), **arguments)


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="at least one example to draw, received none"):
        bootstrap(EXACT, [])


def test_statistics_of_answers_are_what_it_takes():
    rows = [EXACT.statistics(Answer("a"), Truth(answers=("a",)))]
    assert bootstrap(EXACT, rows, 10) == {"exact_match": (1.0, 1.0)}
