"""Metrics beside packages that define or compute them; scripts/check_metrics.py runs
the same comparisons, and those with programs that are no packages, on many cases."""

import numpy as np
import pytest

from scripts.check_metrics import LARGEST_DIFFERENCE, find_checks

# Programs that are no packages are where somebody has cloned them.
PACKAGES = (
    *("rapidfuzz", "scikit-learn", "pycocotools", "faster-coco-eval", "areas of"),
    *("jiwer", "table-recognition-metric", "grits-metric"),
)
CHECKS = [check for check in find_checks() if check.oracle.startswith(PACKAGES)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.metric}-{c.oracle}")
def test_differences_are_rounding(check):
    assert (
        check.compare(np.random.default_rng(0), check.num_quick) <= LARGEST_DIFFERENCE
    )
