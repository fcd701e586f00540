"""Smaller weights for LiteRT files, by ai-edge-quantizer.

Convolution, norms, biases, positions and the projection of the image features, which
together are little, keep float32. Fewest bits have the MLPs of the decoder, most of a
large model.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

from keras_pg2.typing import Architecture

BLOCK_SIZE = 32
"""Inputs that share a scale in int4 kernels."""

PROJECTION = ".*vision_projection/.*"
TEXT_MLP = ".*text_decoder/block_[0-9]+/mlp/.*"


def quantize(model: bytes, quantization: str, architecture: Architecture) -> bytes:
    """A LiteRT file with smaller weights.

    - "float16": all kernels and the table, computed in float32.
    - "int8": kernels and table as int8, a scale for each output; activations are
      quantised as they come. The projection of the image features stays float32.
    - "int4": as "int8", but the decoder's MLPs as int4, a scale for each 32 inputs
      (as int8 where 32 does not divide their inputs).

    Args:
        model: a float32 file of `litert_signatures.convert`.
        quantization: "float16", "int8" or "int4".
        architecture: of the network, by part.

    Raises:
        ImportError: when ai-edge-quantizer is not installed.
    """
    try:
        from ai_edge_quantizer import qtyping
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
        from ai_edge_quantizer.quantizer import Quantizer
    except ImportError as error:
        raise ImportError(
            f"Expected the package {error.name} for quantization={quantization!r}, "
            "which is not installed. Run: pip install 'keras-pg2[litert]'"
        ) from error
    quantizer = Quantizer(bytearray(model))
    operations = qtyping.TFLOperationName
    if quantization == "float16":
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        for operation in (operations.FULLY_CONNECTED, operations.EMBEDDING_LOOKUP):
            quantizer.update_quantization_recipe(
                ".*", operation, config, AlgorithmName.FLOAT_CASTING
            )
    else:
        for operation in (operations.FULLY_CONNECTED, operations.EMBEDDING_LOOKUP):
            quantizer.add_dynamic_config(".*", operation, num_bits=8)
        quantizer.update_quantization_recipe(
            PROJECTION,
            operations.FULLY_CONNECTED,
            algorithm_key=AlgorithmName.NO_QUANTIZE,
        )
    if quantization == "int4":
        text = architecture["text_decoder"]
        for names, width in {
            "(gate|up)_dense": text["hidden_dim"],
            "down_dense": text["intermediate_dim"],
        }.items():
            if width % BLOCK_SIZE == 0:
                quantizer.add_dynamic_config(
                    f"{TEXT_MLP}{names}.*",
                    operations.FULLY_CONNECTED,
                    num_bits=4,
                    granularity=qtyping.QuantGranularity.BLOCKWISE_32,
                )
    # It reports its progress, and sizes, to both.
    silence = io.StringIO()
    with (
        contextlib.redirect_stdout(silence),
        contextlib.redirect_stderr(silence),
        _without_overriding(),
    ):
        quantized = quantizer.quantize().quantized_model
    assert quantized is not None
    return bytes(quantized)


@contextlib.contextmanager
def _without_overriding() -> Iterator[None]:
    """Leaves out a warning for each weight that several signatures share.

    The quantizer makes such a weight smaller once for each, to the same numbers.
    """

    def is_other(record: logging.LogRecord) -> bool:
        return "overriding other previously" not in str(record.msg)

    # That module logs to the root logger.
    root = logging.getLogger()
    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)
