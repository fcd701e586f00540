"""Edit distance of texts and other sequences, without a package."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Return the fewest insertions, deletions and replacements from `a` to `b`.

    A column of the table of distances is kept as two integers whose bits say where it
    goes up and down by one from row to row, so a column takes a dozen operations.

    Source: H. Hyyrö, Explaining and extending the bit-parallel approximate string
    matching algorithm of Myers, 2001, figure 8, for the distance.

    Args:
        a: A text, or items that can be compared.
        b: Another one.
    """
    if not a:
        return len(b)
    places: dict[Hashable, int] = {}
    for row, item in enumerate(a):
        places[item] = places.get(item, 0) | 1 << row
    last_row = 1 << (len(a) - 1)
    every_row = 2 * last_row - 1
    up, down, distance = every_row, 0, len(a)
    for item in b:
        equal = places.get(item, 0)
        diagonal = equal | down
        beside = (((equal & up) + up) ^ up) | equal
        more = down | (every_row & ~(beside | up))
        less = up & beside
        distance += bool(more & last_row) - bool(less & last_row)
        more = (more << 1 | 1) & every_row
        less = less << 1 & every_row
        up = less | (every_row & ~(diagonal | more))
        down = more & diagonal
    return distance
