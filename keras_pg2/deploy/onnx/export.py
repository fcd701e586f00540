"""A model as ONNX files in the layout that transformers.js loads.

`onnx/` has the three graphs, each with its weights beside it, in several files where
they are more than a browser loads as one; around it are the files of a Hugging Face
directory, and what our own runner reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from keras_pg2.catalogue.architecture import count_parameters
from keras_pg2.checks.dtypes import check_quantization
from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.checks.packages import import_packages
from keras_pg2.conversion.from_model import ModelSource, from_model
from keras_pg2.conversion.huggingface.writer import write_description, write_tokenizer
from keras_pg2.deploy.comparison import LogitComparison, verify_onnx
from keras_pg2.deploy.onnx.builder import GraphBuilder, Types
from keras_pg2.deploy.onnx.graph import ONNXGraph
from keras_pg2.deploy.onnx.quantization import DTYPES, SUFFIXES
from keras_pg2.deploy.onnx.weights import FILE_BYTES, WeightFiles
from keras_pg2.deploy.preparation import (
    BYTES_PER_WEIGHT,
    checked_parts,
    describe_preparation,
    write_own_files,
)
from keras_pg2.deploy.runners.files import VOCABULARY
from keras_pg2.deploy.runners.onnx import MANIFEST
from keras_pg2.files.whole_files import staged
from keras_pg2.tasks import PaliGemma2CausalLM

CONTEXT_LENGTH = 8192
"""Tokens of image, prompt and answer together that Gemma was trained on at most."""
GRAPHS: dict[str, Callable[[ONNXGraph], tuple[Types, Types]]] = {
    "vision_encoder": ONNXGraph.vision_encoder,
    "embed_tokens": ONNXGraph.embed_tokens,
    "decoder_model_merged": ONNXGraph.decoder,
}


def export_onnx(
    model: PaliGemma2CausalLM,
    path: str | os.PathLike[str],
    quantization: str | None = None,
    file_bytes: int = FILE_BYTES,
) -> LogitComparison:
    """Writes a model as ONNX files that `deploy.ONNXModel` runs without Keras.

    The model may be of any backend. LoRA is merged into the kernels that are written;
    the model stays as it is. Weights are read, quantised and written one at a time. The
    files are compared with the model before they are put in place.

    Args:
        model: a `PaliGemma2CausalLM` with a preprocessor.
        path: the directory to be.
        quantization: None or "float32"; "float16", which is computed in float32;
            "int8", with a scale for each 32 inputs of an output; "int4", which is that
            in 4 bits for the decoder's MLPs, and int8 for all else.
        file_bytes: most bytes of a file of weights; a weight that is larger has a
            file of its own.

    Returns:
        How far the files' logits are from the model's.

    Raises:
        FileExistsError: when something is at `path`.
        ImportError: when onnx or onnxruntime is missing.
        TypeError: for something else than a `PaliGemma2CausalLM`.
        ValueError: for a model without a preprocessor, a quantised one, a network that
            transformers does not have, an unknown quantization, or a `file_bytes` that
            is no whole number >= 1; also when the files' logits are not the model's,
            and then nothing is left at `path`.
    """
    quantization = check_quantization(quantization)
    check_at_least_one("file_bytes", file_bytes)
    onnx, _ = import_packages(
        "onnx",
        "onnxruntime",
        advice="onnx makes the files and onnxruntime verifies them. Run: pip install "
        "'keras-pg2[onnx]'",
    )
    backbone, preprocessor = checked_parts(model)
    architecture = backbone.architecture
    source = ModelSource(backbone, architecture)
    tokenizer, paths = preprocessor.tokenizer, frozenset(source.keys())
    num_bytes = int(count_parameters(**architecture) * BYTES_PER_WEIGHT[quantization])
    with staged(Path(path), overwrite=None, num_bytes=num_bytes) as part:
        checkpoint = from_model(backbone, preprocessor)
        write_description(checkpoint, part, "float32")
        # Where it is not the table's, <image> would be one of the table's tokens.
        if tokenizer.vocabulary_size() == backbone.vocabulary_size:
            write_tokenizer(part, tokenizer.proto)
        (part / VOCABULARY).write_bytes(tokenizer.proto)
        (part / "onnx").mkdir()
        files: dict[str, str] = {}
        num_files: dict[str, int] = {}
        for name, build in GRAPHS.items():
            target = part / "onnx" / f"{name}{SUFFIXES[quantization]}.onnx"
            data = target.with_name(f"{target.name}_data")
            with WeightFiles(data, file_bytes) as weights:
                builder = GraphBuilder(onnx, weights)
                graph = ONNXGraph(
                    builder, architecture, paths, source.read, quantization
                )
                builder.save(target, *build(graph))
            for file in (target, *weights.paths):
                suffix = file.name.removeprefix(target.name)
                files[f"{name}{suffix}"] = f"onnx/{file.name}"
            num_files[target.name] = len(weights.paths)
        _configure_transformers_js(part / "config.json", quantization, num_files)
        text = architecture["text_decoder"]
        manifest = {
            "files": files,
            "quantization": quantization,
            "num_layers": text["num_layers"],
            "cache_shape": [1, text["num_key_value_heads"], 0, text["head_dim"]],
            "cache_length": CONTEXT_LENGTH,
            **describe_preparation(preprocessor),
        }
        write_own_files(model, part)
        (part / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        return verify_onnx(model, part)


def _configure_transformers_js(
    path: Path, quantization: str | None, num_files: dict[str, int]
) -> None:
    """Add to `config.json` which files transformers.js loads, and how."""
    dtype = DTYPES[quantization]
    config = json.loads(path.read_text("utf-8"))
    config["transformers.js_config"] = {
        "dtype": dtype,
        # Caches are float32, whatever the weights are.
        "kv_cache_dtype": {dtype: "float32"},
        "use_external_data_format": num_files,
    }
    text = json.dumps(config, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
