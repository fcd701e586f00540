"""Checksums of pieces against zlib's of the whole."""

from __future__ import annotations

import zlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from keras_pg2.conversion.tables.checksums import Checksum


@given(
    data=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    order=st.randoms(use_true_random=False),
    flipped=st.integers(0, 2**32 - 1),
)
def test_pieces_in_any_order_have_the_checksum_of_the_whole(
    data: bytes, cuts: list[int], order: object, flipped: int
) -> None:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = list(pairwise(ends))
    order.shuffle(pieces)  # type: ignore[attr-defined]
    right = Checksum(len(data), zlib.crc32(data))
    wrong = Checksum(len(data), zlib.crc32(data) ^ max(flipped, 1))
    for i, (start, end) in enumerate(pieces):
        assert right.add(start, data[start:end])
        # What is wrong is known with the last piece.
        assert wrong.add(start, data[start:end]) == (i < len(pieces) - 1)


def test_a_layer_again_and_then_the_whole() -> None:
    data = bytes(range(200))
    wrong = Checksum(200, zlib.crc32(data) ^ 1)
    assert wrong.add(0, data[:50])
    assert wrong.add(50, data[50:100])
    assert wrong.add(50, data[50:100])
    assert not wrong.add(0, data)
    assert not wrong.add(0, data)
    right = Checksum(200, zlib.crc32(data))
    assert right.add(100, data[100:150])
    assert right.add(0, data)
    assert right.add(0, data[:10])


def test_no_bytes() -> None:
    assert Checksum(0, 0).add(0, b"")
    assert not Checksum(0, 1).add(0, b"")
