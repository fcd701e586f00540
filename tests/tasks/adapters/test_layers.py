"""Which layers LoRA is added to, and what trains."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest

from keras_pg2.tasks.adapters.layers import choose_layers, dense_layers
from tests.support.tiny_models import random_task

BLOCKS = [f"text_decoder/block_{i}" for i in range(12)]
PATHS = [
    "vision_encoder/block_0/attention/query_dense",
    "vision_encoder/block_0/mlp_up",
    "vision_projection",
    *(
        f"{block}/{name}"
        for block in BLOCKS
        for name in ("attention/query_dense", "mlp/up_dense")
    ),
]
DATA = {
    "images": np.full((2, 28, 28, 3), 99, np.uint8),
    "prompts": ["caption en"] * 2,
    "responses": ["a red ball", "blue"],
}


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies of all weights by their paths."""
    return {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in model.weights}


def test_targets_are_names_ends_of_paths_patterns_and_expressions() -> None:
    choose = choose_layers
    queries = [path for path in PATHS if path.endswith("query_dense")]
    assert choose(PATHS, ["query_dense"]) == queries
    assert choose(PATHS, ["attention/query_dense"]) == queries
    assert choose(PATHS, ["query_dense"], ["decoder"]) == queries[1:]
    assert choose(PATHS, ["*"]) == PATHS
    assert choose(PATHS, ["mlp*"], ["vision"]) == [PATHS[1]]
    assert choose(PATHS, ["text_decoder/block_1?/*/up_dense"]) == [
        f"{block}/mlp/up_dense" for block in BLOCKS[10:]
    ]
    assert choose(PATHS, [re.compile(r"block_[79]/attention")]) == [
        f"{BLOCKS[i]}/attention/query_dense" for i in (7, 9)
    ]
    # A name is no beginning and no part of a name.
    with pytest.raises(ValueError, match="'dense', which matches none"):
        choose(PATHS, ["dense"])
    # In the order of the network, once each.
    assert choose(PATHS, ["vision_projection", "query_dense", "*query*"]) == sorted(
        [*queries, "vision_projection"], key=PATHS.index
    )


def test_a_target_without_a_match_is_an_error_with_near_names() -> None:
    with pytest.raises(ValueError, match="Near it: query_dense"):
        choose_layers(PATHS, ["query_dens"])
    with pytest.raises(
        ValueError, match=r"of parts projection.*Names are: vision_proj"
    ):
        choose_layers(PATHS, ["query_dense"], ["projection"])
    with pytest.raises(ValueError, match="Expected a list of targets"):
        choose_layers(PATHS, "query_dense")
    with pytest.raises(ValueError, match=r"projection, text_decoder. Received.*llm"):
        choose_layers(PATHS, ["query_dense"], ["llm"])


@pytest.mark.parametrize(
    ("parts", "beginnings"),
    [
        (None, {"vision_encoder", "text_decoder"}),
        (["decoder"], {"text_decoder"}),
        (["projection"], {"vision_projection"}),
        (["vision", "projection"], {"vision_encoder", "vision_projection"}),
    ],
)
def test_parts_and_the_default_targets(parts: list[str], beginnings: set[str]) -> None:
    task = random_task()
    task.enable_lora(2, parts=parts)
    names = {"query_dense", "value_dense", "vision_projection"}
    for variable in task.trainable_variables:
        *_, layer, factor = variable.path.split("/")
        assert layer in names
        assert factor in ("lora_kernel_a", "lora_kernel_b")
    found = {v.path.split("/")[0] for v in task.trainable_variables}
    assert found == beginnings


@pytest.mark.eager
def test_training_changes_the_factors_alone() -> None:
    keras.utils.set_random_seed(0)
    task = random_task(sequence_length=24)
    task.enable_lora(4, ["*_dense"], alpha=8, parts=["decoder"])
    before = values(task)
    task.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = task.fit(DATA, batch_size=2, epochs=6, verbose=0, shuffle=False).history[
        "loss"
    ]
    assert losses[-1] < losses[0]
    after = values(task)
    changed = {path for path in after if not np.array_equal(after[path], before[path])}
    factors = {path for path in after if "lora_kernel" in path}
    assert changed == factors
    assert len(factors) == 7 * 2


@pytest.mark.eager
def test_factors_stay_float32_on_a_bfloat16_model() -> None:
    keras.config.set_dtype_policy("bfloat16")
    task = random_task(sequence_length=24)
    task.enable_lora(2)
    task.compile(optimizer=keras.optimizers.Adam(1e-3))
    losses = task.fit(DATA, batch_size=2, epochs=4, verbose=0, shuffle=False).history[
        "loss"
    ]
    assert losses[-1] < losses[0]
    dtypes = {(v.dtype, "lora" in v.name) for v in task.backbone.weights}
    assert dtypes == {("float32", True), ("bfloat16", False)}


@pytest.mark.eager
def test_lora_on_layers_of_8_bits() -> None:
    keras.utils.set_random_seed(0)
    task = random_task(sequence_length=24)
    for layer in dense_layers(task.backbone).values():
        layer.quantize("int8")
    task.enable_lora(2)
    before = values(task)
    task.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = task.fit(DATA, batch_size=2, epochs=6, verbose=0, shuffle=False).history[
        "loss"
    ]
    assert losses[-1] < losses[0]
    after = values(task)
    changed = {path for path in after if not np.array_equal(after[path], before[path])}
    assert {path.rpartition("/")[2] for path in changed} == {
        "lora_kernel_a",
        "lora_kernel_b",
    }
    with pytest.raises(ValueError, match=r"kernels of floats.*Received: int8"):
        task.adapters.merge()


def test_not_on_a_model_of_float8() -> None:
    task = random_task()
    task.backbone.vision_projection.quantize("float8")
    with pytest.raises(ValueError, match=r"Received: float8 in .* Enable LoRA on the"):
        task.enable_lora(2, parts=["projection"])


def test_numbers_are_checked() -> None:
    task = random_task()
    for rank, alpha, error in [(0, None, ValueError), (2.5, None, TypeError)]:
        with pytest.raises(error, match="rank to be"):
            task.enable_lora(rank, alpha=alpha)
    with pytest.raises(ValueError, match=r"alpha to be above 0. Received: -1"):
        task.enable_lora(2, alpha=-1)
    # Nothing has been frozen or added by then.
    assert len(task.trainable_variables) == len(task.weights)


def test_a_second_enable_with_another_rank() -> None:
    task = random_task()
    task.enable_lora(2)
    task.enable_lora(2)
    with pytest.raises(ValueError, match=r"rank 2, alpha 2, .*Received: rank 4"):
        task.enable_lora(4)
    with pytest.raises(ValueError, match=r"Pass another name"):
        task.enable_lora(2, parts=["decoder"])
