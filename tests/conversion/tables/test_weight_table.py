from __future__ import annotations

import numpy as np
import pytest

from keras_pg2.conversion.huggingface.weights import padded_table
from keras_pg2.conversion.tables.transforms import (
    CONV,
    IDENTITY,
    TRANSPOSE,
    flattened,
    heads_first,
    heads_last,
)
from keras_pg2.conversion.tables.weight_table import (
    Part,
    Row,
    check_keys,
    check_shapes,
    expand_layers,
    read_variable,
)


class Tensors(dict):
    """A source in memory that notes what is read."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        super().__init__(tensors)
        self.read_keys: list[str] = []

    def shape(self, key: str) -> tuple[int, ...]:
        return self[key].shape

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        self.read_keys.append(key)
        return self[key] if part is None else part.take(self[key])


@pytest.mark.parametrize(
    ("transform", "shape"),
    [
        (IDENTITY, (3,)),
        (TRANSPOSE, (2, 3)),
        (CONV, (2, 3, 4, 5)),
        (heads_first(5, 4), (3, 5, 4)),
        (heads_last(5, 4), (3, 4, 5)),
        (flattened(3, 4), (5, 3, 4)),
    ],
)
def test_inverse_undoes_forward(transform: object, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    y = transform.forward(x)
    np.testing.assert_array_equal(transform.inverse(y), x)
    assert transform.inverse_shape(y.shape) == shape


def test_convolution_kernel_goes_from_torch_to_keras_order() -> None:
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    y = CONV.forward(x)
    assert y.shape == (4, 5, 3, 2)
    assert y[1, 2, 0, 1] == x[1, 0, 1, 2]


def test_heads_by_index() -> None:
    x = np.arange(3 * 5 * 4).reshape(3, 5, 4)  # [heads, width, head_dim]
    assert heads_first(5, 4).forward(x)[2, 1 * 4 + 3] == x[1, 2, 3]
    x = x.reshape(3, 4, 5)  # [heads, head_dim, width]
    assert heads_last(5, 4).forward(x)[1 * 4 + 3, 2] == x[1, 3, 2]


def test_read_variable() -> None:
    kernel, table = np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(4, 2)
    source = Tensors({"w": kernel, "t": table})
    read = read_variable(source, Row("kernel", "w", TRANSPOSE))
    np.testing.assert_array_equal(read, [[0, 3], [1, 4], [2, 5]])
    read = read_variable(source, Row("table", "t", padded_table(3)))
    np.testing.assert_array_equal(read, [[0, 1], [2, 3], [4, 5]])
    assert source.read_keys == ["w", "t"]


def test_padding_rows_are_the_mean() -> None:
    table = np.array([[1.0, 2.0], [3.0, 6.0]], np.float32)
    first, padding = padded_table(2).inverse(table)
    np.testing.assert_array_equal(first, table)
    np.testing.assert_array_equal(padding, [[2.0, 4.0]] * 64)
    assert padded_table(2).inverse_shape((2, 2)) == (66, 2)


def test_parts_have_to_cover_their_tensor_once() -> None:
    def rows(*indices: tuple) -> list[Row]:
        return [
            Row(f"v{n}", "t", IDENTITY, Part((3, 4), index))
            for n, index in enumerate(indices)
        ]

    assert check_keys(rows((0,), (1,), (2,)), ["t"], {}) == {}
    for wrong in (rows((0,), (1,)), rows((0,), (1,), (1,)), rows((0,))):
        with pytest.raises(ValueError, match="not read exactly once: t"):
            check_keys(wrong, ["t"], {})
    turns = [
        Row(f"v{n}", "t", IDENTITY, Part((6, 4), (slice(None), n), (3, 2, 4)))
        for n in range(2)
    ]
    assert check_keys(turns, ["t"], {}) == {}
    part = turns[1].part
    assert part is not None
    tensor = np.arange(24).reshape(6, 4)
    np.testing.assert_array_equal(part.take(tensor), tensor[1::2])


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
    with pytest.raises(ValueError, match="not read exactly once: x"):
        check_keys([Row("a", "x"), Row("b", "x")], ["x"], {})


def test_check_shapes_names_all_misfits_at_once() -> None:
    source = Tensors({"x": np.zeros((2, 3)), "y": np.zeros(4), "z": np.zeros(4)})
    rows = [Row("a", "x", TRANSPOSE), Row("c", "y"), Row("c", "z")]
    with pytest.raises(ValueError, match="to fit the network") as error:
        check_shapes(rows, source, {"a": (2, 3), "b": (1,)})
    message = str(error.value)
    assert "1 variables no tensor is for: b" in message
    assert "1 tensors for no variable: c" in message
    assert "1 variables written more than once: c" in message
    assert "x (2, 3) (transpose gives (3, 2), a is (2, 3))" in message
