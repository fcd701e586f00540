from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from keras_pg2 import metrics
from keras_pg2.metrics import Answer, Truth
from keras_pg2.metrics.structured.html_tables import cell_boxes, read_table
from keras_pg2.metrics.structured.teds import table_tree, tree_distance
from tests.support.metric_cases import draw_cases

TABLE = (
    "<table><thead><tr><td>Name</td><td>Age</td></tr></thead>"
    "<tbody><tr><td>Ada</td><td>36</td></tr></tbody></table>"
)
NAMES = ("teds", "teds_structure", "grits_con", "grits_top")


def row(name, said, wanted=TABLE):
    return metrics.get(name).statistics(Answer(said), Truth(answers=(wanted,)))


def score(name, said, wanted=TABLE):
    return float(metrics.get(name).scores([row(name, said, wanted)])[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "said",
    [
        TABLE,
        f"<html><body>{TABLE}</body></html>",
        f"Here it is: {TABLE} and {TABLE.replace('Ada', 'Bob')}",
        TABLE.replace("<td>Ada", "<!-- one --><td>Ada"),
        TABLE.removesuffix("</tbody></table>"),
    ],
)
def test_the_first_table_of_an_answer_counts(name, said):
    assert score(name, said) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "said",
    [
        "",
        " ",
        "Ada 36",
        "<td>1</td>",
        "<table",
        "<!-- <table></table> -->",
        "\x00",
        "<" * 1000,
        "<table>" + "<tr></tr>" * 3000 + "<tr><td rowspan=99></td></tr></table>",
    ],
)
def test_an_answer_that_is_no_table_scores_nothing(name, said):
    found = row(name, said)
    assert metrics.get(name).scores([found]) == 0
    assert found["is_valid"] is False


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("truth", [(), ("",), ("Ada",), (TABLE, TABLE)])
def test_a_truth_that_is_no_table_is_refused(name, truth):
    with pytest.raises(ValueError, match="one table as HTML as truth"):
        metrics.get(name).statistics(Answer(TABLE), Truth(answers=truth))


def test_teds_by_hand():
    # Tags below the table: thead, tbody, two rows and four cells.
    said = TABLE.replace("Ada", "Adam")
    # One of four characters.
    assert score("teds", said) == pytest.approx(1 - 0.25 / 8)
    assert row("teds", said)["teds_by_tree_size"] == pytest.approx(1 - 0.25 / 9)
    assert score("teds_structure", said) == 1
    # A cell that is left out.
    assert score("teds", TABLE.replace("<td>Age</td>", "")) == pytest.approx(1 - 1 / 8)
    # Tags inside of a cell are content: <b>, </b> and three characters.
    said = TABLE.replace("Ada", "<b>Ada</b>")
    assert score("teds", said) == pytest.approx(1 - (2 / 5) / 9)
    assert row("teds", said)["teds_by_tree_size"] == pytest.approx(1 - (2 / 5) / 9)


def test_spans_are_part_of_teds():
    wide = TABLE.replace("<td>Ada", "<td colspan=2>Ada")
    tall = TABLE.replace("<td>Ada", "<td rowspan=2>Ada")
    assert score("teds_structure", wide) == pytest.approx(1 - 1 / 8)
    assert score("teds_structure", wide, tall) == pytest.approx(1 - 1 / 8)
    assert score("teds_structure", wide, wide) == 1
    found = row("teds", TABLE.replace("<td>Ada", "<td colspan=two>Ada"))
    assert (found["teds"], found["is_valid"]) == (0, False)


def test_two_tables_without_cells_are_the_same():
    for name in NAMES:
        assert score(name, "<table></table>", "<table></table>") == 1
        assert score(name, "<table></table>") == 0
    figures = metrics.get("teds").result([row("teds", ""), row("teds", TABLE)])
    assert figures == pytest.approx(
        {"teds": 0.5, "teds_structure": 0.5, "teds_by_tree_size": 0.5, "valid": 0.5}
    )


def test_nested_tables_are_read():
    nested = TABLE.replace("Ada", f"<table><tr><td>{'x' * 5}</td></tr></table>")
    assert score("teds", nested, nested) == score("grits_con", nested, nested) == 1
    assert 0 < score("teds", nested) < 1
    assert 0 < score("grits_con", nested) < 1


@pytest.mark.parametrize("seed", range(12))
def test_tree_distance_is_the_least_of_all_edits(seed):
    [(answer, truth)] = draw_cases("teds", np.random.default_rng(seed), 1)
    tables = [read_table(answer.text), read_table(truth.answers[0])]
    if tables[0] is None or "two" in answer.text:
        tables[0] = read_table(TABLE)
    trees = [table_tree(table) for table in tables]
    assert tree_distance(*trees) == pytest.approx(least_cost(*trees))


