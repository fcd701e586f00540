"""Checksums of pieces against zlib's of the whole."""

from __future__ import annotations

import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_pg2.conversion.tables import checksums
from keras_pg2.conversion.tables.checksums import Checksum


def checksum(data: bytes, flipped: int = 0) -> Checksum:
    return Checksum(
        len(data), zlib.crc32(data) ^ flipped, lambda i, length: data[i : i + length]
    )


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
    right = checksum(data)
    wrong = checksum(data, max(flipped, 1))
    for i, (start, end) in enumerate(pieces):
        assert right.add(start, data[start:end])
        # What is wrong is known with the last piece.
        assert wrong.add(start, data[start:end]) == (i < len(pieces) - 1)


def test_a_layer_again_and_then_the_whole() -> None:
    data = bytes(range(200))
    wrong = checksum(data, 1)
    assert wrong.add(0, data[:50])
    assert wrong.add(50, data[50:100])
    assert wrong.add(50, data[50:100])
    assert not wrong.add(0, data)
    assert not wrong.add(0, data)
    right = checksum(data)
    assert right.add(100, data[100:150])
    assert right.add(0, data)
    assert right.add(0, data[:10])


def test_no_bytes() -> None:
    assert checksum(b"").add(0, b"")
    assert not checksum(b"", 1).add(0, b"")


def test_a_piece_alone_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading one layer of a stack is as fast as without a checksum."""
    counted = []
    monkeypatch.setattr(checksums.zlib, "crc32", lambda *x: counted.append(x) or 0)
    one = Checksum(200, 0, lambda start, length: bytes(length))
    one.add(100, bytes(30))
    one.add(130, bytes(20))
    assert not counted
    one.add(0, bytes(20))
    one.add(20, bytes(80))
    assert len(counted) == 2
    one.add(150, bytes(50))
    # With the last piece, those that were left out are read again.
    assert len(counted) == 5
