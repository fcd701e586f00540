"""The attention rule, drawn: one row a query, 1 where it may attend."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling.attention_mask import (
    PADDING_BLOCK,
    attention_masks,
    token_layout,
)


def layout_of(*rows: str):
    """Layout of rows of tokens: i image, p prompt, r response, . padding."""
    padding = np.array([[token != "." for token in row] for row in rows])
    response = np.array([[token == "r" for token in row] for row in rows])
    return token_layout(padding, response)


def draw(mask) -> list[str]:
    return ["".join("01"[int(x)] for x in row) for row in ops.convert_to_numpy(mask)]


# The matrix of the module's docstring.
DRAWING = [
    "1111000",  # i
    "1111000",  # i
    "1111000",  # p
    "1111000",  # p
    "1111100",  # r
    "1111110",  # r
    "1111111",  # .
]


def test_prefix_response_and_padding() -> None:
    layout = layout_of("iipprr.")
    full, windowed = attention_masks(layout, layout, None)
    assert draw(full[0]) == DRAWING
    assert draw(windowed[0]) == DRAWING


def test_window_of_two_spares_the_prefix() -> None:
    layout = layout_of("iipprr.")
    full, windowed = attention_masks(layout, layout, 2)
    assert draw(full[0]) == DRAWING
    # Padding queries are never read: only the first six rows count.
    assert draw(windowed[0])[:6] == [*DRAWING[:4], "0001100", "0000110"]


def test_window_of_one_token_leaves_the_query_itself() -> None:
    layout = layout_of("iprr")
    windowed = attention_masks(layout, layout, 1).windowed
    assert draw(windowed[0]) == ["1100", "1100", "0010", "0001"]


def test_rows_of_different_lengths() -> None:
    layout = layout_of("ipprr", "ippp.", "ipr..")
    full = attention_masks(layout, layout, None).full
    assert draw(full[0]) == ["11100", "11100", "11100", "11110", "11111"]
    assert draw(full[1])[:4] == ["11110"] * 4
    assert draw(full[2])[:3] == ["11000", "11000", "11100"]


def test_padding_between_prompt_and_response() -> None:
    """As in a cache, where answers begin after the longest prompt."""
    layout = layout_of("ip..rr")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layout.positions)[0, [0, 1, 4, 5]], [0, 1, 2, 3]
    )
    full, windowed = attention_masks(layout, layout, 2)
    assert [draw(full[0])[i] for i in (0, 1, 4, 5)] == [
        "110000",
        "110000",
        "110010",
        "110011",
    ]
    # Distances count tokens, not slots: the first r still sees the p.
    assert draw(windowed[0])[4] == "010010"


def test_layout_of_left_padding() -> None:
    layout = layout_of("..ipr")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layout.positions)[0, 2:], [0, 1, 2]
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layout.block_ids)[0],
        [PADDING_BLOCK, PADDING_BLOCK, 0, 0, 1],
    )


@pytest.mark.parametrize("window", [None, 3])
def test_queries_may_be_fewer_than_keys(window: int | None) -> None:
    layout = layout_of("iipprrr")
    last = type(layout)(layout.positions[:, 5:], layout.block_ids[:, 5:])
    all_rows = attention_masks(layout, layout, window)
    some_rows = attention_masks(last, layout, window)
    for whole, part in zip(all_rows, some_rows):
        assert draw(part[0]) == draw(whole[0])[5:]
