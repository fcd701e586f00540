from __future__ import annotations

import pytest

from keras_pg2 import metrics
from keras_pg2.metrics import Answer, Truth
from keras_pg2.metrics.structured.edit_rates import symbols

KERN = "**kern\t**kern\n4c\t8dd#\n=\t=\n4C 4E\t.\n*-\t*-"


def row(name, said, *wanted, kind=""):
    truth = Truth(answers=wanted, kind=kind)
    return metrics.get(name).statistics(Answer(said), truth)


def rates(name, *pairs):
    return metrics.get(name).result([row(name, *pair) for pair in pairs])


def test_sums_are_not_means():
    # 1 edit of 2 and 0 of 8 characters.
    figures = rates("cer", ("ab", "ac"), ("12345678", "12345678"))
    assert figures == pytest.approx({"cer": 0.1, "cer_mean": 0.25})


def test_words_are_parted_by_any_blanks():
    # jiwer's first example: one word more, and "duck" for "dog".
    assert rates("wer", ("hello  duck\n", "hello world"))["wer"] == 0.5
    assert rates("wer", (" a b ", "a b"))["wer"] == 0
    assert rates("wer", ("hello beautiful duck", "hello world"))["wer"] == 1


def test_symbols_of_music():
    assert symbols("4c\t.\n4C 4E") == ["4c", "<t>", ".", "<b>", "4C", "4E"]
    # Five lines of two spines: ten symbols and one in the chord, five tabs, four ends.
    assert row("ser", KERN, KERN) == {"edits": 0, "length": 20, "kind": ""}
    said = KERN.replace("8dd#", "8dd").replace("4C 4E", "4C")
    assert row("ser", said, KERN)["edits"] == 2
    assert row("cer", said, KERN)["edits"] == 4
    assert row("ler", said, KERN) == {"edits": 2, "length": 5, "kind": ""}


def test_a_line_that_is_left_out():
    said = KERN.replace("=\t=\n", "")
    assert row("ler", said, KERN)["edits"] == 1
    # Two symbols, a tab and an end.
    assert row("ser", said, KERN)["edits"] == 4


def test_empty_texts():
    for name in ("cer", "wer", "ser", "ler"):
        assert rates(name, ("", ""))[name] == 0
        assert rates(name, ("", "a b"))[name] == 1
        assert rates(name, ("a", ""))[name] == 1
        assert rates(name, (" \n", ""))[name] == 0
    assert rates("wer", ("a b c", ""))["wer"] == 3
    with pytest.raises(ValueError, match="expected a text as truth"):
        row("cer", "a")


def test_a_rate_may_be_above_one():
    figures = rates("wer", ("no no no", "yes"))
    assert figures["wer"] == figures["wer_mean"] == 3


def test_the_nearest_of_several_truths_counts():
    assert row("wer", "a b", "a", "a b c", "x y") == row("wer", "a b", "a b c")


def test_kinds_have_their_own_rates():
    metric = metrics.get("wer")
    rows = [
        row("wer", "a", "b", kind="x"),
        row("wer", "a a a", "a a a", kind="x"),
        row("wer", "b", "a a", kind="y"),
    ]
    found = metric.result(rows)
    assert (found["x"], found["y"], found["wer"]) == pytest.approx((1 / 4, 1, 3 / 6))
    assert not metric.is_higher_better
