"""The plain forms, as accelerators get them: what is traced, and the same numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2.generation.decoding import decode_step, prefill
from keras_pg2.modeling import attention, cpu
from keras_pg2.modeling.attention import dot_product_attention
from keras_pg2.modeling.backbone import PaliGemma2Backbone, with_image_axis
from keras_pg2.modeling.cpu import products
from keras_pg2.modeling.cpu.products import (
    first_largest,
    multiply_by_kernel,
    multiply_by_vocabulary,
)
from tests.support.gradients import gradients_of, jax_loss
from tests.support.tiny_networks import TEXT_DECODER, random_backbone, random_inputs

BACKEND = keras.config.backend()
BOTH = ("vision_encoder", "text_decoder")
FORMS = {"plain": cpu.plain_forms, "cpu": contextlib.nullcontext}


def normal(*shape: int) -> Any:
    array = np.random.default_rng(sum(shape)).normal(size=shape)
    return ops.convert_to_tensor(array.astype("float32"))


def traced_products(function: Callable[[], Any]) -> list[list[tuple[int, ...]]]:
    """Shapes of the factors of each product of matrices that a call traces."""
    return {"jax": _on_jax, "tensorflow": _on_tensorflow, "torch": _on_torch}[BACKEND](
        function
    )


def _on_jax(function: Callable[[], Any]) -> list[list[tuple[int, ...]]]:
    return [
        [each.aval.shape for each in equation.invars]
        for equation in equations(function)
        if equation.primitive.name == "dot_general"
    ]


def _on_tensorflow(function: Callable[[], Any]) -> list[list[tuple[int, ...]]]:
    import tensorflow as tf

    graph = tf.function(function, autograph=False).get_concrete_function().graph
    return [
        [tuple(each.shape) for each in operation.inputs]
        for operation in graph.get_operations()
        if operation.type in ("MatMul", "BatchMatMulV2", "Einsum")
    ]


def _on_torch(function: Callable[[], Any]) -> list[list[tuple[int, ...]]]:
    from torch.utils._python_dispatch import TorchDispatchMode

    shapes = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, call, types, args=(), kwargs=None):
            if call.__name__.split(".")[0] in ("mm", "bmm", "addmm", "baddbmm"):
                shapes.append([tuple(each.shape) for each in args])
            return call(*args, **(kwargs or {}))

    with Recorder():
        function()
    return shapes


def equations(function: Callable, *arguments: Any) -> Iterator[Any]:
    """Every equation that JAX traces, inner ones too."""
    import jax

    def walk(jaxpr: Any) -> Iterator[Any]:
        jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
        for equation in jaxpr.eqns:
            yield equation
            for leaf in jax.tree.leaves(list(equation.params.values())):
                if hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr"):
                    yield from walk(leaf)

    return walk(jax.make_jaxpr(function)(*arguments))


def multiplies_by_zero(equation: Any) -> bool:
    values = [getattr(each, "val", None) for each in equation.invars]
    return equation.primitive.name == "mul" and any(
        value is not None and np.ndim(value) == 0 and value == 0 for value in values
    )


def test_one_row_meets_a_kernel_in_one_product() -> None:
    x, kernel = normal(1, 1024), normal(1024, 160)
    shapes, results = {}, {}
    for form, use in FORMS.items():
        with use():
            shapes[form] = traced_products(lambda: multiply_by_kernel(x, kernel))
            results[form] = ops.convert_to_numpy(multiply_by_kernel(x, kernel))
    assert shapes["plain"] == [[(1, 1024), (1024, 160)]]
    assert len(shapes["cpu"][0][1]) == 3
    check_close(results["cpu"], results["plain"])


@pytest.mark.parametrize("num_rows", [3, 7])
def test_a_few_rows_meet_the_vocabulary_in_one_product(num_rows: int) -> None:
    hidden, table = normal(num_rows, 64), normal(640, 64)
    shapes, results = {}, {}
    for form, use in FORMS.items():
        with use():
            shapes[form] = traced_products(
                lambda: multiply_by_vocabulary(hidden, table)
            )
            logits = multiply_by_vocabulary(hidden, table)
            results[form] = ops.convert_to_numpy(logits)
    assert len(shapes["plain"]) == 1
    assert shapes["plain"] != shapes["cpu"]
    # The whole vocabulary, not parts of it.
    assert any(640 in shape for shape in shapes["plain"][0])
    check_close(results["cpu"], results["plain"])


def test_the_first_largest_is_one_search() -> None:
    rng = np.random.default_rng(0)
    x = ops.convert_to_tensor(rng.integers(0, 9, (50, 256)).astype("float32"))
    expected = ops.convert_to_numpy(first_largest(x))
    with cpu.plain_forms():
        index = first_largest(x)
        if BACKEND == "jax":
            names = [each.primitive.name for each in equations(first_largest, x)]
            assert names.count("argmax") == 1
            assert "reduce_max" not in names
    assert keras.backend.standardize_dtype(index.dtype) == "int32"
    np.testing.assert_array_equal(ops.convert_to_numpy(index), expected)


def decode(backbone: PaliGemma2Backbone) -> Callable[[], Any]:
    """Return a function that gives the float32[1, V] logits of one more token."""
    inputs = with_image_axis(random_inputs([7]))
    inputs = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    _, cache, layout = prefill(backbone, inputs, 4)
    slot = ops.convert_to_tensor(11, dtype="int32")
    token = ops.convert_to_tensor([5], dtype="int32")

    def step() -> Any:
        return decode_step(backbone, token, slot, cache, layout)[0]

    return step


def test_a_token_takes_one_product_for_each_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "SMALL_KERNEL", 0)
    backbone = random_backbone()
    shapes, logits = {}, {}
    for form, use in FORMS.items():
        with use(), no_gradients():
            step = decode(backbone)
            shapes[form] = traced_products(step)
            logits[form] = ops.convert_to_numpy(step())
    # Four projections, logits, values, and three of the MLP; the vocabulary.
    assert len(shapes["plain"]) == 9 * TEXT_DECODER["num_layers"] + 1
    assert shapes["plain"] != shapes["cpu"]
    check_close(logits["cpu"], logits["plain"])


@contextlib.contextmanager
def no_gradients() -> Iterator[None]:
    if BACKEND != "torch":
        yield
        return
    import torch

    with torch.no_grad():
        yield


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[[], Any], list]:
    """A loss with checkpointed blocks and several blocks of queries, its variables."""
    monkeypatch.setattr(attention, "QUERY_BLOCK", 6)
    backbone = random_backbone()
    backbone.checkpoint_activations = BOTH
    inputs = random_inputs([7, 12], num_responses=5)

    def loss() -> Any:
        return ops.mean(ops.square(backbone(inputs)))

    return loss, backbone.trainable_variables


@pytest.mark.skipif(BACKEND != "jax", reason="JAX shows its program.")
def test_accelerators_train_by_jax_checkpoint(
    training: tuple[Callable[[], Any], list],
) -> None:
    import jax

    loss, variables = training
    values = [variable.value for variable in variables]
    names, zeros = {}, {}
    for form, use in FORMS.items():
        # Another function each time: JAX knows what it has traced.
        run = jax_loss(loss, variables)
        with use():
            names[form] = {each.primitive.name for each in equations(run, values)}
            backward = list(equations(jax.grad(run), values))
        names[form] |= {each.primitive.name for each in backward}
        zeros[form] = sum(map(multiplies_by_zero, backward))
    remat = {"checkpoint", "remat", "remat2"}
    own = {name for name in names["cpu"] if name.startswith("custom_vjp")}
    assert names["plain"] & remat
    assert not {name for name in names["plain"] if name.startswith("custom_vjp")}
    assert zeros["plain"] == 0
    assert own
    assert zeros["cpu"] > 0
    assert not names["cpu"] & remat


@pytest.mark.two_backends("the same operations of Keras")
def test_both_forms_have_the_same_loss_and_gradients(
    training: tuple[Callable[[], Any], list],
) -> None:
    loss, expected = gradients_of(*training, by_xla=True)
    with cpu.plain_forms():
        plain_loss, gradients = gradients_of(*training, by_xla=True)
    assert plain_loss == pytest.approx(loss, rel=1e-6)
    largest = max(np.abs(gradient).max() for gradient in expected)
    for ours, theirs in zip(gradients, expected, strict=True):
        check_close(ours, theirs, least=0.1 * largest)


def test_attention_of_blocks_is_the_same() -> None:
    query, key, value = (
        normal(1, 4, 1100, 8),
        normal(1, 2, 1100, 8),
        normal(1, 2, 1100, 8),
    )

    def attend() -> np.ndarray:
        output = dot_product_attention(query, key, value, None, 0.5)
        return ops.convert_to_numpy(output)

    expected = attend()
    with cpu.plain_forms():
        np.testing.assert_array_equal(attend(), expected)


def test_the_choice_ends_with_its_block() -> None:
    assert cpu.is_used()
    assert cpu.is_used(ops.zeros((1,)))
    with cpu.plain_forms():
        assert not cpu.is_used()
        assert not cpu.is_used(ops.zeros((1,)))
    assert cpu.is_used()


def check_close(ours: np.ndarray, theirs: np.ndarray, least: float = 0.0) -> None:
    """Equal up to 1e-6 of the largest number, or of `least`."""
    scale = max(np.abs(theirs).max(), least)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * scale)
