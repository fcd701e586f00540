"""What runners choose of logits."""

from __future__ import annotations

import numpy as np
import pytest

from keras_pg2.deploy.runners.tokens import GreedyChoice

pytestmark = pytest.mark.one_backend("arrays of NumPy")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_none_are_told(value):
    logits = np.array([0.5, 2.0, -1.0], np.float32)
    choice = GreedyChoice(None)
    assert choice.choose(logits, 1) == 1
    logits[2] = value
    with pytest.raises(FloatingPointError, match="another checkpoint"):
        choice.choose(logits, 1)
