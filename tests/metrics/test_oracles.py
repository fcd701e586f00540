"""Metrics beside packages that define or compute them; scripts/check_metrics.py runs
the same comparisons, and those with programs that are no packages, on many cases."""

import numpy as np
import pytest

from scripts.check_metrics import LARGEST_DIFFERENCE, find_checks

NUM_CASES = 300
# Programs that are no packages are where somebody has cloned them.
PACKAGES = ("rapidfuzz", "scikit-learn")
CHECKS = [check for check in find_checks() if check.oracle.startswith(PACKAGES)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.metric}-{c.oracle}")
def test_differences_are_rounding(check):
    assert check.compare(np.random.default_rng(0), NUM_CASES) <= LARGEST_DIFFERENCE
