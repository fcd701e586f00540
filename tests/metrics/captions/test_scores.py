"""CIDEr, BLEU and ROUGE-L of captions, by hand and by what must hold.

Beside pycocoevalcap they stand in scripts/metric_checks/captions.py.
"""

import math

import numpy as np
import pytest

from keras_pg2 import metrics
from keras_pg2.metrics.captions.rouge import common_length
from keras_pg2.metrics.metric import Answer, Truth
from tests.support.metric_cases import draw_cases


def rows_of(name, *cases):
    metric = metrics.get(name)
    return metric, [
        metric.statistics(Answer(text), Truth(answers=references))
        for text, *references in (map(str, case) for case in cases)
        for references in [tuple(references)]
    ]


def test_cider_by_hand():
    # Two examples: each n-gram of one reference alone weighs log 2, one of both 0.
    # First: unigrams of the answer (a, cat) and of the reference (a, dog) share "a"
    # alone, which weighs 0. Second: "a red bus" is its reference: cosine 1 for one to
    # three words, and no four.
    metric, rows = rows_of("cider", ("a cat", "a dog"), ("A red bus.", "a red bus"))
    np.testing.assert_allclose(metric.scores(rows), [0, 10 * 3 / 4], rtol=1e-12)
    assert metric.result(rows)["cider"] == pytest.approx(3.75)


def test_cider_of_another_length():
    # Bigrams: one in the answer, three in the reference, so exp(-4 / 72). Unigrams: one
    # of the answer's two and the reference's four rare words.
    metric, rows = rows_of("cider", ("red on", "red bus by sea"), ("x", "on y"))
    # "on" is of the other example's reference, and weighs log 2 as "red" does.
    assert metric.scores(rows)[0] == pytest.approx(
        10 / 4 * math.exp(-4 / 72) / (math.sqrt(2) * 2)
    )


def test_one_example_alone_scores_no_cider():
    metric, rows = rows_of("cider", ("a cat", "a cat"))
    assert metric.result(rows)["cider"] == 0.0


def test_draws_keep_the_document_frequencies_of_all_examples():
    metric = metrics.get("cider")
    cases = draw_cases("cider", np.random.default_rng(0), 20)
    rows = [metric.statistics(*case) for case in cases]
    counts = np.zeros(20, int)
    counts[3] = 20
    drawn = metric.result(rows, counts)
    assert drawn["cider"] == pytest.approx(metric.scores(rows)[3])
    assert metric.result([rows[3]] * 20)["cider"] == 0.0


def test_bleu_by_hand():
    # Papineni et al. 2002, example 1: "the" seven times, at most two in a reference.
    metric, rows = rows_of(
        "bleu",
        ("the the the the the the the", "the cat is on the mat", "there is a cat"),
    )
    assert metric.result(rows)["bleu_1"] == pytest.approx(2 / 7, abs=1e-8)
    # A shorter answer: exp(1 - 4 / 2) of the nearest reference.
    metric, rows = rows_of("bleu", ("a cat", "a cat sits here", "a cat sits on a mat"))
    assert metric.result(rows)["bleu_2"] == pytest.approx(math.exp(-1), abs=1e-8)
    assert metric.result(rows)["bleu_4"] == pytest.approx(0, abs=1e-3)


def test_bleu_is_of_all_answers_together():
    metric, rows = rows_of("bleu", ("a b", "a b"), ("c d", "e f"))
    assert metric.result(rows)["bleu_1"] == pytest.approx(0.5, abs=1e-8)


def test_rouge_l_by_hand():
    # Lin 2004, section 2: "police kill the gunman" has three of four words in order.
    metric, rows = rows_of(
        "rouge_l", ("police kill the gunman", "police killed the gunman")
    )
    assert metric.result(rows)["rouge_l"] == pytest.approx(0.75)
    metric, rows = rows_of("rouge_l", ("the gunman kill police", "police killed it"))
    score = (1 + 1.44) * (1 / 4) * (1 / 3) / (1 / 3 + 1.44 / 4)
    assert metric.result(rows)["rouge_l"] == pytest.approx(score)


def test_common_length_is_that_of_the_table():
    random = np.random.default_rng(0)
    for _ in range(100):
        first, second = (
            [str(v) for v in random.integers(0, 4, random.integers(0, 70))]
            for _ in range(2)
        )
        table = np.zeros((len(first) + 1, len(second) + 1), int)
        for i, a in enumerate(first):
            for j, b in enumerate(second):
                table[i + 1, j + 1] = (
                    table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
                )
        assert common_length(first, second) == table[-1, -1]


@pytest.mark.parametrize(
    ("answer", "references", "cider", "bleu_1", "rouge_l"),
    [
        ("", ("a cat",), 0.0, 0.0, 0.0),
        ("a cat", ("",), 0.0, 0.0, 0.0),
        # As pycocoevalcap has it: ROUGE-L compares one empty word with another.
        ("", ("",), 0.0, 0.0, 1.0),
        ("...", ("a cat", "!"), 0.0, 0.0, 1.0),
    ],
)
def test_empty_captions(answer, references, cider, bleu_1, rouge_l):
    metric, rows = rows_of("cider", (answer, *references), ("a dog", "a dog"))
    assert metric.scores(rows)[0] == cider
    figures = metric.result([rows[0]])
    assert figures["bleu_1"] == pytest.approx(bleu_1, abs=1e-5)
    assert figures["rouge_l"] == rouge_l


@pytest.mark.parametrize("name", ["cider", "bleu", "rouge_l", "meteor", "spice"])
def test_no_reference_is_refused(name):
    with pytest.raises(ValueError, match="at least one reference caption"):
        metrics.get(name).statistics(Answer("a cat"), Truth())
