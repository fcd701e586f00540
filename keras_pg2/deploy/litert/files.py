"""The files of a LiteRT export, and their making by TensorFlow's converter.

A model of more than `MAX_FILE_BYTES` as float32 is written as several files, one after
another: vision, vocabulary, and runs of layers of the decoder. The converter takes
about four times the weights of a file, and a process that goes on does not give all of
that back; so each of several files is made in a process of its own, which is given the
weights on disk.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from keras_pg2.catalogue.architecture import count_parameters, variable_shapes
from keras_pg2.deploy.litert.graph import LiteRTGraph
from keras_pg2.deploy.litert.quantization import quantize
from keras_pg2.deploy.litert.signatures import (
    Signature,
    decode_signature,
    embedder_signature,
    logits_signature,
    prefill_signature,
    save,
    vision_signature,
)
from keras_pg2.typing import Architecture

MAX_FILE_BYTES = 1_900_000_000
"""Of float32 weights. Flatbuffers hold 2 GB, and the converter takes four times it."""


class FilePlan(NamedTuple):
    """What the files of an export hold.

    Attributes:
        layers: first and one after the last of each part of the decoder.
        lengths: tokens of prompts that there is a prefill for.
        cache_length: slots of the cache.
    """

    layers: Sequence[tuple[int, int]]
    lengths: Sequence[int]
    cache_length: int

    def files(self, graph: LiteRTGraph) -> dict[str, dict[str, Signature]]:
        """The signatures of each file, by names; one part of layers is one file."""
        vision = {"vision": vision_signature(graph)}
        # Both in one file, so that the table is there once.
        vocabulary = {
            "embedder": embedder_signature(graph),
            "logits": logits_signature(graph),
        }
        decoder = {
            f"decoder_{part}.tflite": {
                **{
                    f"prefill_{n}_{part}": prefill_signature(
                        graph, range(*ends), n, self.cache_length
                    )
                    for n in self.lengths
                },
                f"decode_{part}": decode_signature(
                    graph, range(*ends), self.cache_length
                ),
            }
            for part, ends in enumerate(self.layers)
        }
        if len(decoder) == 1:
            [only] = decoder.values()
            return {"model.tflite": {**vision, **vocabulary, **only}}
        return {"vision.tflite": vision, "vocabulary.tflite": vocabulary, **decoder}

    def weight_prefixes(self, name: str) -> tuple[str, ...]:
        """Return the prefixes of the weights' paths in one of several files."""
        if name == "vision.tflite":
            return ("vision_encoder/", "vision_projection/")
        if name == "vocabulary.tflite":
            return ("text_decoder/token_embedding/", "text_decoder/final_norm/")
        first, end = self.layers[int(name.removesuffix(".tflite").rpartition("_")[2])]
        return tuple(f"text_decoder/block_{i}/" for i in range(first, end))


def split_layers(architecture: Architecture) -> list[tuple[int, int]]:
    """The parts of the decoder, each of as many layers as fit into a file."""
    num_layers = architecture["text_decoder"]["num_layers"]
    if 4 * count_parameters(**architecture) <= MAX_FILE_BYTES:
        return [(0, num_layers)]
    layer_bytes = 4 * sum(
        math.prod(shape)
        for path, shape in variable_shapes(**architecture).items()
        if path.startswith("text_decoder/block_0/")
    )
    size = max(MAX_FILE_BYTES // layer_bytes, 1)
    # Runs of nearly the same length.
    num_parts = math.ceil(num_layers / size)
    ends = [round(num_layers * i / num_parts) for i in range(num_parts + 1)]
    return list(pairwise(ends))


def write_file(
    graph: LiteRTGraph,
    signatures: Mapping[str, Signature],
    target: Path,
    quantization: str | None,
) -> None:
    """Writes some signatures as a LiteRT file, each weight in it once."""
    with TemporaryDirectory(dir=target.parent) as directory:
        save(graph, signatures, directory)
        converter = graph.tf.lite.TFLiteConverter.from_saved_model(
            directory, signature_keys=list(signatures)
        )
        blob = converter.convert()
    del converter
    if quantization is not None:
        architecture = {"vision_encoder": graph.vision, "text_decoder": graph.text}
        blob = quantize(blob, quantization, architecture)
    target.write_bytes(blob)


def write_in_a_process(
    graph: LiteRTGraph,
    plan: FilePlan,
    name: str,
    target: Path,
    quantization: str | None,
) -> None:
    """`write_file` in a process that ends, and gives its memory back.

    Args:
        graph: the network, whose weights go through files.
        plan: of all files.
        name: of this one.
        target: where it is to be.
        quantization: None, or as for `quantization.quantize`.

    Raises:
        MemoryError: when the system ended it, as it does when memory runs out.
        RuntimeError: when it failed; has its last words.
    """
    architecture = {"vision_encoder": graph.vision, "text_decoder": graph.text}
    with TemporaryDirectory(dir=target.parent) as directory:
        for path in variable_shapes(**architecture):
            if path.startswith(plan.weight_prefixes(name)):
                np.save(_weight_file(directory, path), graph.read(path))
        arguments = (directory, architecture, plan, name, str(target), quantization)
        done = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import _run; _run()"],
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "KERAS_BACKEND": "tensorflow",  # Which is imported anyway.
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            check=False,
        )
    if done.returncode < 0:
        raise MemoryError(
            f"Expected memory for {name}: about four times its weights as float32 "
            f"beside the model itself. The system ended the converter (signal "
            f"{-done.returncode}). Close other programs, or load the model with "
            "dtype='bfloat16'."
        )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(f"LiteRT's converter failed: {' '.join(lines[-3:])}")


def _run() -> None:
    """What that process does; its input are the arguments."""
    import tensorflow as tf

    directory, architecture, plan, name, target, quantization = json.load(sys.stdin)
    graph = LiteRTGraph(
        tf,
        architecture,
        frozenset(variable_shapes(**architecture)),
        lambda path: np.load(_weight_file(directory, path), mmap_mode="r"),
    )
    signatures = FilePlan(*plan).files(graph)[name]
    write_file(graph, signatures, Path(target), quantization)


def _weight_file(directory: str, path: str) -> str:
    return str(Path(directory) / f"{path.replace('/', '.')}.npy")
