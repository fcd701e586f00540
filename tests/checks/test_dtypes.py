"""Names of number types: spellings, and what is said to a misspelt one."""

from __future__ import annotations

import pytest

from keras_pg2.checks.dtypes import (
    FLOATS,
    INTEGERS,
    POLICIES,
    check_dtype,
    check_quantization,
)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("bf16", "bfloat16"),
        ("BF16", "bfloat16"),
        ("bfloat16", "bfloat16"),
        ("fp16", "float16"),
        ("f16", "float16"),
        ("fp32", "float32"),
        ("f32", "float32"),
        ("auto", "auto"),
        ("mixed_bfloat16", "mixed_bfloat16"),
    ],
)
def test_short_and_long_spellings(spelling: str, name: str) -> None:
    assert check_dtype(spelling, POLICIES) == name


@pytest.mark.parametrize("value", ["blfoat16", "int8", "", None, 16, ["bf16"]])
def test_another_name_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="dtype as one of float32, bfloat16, float16"):
        check_dtype(value, FLOATS)


def test_a_misspelt_name_is_answered_by_the_near_one() -> None:
    with pytest.raises(ValueError, match=r"mode as .*'itn8'\. Did you mean 'int8'\?"):
        check_dtype("itn8", INTEGERS, "mode")


def test_float32_is_no_quantization() -> None:
    assert check_quantization(None) is None
    assert check_quantization("fp32", ()) is None
    assert check_quantization("f16") == "float16"
    assert check_quantization("q4") == "int4"
    with pytest.raises(ValueError, match=r"one of float32\. Received: 'int8'"):
        check_quantization("int8", ())
