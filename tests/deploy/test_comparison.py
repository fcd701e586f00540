"""How far apart logits of a file and its model may be."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest

from keras_pg2.deploy.comparison import LogitComparison, bounds, check_comparison

CLOSE = LogitComparison(
    num_tokens=20,
    largest_difference=0.5,
    largest_logit=1.3,
    lowest_correlation=0.902,
    num_same_choice=13,
)


def backbone(num_layers: int, dtype: str = "float32") -> SimpleNamespace:
    decoder = SimpleNamespace(num_layers=num_layers)
    return SimpleNamespace(text_decoder=decoder, compute_dtype=dtype)


def test_what_layers_round_off_adds_up() -> None:
    assert bounds("int8", 2) == pytest.approx((0.95, 0.5))
    # Noise by signal of 1 / 0.95^2 - 1 = 0.10803 in 8 layers is 0.35111 in 26.
    assert bounds("int8", 26) == pytest.approx((0.86031, 0.90139), abs=1e-5)
    # 1 / 0.8^2 - 1 = 0.5625, in 16 layers 1.125.
    assert bounds("int4", 16) == pytest.approx((0.68599, math.sqrt(2)), abs=1e-5)
    assert bounds(None, 26) == bounds(None, 2)
    assert bounds("float16", 26) == bounds("float16", 2)


def test_deep_networks_may_be_further_apart() -> None:
    check_comparison(CLOSE, "int8", backbone(26), "files")
    with pytest.raises(ValueError, match=r"'files'.* at least 0.95.*another model"):
        check_comparison(CLOSE, "int8", backbone(8), "files")
    with pytest.raises(ValueError, match=r"at least 0\.99, "):
        check_comparison(CLOSE, None, backbone(26, "bfloat16"), "files")
    nan = dataclasses.replace(CLOSE, largest_difference=math.nan)
    with pytest.raises(ValueError, match="at most"):
        check_comparison(nan, "int8", backbone(26), "files")
