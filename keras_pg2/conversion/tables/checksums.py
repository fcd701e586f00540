"""CRC-32 of a whole whose pieces are read in any order, by several threads.

It takes half as long as reading. So pieces that are read alone cost nothing: one is
counted at once if all before it have been read, the others when all have been.

The checksum of two pieces follows from theirs and the length of the second: to append
a bit is to multiply a polynomial over GF(2) by x (zlib's `crc32_combine`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from threading import Lock

_CRC_32 = 0xEDB88320
"""The polynomial, its highest power in the lowest bit."""
_ONE = 1 << 31
_BLOCK = 1 << 20


class Checksum:
    """The CRC-32 of some bytes, known when each of them has been read.

    Args:
        num_bytes: How many there are.
        expected: Their CRC-32.
        read: Returns bytes again, by the index of the first and their number.
    """

    def __init__(
        self, num_bytes: int, expected: int, read: Callable[[int, int], bytes]
    ) -> None:
        self._num_bytes = num_bytes
        self._expected = expected
        self._read = read
        self._pieces: dict[int, tuple[int, int | None]] = {}
        self._is_right = False
        self._lock = Lock()

    def add(self, start: int, piece: bytes | memoryview) -> bool:
        """Add a piece in the place of those inside of it.

        Returns:
            Whether the checksum is right, as far as it can be known.
        """
        if self._is_right:
            return True
        length = len(piece)
        with self._lock:
            before = sum(n for i, (n, _) in self._pieces.items() if i < start)
        crc = zlib.crc32(piece) if before == start else None
        with self._lock:
            for inside in [i for i in self._pieces if start <= i < start + length]:
                del self._pieces[inside]
            self._pieces[start] = (length, crc)
            found = self._crc()
            self._is_right = found == self._expected
            return found is None or self._is_right

    def _crc(self) -> int | None:
        """Return the CRC-32 of all bytes; None as long as some are missing."""
        if sum(length for length, _ in self._pieces.values()) < self._num_bytes:
            return None
        end = total = 0
        for start, (length, crc) in sorted(self._pieces.items()):
            if start != end:
                return None
            crc = self._crc_again(start, length) if crc is None else crc
            total = _multiply(total, _power(8 * length)) ^ crc
            end += length
        return total

    def _crc_again(self, start: int, length: int) -> int:
        crc = 0
        for i in range(start, start + length, _BLOCK):
            crc = zlib.crc32(self._read(i, min(_BLOCK, start + length - i)), crc)
        return crc


def _multiply(a: int, b: int) -> int:
    """Return the product of two polynomials modulo `_CRC_32`."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (_CRC_32 if b & 1 else 0)
    return product


@lru_cache(maxsize=256)
def _power(exponent: int) -> int:
    """Return x ** exponent modulo `_CRC_32`."""
    result, factor = _ONE, _ONE >> 1
    while exponent:
        if exponent & 1:
            result = _multiply(result, factor)
        factor = _multiply(factor, factor)
        exponent >>= 1
    return result
