"""KerasHub's conventions as checks: what its own test suite asks of each class.

KerasHub has such checks in a private class that imports TensorFlow at once. These need
TensorFlow for `tf.data` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tests.support.one_program import apply

FORMS = ("arrays", "tf.data", "grain", "PyDataset")
"""What `fit` and `predict` take."""
POLICIES = ("mixed_float16", "mixed_bfloat16", "bfloat16")
OPTIONAL_ATTRIBUTES = ("__annotations__", "_torch_params", "_self_", "_sentence_piece")
"""Beginnings of attributes that appear late: TensorFlow and PyTorch track layers, and
without TensorFlow KerasHub reads a vocabulary when it is first used."""


def forms(*names: str) -> list[Any]:
    """Return parameters of a test: forms of data, marked where TensorFlow is needed."""
    return [
        pytest.param(name, marks=pytest.mark.needs_tensorflow)
        if name == "tf.data"
        else name
        for name in names or FORMS
    ]


class Slices(keras.utils.PyDataset):
    """Batches of columns, through a function if one is given."""

    def __init__(
        self, data: Any, batch_size: int, function: Callable[..., Any] | None = None
    ) -> None:
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.function = function

    def __len__(self) -> int:
        return -(-count_rows(self.data) // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        batch = map_columns(lambda column: column[part], self.data)
        return batch if self.function is None else self.function(batch)


def map_columns(function: Callable[[Any], Any], data: Any) -> Any:
    """Map the columns of nested dicts and tuples; a list is a column."""
    if isinstance(data, Mapping):
        return {key: map_columns(function, column) for key, column in data.items()}
    if isinstance(data, tuple):
        return tuple(map_columns(function, column) for column in data)
    return None if data is None else function(data)


def count_rows(data: Any) -> int:
    lengths: list[int] = []
    map_columns(lambda column: lengths.append(len(column)), data)
    [length] = set(lengths)
    return length


def dataset(
    form: str,
    data: Any,
    batch_size: int,
    function: Callable[..., Any] | None = None,
) -> Any:
    """Return columns as a data set of batches, mapped by a preprocessing layer.

    Args:
        form: One of `FORMS`.
        data: Columns in nested dicts and tuples.
        batch_size: Rows of a batch; arrays stay as they are.
        function: The layer, or None.
    """
    if form == "arrays":
        return data if function is None else function(data)
    if form == "PyDataset":
        return Slices(data, batch_size, function)
    if form == "tf.data":
        import tensorflow as tf

        batches = tf.data.Dataset.from_tensor_slices(data).batch(batch_size)
    else:
        batches = _grain_rows(data).batch(batch_size)
    return batches if function is None else batches.map(function)


def _grain_rows(data: Any) -> Any:
    import grain

    rows = [
        map_columns(lambda column, i=i: column[i], data)
        for i in range(count_rows(data))
    ]
    return grain.MapDataset.source(rows)


def plain(tree: Any) -> Any:
    """Return nested dicts, tuples and lists of NumPy arrays, numbers and texts."""
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(plain(value) for value in tree)
    if hasattr(tree, "to_list"):  # A ragged tensor.
        return tree.to_list()
    if hasattr(tree, "numpy") and not ops.is_tensor(tree):  # TensorFlow's, elsewhere.
        tree = tree.numpy()
    if ops.is_tensor(tree):
        tree = ops.convert_to_numpy(tree)
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "OSU":
        tree = tree.tolist()
    if isinstance(tree, list):
        return [plain(value) for value in tree]
    return tree.decode() if isinstance(tree, bytes) else tree


def assert_equal(found: Any, expected: Any, tolerance: float = 0.0) -> None:
    """Assert that two trees of arrays, numbers and texts are equal.

    Args:
        found: Tree, of any backend's arrays.
        expected: As `found`.
        tolerance: Largest difference of two numbers, absolute and relative.
    """
    found, expected = plain(found), plain(expected)
    assert keras.tree.lists_to_tuples(_shape(found)) == keras.tree.lists_to_tuples(
        _shape(expected)
    )
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected)):
        if isinstance(other, str) or other is None:
            assert one == other
        else:
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def _shape(tree: Any) -> Any:
    def of_leaf(leaf: Any) -> Any:
        return str(leaf.shape) if isinstance(leaf, np.ndarray) else ""

    return keras.tree.map_structure(of_leaf, tree)


# Every class.


def check_config(instance: Any) -> None:
    """Check that an object made of its own configuration has the same one.

    Both by `from_config` and by Keras' serialization as JSON, and with the same
    attributes.
    """
    cls = type(instance)
    config = _json(instance.get_config())
    attributes = _attributes(instance)
    stored = json.loads(_json(keras.saving.serialize_keras_object(instance)))
    for revived in (
        cls.from_config(instance.get_config()),
        keras.saving.deserialize_keras_object(stored),
    ):
        assert type(revived) is cls
        assert _json(revived.get_config()) == config
        assert _attributes(revived) == attributes


def _attributes(instance: Any) -> set[str]:
    return {name for name in dir(instance) if not name.startswith(OPTIONAL_ATTRIBUTES)}


def _json(config: Any) -> str:
    return json.dumps(config, sort_keys=True, indent=1)


def check_name(instance: Any) -> None:
    """Check that the name by default is the class's in snake case."""
    words = re.sub(
        "(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-z0-9])(?=[A-Z])", "_", _name(instance)
    )
    assert instance.name.startswith(words.lower())