def least_cost(first, second):
    """The tree edit distance by its definition, over all forests."""

    def frozen(node):
        return node.tag, node.span, node.content, tuple(map(frozen, node.children))

    def change(one, other):
        if one[:2] != other[:2]:
            return 1.0
        longer = max(len(one[2]), len(other[2]), 1)
        return letters(one[2], other[2]) / longer

    @cache
    def letters(a, b):
        if not a or not b:
            return len(a) + len(b)
        same = letters(a[1:], b[1:]) + (a[0] != b[0])
        return min(same, 1 + letters(a[1:], b), 1 + letters(a, b[1:]))

    @cache
    def forests(a, b):
        if not a or not b:
            return sum(1 + forests(node[3], ()) for node in (*a, *b))
        (*rest_a, last_a), (*rest_b, last_b) = a, b
        return min(
            1 + forests((*rest_a, *last_a[3]), b),
            1 + forests(a, (*rest_b, *last_b[3])),
            change(last_a, last_b)
            + forests(last_a[3], last_b[3])
            + forests(tuple(rest_a), tuple(rest_b)),
        )

    return forests((frozen(first),), (frozen(second),))


def test_grits_by_hand():
    # "Ada" and "Adam" share three letters: 2 * 3 / 7 of a cell, 3 + 6/7 of 4 cells.
    assert score("grits_con", TABLE.replace("Ada", "Adam")) == pytest.approx(27 / 28)
    # A row that is left out: all of two cells, half of four.
    said = "<table><tr><td>Name</td><td>Age</td></tr></table>"
    for name in ("grits_con", "grits_top"):
        assert score(name, said) == pytest.approx(2 * 2 / (2 + 4))


def test_a_span_fills_its_places_of_the_grid():
    said = (
        "<table><tr><td colspan=2>Name</td></tr>"
        "<tr><td>Ada</td><td>36</td></tr></table>"
    )
    # Both places of the upper row: half of what the span covers is the cell's own.
    assert row("grits_top", said)["top"] == pytest.approx(2 + 2 * 0.5)
    # "Name" and "Age" share "e".
    assert row("grits_con", said)["con"] == pytest.approx(3 + 2 / 7)


@pytest.mark.parametrize("span", ["colspan", "rowspan"])
@pytest.mark.parametrize("size", ["3000", "65534", "9" * 400])
def test_a_span_that_no_grid_holds_is_no_table(span, size):
    said = TABLE.replace("<td>Ada", f'<td {span}="{size}">Ada')
    found = row("grits_con", said)
    assert (found["con"], found["is_valid"], found["num_found"]) == (0, False, 0)


def test_spans_that_leave_a_grid_of_many_holes_are_no_table():
    said = "<table><tr><td rowspan=900>1</td><td colspan=900>2</td></tr></table>"
    assert row("grits_top", said)["is_valid"] is False


def boxed(*boxes, empty=False):
    cells = [
        f'<td coords="{"".join(f"<loc{n:04d}>" for n in box)}">x</td>' for box in boxes
    ]
    return f"<table><tr>{''.join(cells)}{'<td></td>' * empty}</tr></table>"


def test_boxes_of_cells():
    table = read_table(boxed((1, 2, 3, 4), (5, 6, 4, 9), (1, 2, 3)))
    # A box with its corners in the wrong order, and one of three tokens, are none.
    assert cell_boxes(table) == [(1, 2, 3, 4), None, None]
    truth = boxed((0, 0, 100, 100), (200, 0, 300, 100), empty=True)
    said = boxed((0, 0, 100, 50), (200, 0, 300, 100), empty=True)
    assert row("grits_con", truth, truth)["loc"] == 3
    assert row("grits_con", said, truth)["loc"] == pytest.approx(2.5)
    figures = metrics.get("grits_con").result(
        [row("grits_con", said, truth), row("grits_con", TABLE)]
    )
    # The table without boxes is left out.
    assert figures["grits_loc"] == pytest.approx(2.5 / 3)
    assert figures["grits_con"] == 1
    assert "grits_loc" not in metrics.get("grits_con").result([row("grits_con", TABLE)])


def test_means_over_tables_are_not_those_over_cells():
    small = "<table><tr><td>x</td></tr></table>"
    rows = [row("grits_top", TABLE), row("grits_top", "", small)]
    figures = metrics.get("grits_top").result(rows)
    assert figures["grits_top"] == figures["valid"] == 0.5
    # 4 of 5 cells, and precision 1.
    assert figures["grits_top_over_cells"] == pytest.approx(2 * 4 / (5 + 4))
