"""The sixteen `<seg...>` tokens of a mask: codes of a 4 x 4 grid, row by row.

What the codes mean is in `mask_codec.py`.
"""

from __future__ import annotations

import numpy as np

NUM_CODES = 128
"""`<seg000>` to `<seg127>`."""
NUM_TOKENS = 16
"""Of one mask."""


def codes_to_text(codes: np.ndarray) -> list[str]:
    """int[N, 16] in 0..127 -> N times sixteen tokens: `<seg004><seg127>...`.

    Raises:
        ValueError: if a code lies outside 0..127, or the shape is another.
    """
    rows = check_codes(codes)
    return ["".join(f"<seg{code:03d}>" for code in row) for row in rows.tolist()]


def check_codes(codes: np.ndarray) -> np.ndarray:
    """The codes as int32[N, 16]; an empty list is no masks.

    Raises:
        ValueError: if a code lies outside 0..127, or the shape is another.
    """
    array = np.asarray(codes)
    if array.size == 0:
        return np.zeros((0, NUM_TOKENS), np.int32)
    if array.ndim != 2 or array.shape[1] != NUM_TOKENS:
        raise ValueError(
            f"Expected codes of shape [N, {NUM_TOKENS}], received {array.shape}."
        )
    if not (array.min() >= 0 and array.max() < NUM_CODES):
        raise ValueError(
            f"Expected codes in 0..{NUM_CODES - 1}, received values in "
            f"{array.min()}..{array.max()}."
        )
    return array.astype(np.int32)