def _name(instance: Any) -> str:
    return type(instance).__name__


# Layers and models.


def check_layer(
    make: Callable[[], keras.layers.Layer],
    inputs: dict[str, np.ndarray],
    output_shape: tuple[int, ...],
    num_weights: int,
) -> None:
    """Check a layer that is built by shapes, by symbolic and by real inputs.

    Args:
        make: Makes the layer.
        inputs: Arguments of its call, by name.
        output_shape: Shape of the result.
        num_weights: Number of its variables; all are trainable.
    """
    symbolic = {
        key: keras.KerasTensor(
            value.shape, keras.backend.standardize_dtype(value.dtype)
        )
        for key, value in inputs.items()
    }

    def check_weights(layer: keras.layers.Layer) -> None:
        assert layer.built
        assert len(layer.trainable_weights) == num_weights
        assert layer.non_trainable_variables == []

    layer = make()
    layer.build(next(iter(inputs.values())).shape)
    check_weights(layer)
    for arguments in (symbolic, inputs):
        layer = make()
        output = layer(**arguments)
        check_weights(layer)
        assert tuple(output.shape) == output_shape
        assert keras.backend.standardize_dtype(output.dtype) == layer.compute_dtype


class OneLayer(keras.Model):
    """A model of one layer, whose inputs are the arguments of the layer's call."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__()
        self.layer = layer

    def call(self, inputs: dict[str, Any]) -> Any:
        return self.layer(**inputs)


def check_trains(layer: keras.layers.Layer, inputs: dict[str, np.ndarray]) -> None:
    """Check that a compiled step of `fit` changes each weight, and lowers the loss."""
    model = OneLayer(layer)
    labels = np.zeros_like(ops.convert_to_numpy(layer(**inputs)))
    before = [ops.convert_to_numpy(weight) for weight in layer.weights]
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    options = {"epochs": 2, "batch_size": len(labels), "verbose": 0}
    first, second = model.fit(inputs, labels, **options).history["loss"]
    assert second < first
    for weight, old in zip(layer.weights, before, strict=True):
        assert np.any(ops.convert_to_numpy(weight) != old), weight.path


def check_policy(
    make: Callable[[Any], keras.layers.Layer],
    policy: str,
    *calls: Callable[[Any], Any],
) -> None:
    """Check that a dtype policy reaches results, weights and all layers inside.

    Args:
        make: Makes a layer or model of a policy.
        policy: Name of the policy.
        *calls: Call it, or ask it for the specification of a call's result.
    """
    expected = keras.dtype_policies.get(policy)
    layer = make(expected)
    for result in keras.tree.flatten([call(layer) for call in calls]):
        dtype = keras.backend.standardize_dtype(result.dtype)
        assert dtype == expected.compute_dtype
    assert {weight.dtype for weight in layer.weights} == {expected.variable_dtype}
    for inner in layer._flatten_layers():
        if not isinstance(inner, keras.layers.InputLayer):
            assert inner.compute_dtype == expected.compute_dtype, inner.path
            assert inner.variable_dtype == expected.variable_dtype, inner.path


def quantized_policies(layer: keras.layers.Layer, mode: str) -> Any:
    """Return a policy map that quantizes the products, and for int8 the tables."""
    kinds = (keras.layers.Dense, keras.layers.EinsumDense)
    kinds += (keras.layers.Embedding,) if mode == "int8" else ()
    policies = keras.dtype_policies.DTypePolicyMap("float32")
    for inner in layer._flatten_layers():
        if isinstance(inner, kinds):
            policies[inner.path] = keras.dtype_policies.get(f"{mode}_from_float32")
    return policies


def check_quantized(
    make: Callable[[Any], keras.Model], mode: str, inputs: dict[str, np.ndarray]
) -> None:
    """Check a model that is quantized from the start, by a map of policies.

    Args:
        make: Makes the model of a policy.
        mode: "int8", "int4" or "float8".
        inputs: Inputs of the model.
    """
    policies = quantized_policies(make("float32"), mode)
    model = make(policies)
    assert np.isfinite(model.predict_on_batch(inputs)).all()
    inside = {layer.path: layer for layer in model._flatten_layers()}
    assert len(policies) > 10
    assert {inside[path].quantization_mode for path in policies} == {mode}
    revived = type(model).from_config(model.get_config())
    assert revived.get_config() == model.get_config()
    revived.set_weights(model.get_weights())
    assert_equal(revived.get_weights(), model.get_weights())


def check_saved(model: keras.Model, inputs: dict[str, np.ndarray], path: Path) -> None:
    """Check that a `.keras` file gives the class and its results back."""
    model.save(path)
    restored = keras.saving.load_model(path)
    assert type(restored) is type(model)
    assert_equal(apply(restored, inputs), apply(model, inputs), 1e-6)


# Preprocessing.


def check_pipelines(
    layer: Any,
    data: Any,
    form: str,
    tolerance: float = 0.0,
    function: Callable[[Any], Any] | None = None,
) -> None:
    """Check that rows and batches in a pipeline give what a call of the layer gives.

    Args:
        layer: The preprocessing layer.
        data: Columns of a few rows.
        form: "tf.data" or "grain".
        tolerance: Largest difference of two numbers.
        function: How an element is given to the layer; None for `layer(element)`.
    """
    function = function or layer
    expected = function(data)
    number = count_rows(data)
    if form == "tf.data":
        import tensorflow as tf

        rows = tf.data.Dataset.from_tensor_slices(data)
        by_row = rows.map(function).ragged_batch(number).get_single_element()
        by_batch = rows.batch(number).map(function).get_single_element()
    else:
        import grain

        elements = list(_grain_rows(data).map(function))
        by_row = _stack(elements)
        [by_batch] = list(grain.MapDataset.source([data]).map(function))
        check_grain_types((elements, by_batch))
    assert_equal(by_row, expected, tolerance)
    assert_equal(by_batch, expected, tolerance)


def _stack(elements: list[Any]) -> Any:
    """Return elements as a batch; a list of lists where they differ in length."""
    first = elements[0]
    if isinstance(first, Mapping):
        return {key: _stack([each[key] for each in elements]) for key in first}
    if isinstance(first, tuple):
        return tuple(_stack(list(parts)) for parts in zip(*elements, strict=True))
    if isinstance(first, np.ndarray) and len({each.shape for each in elements}) == 1:
        return np.stack(elements)
    return [np.asarray(plain(each)).tolist() for each in elements]


def check_grain_types(tree: Any) -> None:
    """Check that Grain can hand a tree from process to process."""
    for leaf in keras.tree.flatten(tree):
        kinds = (str, bytes, int, float, bool, np.ndarray, np.generic)
        assert leaf is None or isinstance(leaf, kinds), type(leaf)
