"""TensorFlow's converter and ai-edge-quantizer: a SavedModel to a LiteRT file.

Imports no Keras, so that it starts soon in a process of its own. There it is run for
large models: the converter takes about four times the weights, and a process that goes
on does not give all of it back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_pg2.deploy.litert_quantization import quantize

Numbers = Mapping[str, Mapping[str, Any]]


def convert_saved_model(
    source: str,
    target: str,
    signatures: Sequence[str],
    quantization: str | None,
    numbers: Numbers,
) -> None:
    """Writes the signatures of a SavedModel as a file, each weight in it once.

    Args:
        source: the directory.
        target: the file to be.
        signatures: their names.
        quantization: as for `export_litert`.
        numbers: of the network, by part.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        source, signature_keys=list(signatures)
    )
    blob = converter.convert()
    del converter
    if quantization is not None:
        blob = quantize(blob, quantization, numbers)
    Path(target).write_bytes(blob)


def convert_in_a_process(*arguments: Any) -> None:
    """`convert_saved_model` in a process that ends, and gives its memory back.

    Raises:
        MemoryError: when the system ended it, as it does when memory runs out.
        RuntimeError: when it failed; has its last words.
    """
    # As if there were no Keras: it and its backend take seconds and memory to import.
    code = (
        "import json, sys; sys.modules.update(keras=None); "
        f"from {__name__} import convert_saved_model; "
        "convert_saved_model(*json.loads(sys.stdin.read()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    if done.returncode < 0:
        raise MemoryError(
            "Expected memory for a part of the model: about four times its weights as "
            f"float32 beside the model itself. The system ended the converter (signal "
            f"{-done.returncode}). Close other programs, or load the model with "
            "dtype='bfloat16'."
        )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(f"LiteRT's converter failed: {' '.join(lines[-3:])}")
