"""Drawn tables: lxml reads their HTML as what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from lxml import html as lxml_html

from keras_pg2.datasets.drawn import tables
from keras_pg2.datasets.drawn.tables import Cell, Table

TABLE = Table(
    3,
    2,
    (
        Cell("SUN", 0, 0, num_columns=2),
        Cell("7", 1, 0, num_rows=2),
        Cell("12", 1, 1),
        Cell("", 2, 1),
    ),
)


@pytest.fixture(scope="module")
def drawn():
    return tables.examples("train", 60, seed=5)


def test_html_of_a_table_by_hand() -> None:
    wanted = "<table><tr><td colspan=2>SUN<tr><td rowspan=2>7<td>12<tr><td>"
    assert tables.html(TABLE) == wanted


def test_boxes_of_a_table_by_hand() -> None:
    # Two of 84 pixels are left free on each side: 24 of 1023.
    assert 'colspan=2 coords="<loc0024><loc0024><loc0999><loc0349>">SUN' in tables.html(
        TABLE, has_boxes=True
    )


def test_a_parser_of_html_reads_the_table(drawn) -> None:
    for example in drawn:
        [text] = example.truth.answers
        [found] = lxml_html.document_fromstring(text).iter("table")
        rows = list(found.iter("tr"))
        num_rows, num_columns = map(int, example.truth.kind.split(" x "))
        assert len(rows) == num_rows
        covered = np.zeros((num_rows, num_columns), int)
        for index, row in enumerate(rows):
            for cell in row.iter("td"):
                height, width = (
                    int(cell.get(name, 1)) for name in ("rowspan", "colspan")
                )
                first = int(np.flatnonzero(covered[index] == 0)[0])
                covered[index : index + height, first : first + width] += 1
        assert (covered == 1).all()


def test_boxes_change_nothing_but_coords() -> None:
    plain = tables.examples("train", 10, seed=5)
    boxed = tables.examples("train", 10, seed=5, has_boxes=True)
    for one, other in zip(plain, boxed, strict=True):
        assert one.truth == other.truth
        assert one.response != other.response
        [found] = lxml_html.document_fromstring(other.response).iter("table")
        for cell in found.iter("td"):
            assert len(cell.attrib.pop("coords")) == 4 * len("<loc0000>")
        [wanted] = lxml_html.document_fromstring(one.response).iter("table")
        assert lxml_html.tostring(found) == lxml_html.tostring(wanted)


def test_words_stay_in_their_cells() -> None:
    """Beside the letters of the narrowest cell there is white, then its lines."""
    for word in tables.WORDS:
        cells = tuple(Cell(word if i == 1 else "", 0, i) for i in range(3))
        picture = tables.render(Table(1, 3, cells), 336)[..., 0]
        left, _, right, _ = (
            336 * edge for edge in tables.cell_box(Table(1, 3, cells), cells[1])
        )
        is_dark = (picture < 90).any(0)
        assert is_dark[round(left) : round(right)].any()
        assert not is_dark[: round(left)].any()
        assert not is_dark[round(right) :].any()


def test_splits_have_nothing_in_common(drawn) -> None:
    others = tables.examples("test", 8, seed=6)
    texts = {example.truth.answers for example in drawn}
    assert len(texts) == len(drawn)
    assert not texts & {example.truth.answers for example in others}


def test_the_same_seed_draws_the_same_pictures(drawn) -> None:
    again = tables.examples("train", 5, seed=5)
    for example, other in zip(drawn[:5], again, strict=True):
        assert example.truth == other.truth
        np.testing.assert_array_equal(example.images, other.images)
