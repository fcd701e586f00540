"""Building an ONNX graph node by node, its weights written to files as they come.

So a graph of any size needs the memory of one weight. Needs the package `onnx`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from keras_pg2.deploy.onnx.quantization import BLOCK_SIZE, block_quantize, row_blocks
from keras_pg2.deploy.onnx.weights import WeightFiles

OPSET = 21
INLINE_BYTES = 4096
"""Smaller weights are in the graph's own file."""
MICROSOFT = "com.microsoft"

Operand = str | np.ndarray | np.generic | None
"""A tensor by its name, or a constant; None for an optional input that is left out."""
Types = Mapping[str, tuple[str, Sequence[int | str]]]
"""By name the dtype, "float32" or "int64", and the shape; axes of any length by name.
"""


class GraphBuilder:
    """A graph that grows by calls, and the files of weights beside it.

    Args:
        onnx: The module.
        files: where large weights go.
    """

    def __init__(self, onnx: ModuleType, files: WeightFiles) -> None:
        self._onnx = onnx
        self._files = files
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}

    def op(self, kind: str, *inputs: Operand, name: str = "", **attributes: Any) -> str:
        """Adds a node of one output, and returns that output's name."""
        return self.outputs_of(kind, 1, *inputs, name=name, **attributes)[0]

    def outputs_of(
        self, kind: str, count: int, *inputs: Operand, name: str = "", **attributes: Any
    ) -> list[str]:
        """Adds a node of several outputs, and returns their names."""
        base = name or f"{kind}_{len(self._nodes)}"
        names = [f"{base}:{i}" if i else base for i in range(count)]
        node = self._onnx.helper.make_node(
            kind, [self._name(x) for x in inputs], names, name=base, **attributes
        )
        self._nodes.append(node)
        return names

    def add(self, a: Operand, b: Operand) -> str:
        return self.op("Add", a, b)

    def mul(self, a: Operand, b: Operand) -> str:
        return self.op("Mul", a, b)

    def matmul(self, a: Operand, b: Operand) -> str:
        return self.op("MatMul", a, b)

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """0 keeps an axis, -1 is what is left."""
        return self.op("Reshape", x, np.array(shape, np.int64))

    def transpose(self, x: str, order: Sequence[int]) -> str:
        return self.op("Transpose", x, perm=list(order))

    def unsqueeze(self, x: str, *axes: int) -> str:
        return self.op("Unsqueeze", x, np.array(axes, np.int64))

    def weight(self, name: str, value: np.ndarray, dtype: str = "float32") -> str:
        """A weight of that dtype; one that is there already is not written again.

        float16 is a matter of storage: the tensor whose name is returned is float32.
        """
        stored = f"{name}.{dtype}"
        if stored not in self._weights:
            self._write(stored, value, np.dtype(dtype))
        if dtype != "float16":
            return stored
        return self.op("Cast", stored, to=self._onnx.TensorProto.FLOAT)

    def linear(self, name: str, x: str, kernel: np.ndarray, kind: str | None) -> str:
        """[..., D] times a kernel of [D, F], kept as `kind` says.

        None and "float16" are floats; "int8" and "int4" have a scale for each
        `BLOCK_SIZE` inputs of an output, and the product is of whole numbers.
        """
        if kind not in ("int8", "int4"):
            return self.matmul(x, self.weight(name, kernel, kind or "float32"))
        bits = int(kind.removeprefix("int"))
        blocks, scales = block_quantize(kernel.T, bits)
        num_inputs, num_outputs = kernel.shape
        return self.op(
            "MatMulNBits",
            x,
            self.weight(f"{name}.blocks", blocks, "uint8"),
            self.weight(f"{name}.scales", scales),
            domain=MICROSOFT,
            K=num_inputs,
            N=num_outputs,
            bits=bits,
            block_size=BLOCK_SIZE,
            accuracy_level=4,
        )

    def save(self, path: Path, inputs: Types, outputs: Types) -> None:
        """Writes the graph; the files of its weights must stay beside it."""
        helper = self._onnx.helper

        def infos(types: Types) -> list[Any]:
            kinds = {"float32": 1, "int64": 7}  # Of TensorProto.DataType.
            return [
                helper.make_tensor_value_info(name, kinds[dtype], shape)
                for name, (dtype, shape) in types.items()
            ]

        graph = helper.make_graph(
            self._nodes,
            path.stem,
            infos(inputs),
            infos(outputs),
            list(self._weights.values()),
        )
        model = helper.make_model(
            graph,
            producer_name="keras_pg2",
            ir_version=10,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                helper.make_opsetid(MICROSOFT, 1),
            ],
        )
        path.write_bytes(model.SerializeToString())

    def _name(self, operand: Operand) -> str:
        if operand is None or isinstance(operand, str):
            return operand or ""
        value = np.asarray(operand)
        name = f"constant_{len(self._weights)}"
        self._write(name, value, value.dtype)
        return name

    def _write(self, name: str, value: np.ndarray, dtype: np.dtype) -> None:
        num_bytes = value.size * dtype.itemsize
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        if num_bytes < INLINE_BYTES:
            content = np.ascontiguousarray(value, dtype).tobytes()
            tensor = helper.make_tensor(name, kind, value.shape, content, raw=True)
        else:
            blocks = (
                np.ascontiguousarray(value[rows], dtype).data
                for rows in row_blocks(value.shape)
            )
            location = self._files.write(blocks, num_bytes)
            tensor = kinds(name=name, data_type=kind, dims=value.shape)
            tensor.data_location = kinds.EXTERNAL
            for key, part in location._asdict().items():
                tensor.external_data.add(key=key, value=str(part))
        self._weights[name] = tensor
