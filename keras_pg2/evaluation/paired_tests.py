"""Whether two sets of scores of the same examples differ by more than chance has it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

NUM_FLIPS = 10_000
_MOST_PATTERNS = 12
"""Pairs that differ, up to which all patterns of signs are gone through."""
_BITS_AT_ONCE = 4_000_000


def mcnemar_p_value(better: int, worse: int) -> float:
    """Return the two-sided p value of McNemar's exact test.

    Were both alike, each example that one of them alone gets right would be as likely
    one's as the other's. Source: Q. McNemar, Note on the sampling error of the
    difference between correlated proportions or percentages, 1947; exact by the
    binomial distribution.

    Args:
        better: Number of examples that the second alone gets right.
        worse: Number of those that the first alone gets right.
    """
    total, fewer = better + worse, min(better, worse)
    ways, one = 0, 1
    for k in range(fewer + 1):
        ways += one
        one = one * (total - k) // (k + 1)
    return min(1.0, 2 * ways / 2**total)


def sign_flip_p_value(
    differences: np.ndarray, num_flips: int = NUM_FLIPS, seed: int = 0
) -> float:
    """Return the two-sided p value of the mean of paired differences.

    Were both alike, each difference would be as likely with the other sign. It is the
    share of patterns of signs whose mean is as far from 0 or farther; of all patterns
    where there are few, otherwise of drawn ones and the one that is there. Source:
    R. A. Fisher, The Design of Experiments, 1935, section 21; B. Phipson and G. Smyth,
    Permutation p-values should never be zero, 2010, for drawn patterns.

    Args:
        differences: float64[N], scores of the second less those of the first.
        num_flips: Number of patterns that are drawn.
        seed: Seed of the draws.
    """
    apart = differences[differences != 0]
    if not len(apart):
        return 1.0
    total = float(np.sum(apart))
    # Sums of the same numbers in another order round differently.
    far = abs(total) - 1e-9 * float(np.sum(np.abs(apart)))
    farther = patterns = 0
    for signs in _patterns(len(apart), num_flips, seed):
        sums = 2 * (signs @ apart) - total
        farther += int(np.sum(np.abs(sums) >= far))
        patterns += len(signs)
    if len(apart) <= _MOST_PATTERNS:
        return farther / patterns
    return (farther + 1) / (patterns + 1)


def _patterns(length: int, num_flips: int, seed: int) -> Iterator[np.ndarray]:
    """Yield float64[P, N] of 0 and 1, some patterns at a time."""
    if length <= _MOST_PATTERNS:
        numbers = np.arange(2**length)
        yield (numbers[:, None] >> np.arange(length) & 1).astype(np.float64)
        return
    random = np.random.default_rng(seed)
    at_once = max(1, _BITS_AT_ONCE // length)
    for start in range(0, num_flips, at_once):
        num = min(at_once, num_flips - start)
        packed = np.frombuffer(random.bytes(num * -(-length // 8)), np.uint8)
        bits = np.unpackbits(packed.reshape(num, -1), axis=1, count=length)
        yield bits.astype(np.float64)
