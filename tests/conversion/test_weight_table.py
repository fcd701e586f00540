from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_pg2.conversion.weight_table import (
    CONV,
    IDENTITY,
    TRANSPOSE,
    Row,
    assign,
    check_keys,
    check_variables,
    expand_layers,
    first_rows,
)


class Tensors(dict):
    """A source in memory that notes what is read."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        super().__init__(tensors)
        self.read_keys: list[str] = []

    def shape(self, key: str) -> tuple[int, ...]:
        return self[key].shape

    def read(self, key: str) -> np.ndarray:
        self.read_keys.append(key)
        return self[key]


def variables(**shapes: tuple[int, ...]) -> dict[str, keras.Variable]:
    return {name: keras.Variable(np.zeros(shape)) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("transform", "shape"),
    [(IDENTITY, (3,)), (TRANSPOSE, (2, 3)), (CONV, (2, 3, 4, 5))],
)
def test_inverse_undoes_forward(transform: object, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_array_equal(transform.inverse(transform.forward(x)), x)


def test_convolution_kernel_goes_from_torch_to_keras_order() -> None:
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    y = CONV.forward(x)
    assert y.shape == (4, 5, 3, 2)
    assert y[1, 2, 0, 1] == x[1, 0, 1, 2]


def test_assign_fills_every_variable_once() -> None:
    kernel, table = np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(4, 2)
    source = Tensors({"w": kernel, "t": table})
    ours = variables(kernel=(3, 2), table=(3, 2))
    rows = [Row("kernel", "w", TRANSPOSE), Row("table", "t", first_rows(3))]
    assign(rows, source, ours)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(ours["kernel"]), [[0, 3], [1, 4], [2, 5]]
    )
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(ours["table"]), [[0, 1], [2, 3], [4, 5]]
    )
    assert source.read_keys == ["w", "t"]


def test_expand_layers() -> None:
    rows = expand_layers([Row("a", "x"), Row("b", "y")], 2, "block_{}/", "layers.{}.")
    assert [(row.ours, row.theirs) for row in rows] == [
        ("block_0/a", "layers.0.x"),
        ("block_0/b", "layers.0.y"),
        ("block_1/a", "layers.1.x"),
        ("block_1/b", "layers.1.y"),
    ]


def test_check_keys_names_what_is_missing_and_what_is_too_much() -> None:
    rows = [Row("a", "x"), Row("b", "y")]
    with pytest.raises(ValueError, match="1 missing from the file: y") as error:
        check_keys(rows, ["x", "extra", "buffer.1"], {r"buffer\.\d": "constant"})
    assert "1 in the file, but not of this model: extra" in str(error.value)
    assert "buffer" not in str(error.value)


def test_check_keys_returns_what_is_left_out_and_why() -> None:
    ignored = check_keys([Row("a", "x")], ["x", "buffer.1"], {r"buffer\.\d": "why"})
    assert ignored == {"buffer.1": "why"}


def test_a_key_read_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="asked for more than once: x"):
        check_keys([Row("a", "x"), Row("b", "x")], ["x"], {})


def test_check_variables_names_all_misfits_at_once() -> None:
    source = Tensors({"x": np.zeros((2, 3)), "y": np.zeros(4), "z": np.zeros(4)})
    rows = [Row("a", "x", TRANSPOSE), Row("c", "y"), Row("c", "z")]
    with pytest.raises(ValueError, match="to fit the backbone") as error:
        check_variables(rows, source, variables(a=(2, 3), b=(1,)))
    message = str(error.value)
    assert "1 variables no tensor is for: b" in message
    assert "1 tensors for no variable: c" in message
    assert "1 variables written more than once: c" in message
    assert "x (2, 3) (transpose gives (3, 2), a is (2, 3))" in message


def test_nothing_is_assigned_when_something_does_not_fit() -> None:
    ours = variables(a=(2,), b=(3,))
    source = Tensors({"x": np.ones(2), "y": np.ones(2)})
    with pytest.raises(ValueError, match="of another shape"):
        assign([Row("a", "x"), Row("b", "y")], source, ours)
    assert not keras.ops.convert_to_numpy(ours["a"]).any()
