"""Numbers of networks: each kind at its ends, and all of them together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from keras_pg2.catalogue.architecture import (
    check_overrides,
    count_parameters,
    override_architecture,
)
from keras_pg2.catalogue.names import PRESETS
from keras_pg2.checks.architecture import (
    _WEIGHTS,
    KINDS,
    check_names,
    check_part,
)

VISION = PRESETS["pali_gemma2_pt_3b_224"].vision_encoder
TEXT = PRESETS["pali_gemma2_pt_3b_224"].text_decoder
WHOLE = [
    *(("vision_encoder", name) for name in VISION),
    *(("text_decoder", n) for n, v in TEXT.items() if type(v) is int),
]
WHOLE.remove(("text_decoder", "query_pre_attn_scalar"))
NO_NUMBERS = ["7", None, True, [7], {}, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("name", PRESETS)
def test_released_networks(name: str) -> None:
    architecture = PRESETS[name].architecture
    for part, numbers in architecture.items():
        check_part(part, numbers)
    bound = sum(_WEIGHTS[part](**numbers) for part, numbers in architecture.items())
    assert 0.99 < bound / count_parameters(**architecture) < 1


@pytest.mark.parametrize(("part", "name"), WHOLE)
def test_whole_numbers(part: str, name: str) -> None:
    numbers = {"vision_encoder": VISION, "text_decoder": TEXT}[part]
    wrong = [0, -1, 2.0, 2.5, 2**31, 2**63, 10**400, *NO_NUMBERS]
    if name == "sliding_window":  # It may be off, and as long as a sequence can be.
        wrong = [value for value in wrong if value is not None]
    for value in wrong:
        with pytest.raises(ValueError, match=f"Expected {name} as a[n]* .*Received: "):
            check_part(part, {**numbers, name: value})
    check_part(part, {**numbers, name: np.int64(numbers[name])})


@pytest.mark.parametrize(
    "name",
    ["query_pre_attn_scalar", "attention_logit_soft_cap", "final_logit_soft_cap"],
)
def test_scales(name: str) -> None:
    wrong = [0, 0.0, -50.0, 1e-10, 1e9, 2**63, 10**400, *NO_NUMBERS]
    if name.endswith("cap"):
        wrong.remove(None)
        check_part("text_decoder", {**TEXT, name: None})
    for value in wrong:
        with pytest.raises(ValueError, match=f"Expected {name} as a number from 1e-09"):
            check_part("text_decoder", {**TEXT, name: value})
    for value in (1e-9, 7, 6.5, np.float32(50), 9e8):
        check_part("text_decoder", {**TEXT, name: value})


def test_dropout_and_flags() -> None:
    for value in (0, 0.0, 0.999):
        check_part("text_decoder", {**TEXT, "dropout": value})
    for value in (1, 1.0, -0.1, *NO_NUMBERS):
        with pytest.raises(ValueError, match="Expected dropout"):
            check_part("text_decoder", {**TEXT, "dropout": value})
    for value in (0, 1, None, "false"):
        with pytest.raises(ValueError, match="Expected has_post_norms as True or"):
            check_part("text_decoder", {**TEXT, "has_post_norms": value})


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("vision_encoder", {"image_size": 225}, r"image_size as a .*patch_size \(14\)"),
        ("vision_encoder", {"num_heads": 7}, r"hidden_dim as a .*num_heads \(7\)"),
        ("text_decoder", {"num_key_value_heads": 3}, r"num_key_value_heads \(3\)"),
        ("text_decoder", {"head_dim": 255}, "head_dim as an even number"),
        (
            "text_decoder",
            {"hidden_dim": 2**20, "num_layers": 1024},
            "hidden_dim as a w",
        ),
        (
            "vision_encoder",
            {"image_size": 65_536, "patch_size": 1, "hidden_dim": 2**20},
            "make at most 1,099,511,627,776 weights",
        ),
    ],
)
def test_numbers_that_do_not_fit(part: str, changes: dict, message: str) -> None:
    numbers = {"vision_encoder": VISION, "text_decoder": TEXT}[part]
    with pytest.raises(ValueError, match=message):
        check_part(part, {**numbers, **changes})


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match="Expected num_layers") as raised:
        check_part("vision_encoder", {**VISION, "num_layers": "x" * 10_000})
    assert len(str(raised.value)) < 200


def test_names() -> None:
    check_names("vision_encoder", VISION, list(VISION))
    with pytest.raises(
        TypeError, match=r"head_dims which it .*Did you mean head_dim\?"
    ):
        check_names("text_decoder", {**TEXT, "head_dims": 3}, [])
    with pytest.raises(TypeError, match="image_size, patch_size missing"):
        check_names("vision_encoder", [], ["image_size", "patch_size"])


@pytest.mark.parametrize(
    "override",
    [
        {"sliding_window": 0},
        {"final_logit_soft_cap": math.nan},
        {"text_decoder": {"num_layers": 2**31}},
        {"vision_encoder": {"num_layers": "2"}},
        {"image_size": None},
    ],
    ids=str,
)
def test_overrides(override: dict[str, Any]) -> None:
    architecture = {"vision_encoder": VISION, "text_decoder": TEXT}
    with pytest.raises(ValueError, match=r"Expected .* as a"):
        check_overrides(override)
    with pytest.raises(ValueError, match=r"Expected .* as a"):
        override_architecture(architecture, **override)


def test_overrides_that_do_not_fit_the_rest() -> None:
    architecture = {"vision_encoder": VISION, "text_decoder": TEXT}
    check_overrides({"image_size": 225})
    with pytest.raises(ValueError, match=r"image_size as a multiple of patch_size"):
        override_architecture(architecture, image_size=225)


def test_every_argument_has_a_kind() -> None:
    assert list(KINDS["vision_encoder"]) == list(VISION)
    assert [name for name in KINDS["text_decoder"] if name != "dropout"] == list(TEXT)
