from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_pg2.generation.answer_trees import Branches, join_trees

END = 1


def test_common_beginnings_stand_once():
    tree = Branches([[5, 6, END], [5, 7, END], [8, END]])
    assert tree.nodes == [(5, 0), (6, 1), (7, 1), (8, 0)]
    first, second, third = tree.paths
    assert [tree.edges[i] for i in first] == [(0, 5), (1, 6), (2, END)]
    assert [tree.edges[i] for i in second] == [(0, 5), (1, 7), (3, END)]
    assert [tree.edges[i] for i in third] == [(0, 8), (4, END)]
    assert len(tree.edges) == 7


def test_trees_as_arrays():
    trees = [Branches([[5, 6, END], [5, 7, END]]), Branches([[END]])]
    joined = join_trees(trees, 4)
    assert [part.shape for part in joined] == [
        (4, 4),
        (4, 4),
        (4, 4, 4),
        (4, 8),
        (4, 8),
    ]
    np.testing.assert_array_equal(joined.tokens[0], [5, 6, 7, 0])
    np.testing.assert_array_equal(joined.depths[0], [0, 1, 1, 0])
    sees = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(joined.sees[0], np.array(sees, bool))
    np.testing.assert_array_equal(joined.parents[0, :5], [0, 1, 2, 1, 3])
    np.testing.assert_array_equal(joined.branches[0, :5], [5, 6, END, 7, END])
    np.testing.assert_array_equal(joined.branches[1:, 1:], 0)


@given(
    st.lists(
        st.lists(st.integers(2, 4), max_size=4).map(lambda row: [*row, END]),
        min_size=1,
        max_size=8,
    )
)
def test_every_answer_is_a_way_through_the_tree(answers):
    tree = Branches(answers)
    joined = join_trees([tree], 1)
    for answer, path in zip(answers, tree.paths, strict=True):
        assert joined.branches[0, path].tolist() == answer
        above: list[int] = []
        for node in joined.parents[0, path].tolist()[1:]:
            above.append(node - 1)
            assert joined.depths[0, node - 1] == len(above) - 1
            assert np.flatnonzero(joined.sees[0, node - 1]).tolist() == sorted(above)
        assert joined.tokens[0, above].tolist() == answer[:-1]
    beginnings = {tuple(row[:i]) for row in answers for i in range(1, len(row))}
    assert len(tree.nodes) == len(beginnings)
