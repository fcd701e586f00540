"""A model as LiteRT files: vision, embedder, prefill, decode and logits."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from keras_pg2.catalogue.architecture import count_parameters
from keras_pg2.checks.dtypes import check_quantization
from keras_pg2.deploy.comparison import LogitComparison, verify_litert
from keras_pg2.deploy.litert.files import (
    FilePlan,
    split_layers,
    write_file,
    write_in_a_process,
)
from keras_pg2.deploy.litert.source import (
    check_cache_length,
    import_tensorflow,
    open_graph,
)
from keras_pg2.deploy.preparation import (
    BYTES_PER_WEIGHT,
    checked_parts,
    describe_preparation,
    write_own_files,
)
from keras_pg2.deploy.runners.files import VOCABULARY
from keras_pg2.deploy.runners.litert import MANIFEST
from keras_pg2.files.whole_files import staged
from keras_pg2.tasks import PaliGemma2CausalLM

PREFILL_LENGTHS = (16, 64)


def export_litert(
    model: PaliGemma2CausalLM,
    path: str | os.PathLike[str],
    quantization: str | None = None,
    prefill_lengths: Sequence[int] = PREFILL_LENGTHS,
    cache_length: int | None = None,
) -> LogitComparison:
    """Writes a model as LiteRT files that `deploy.LiteRTModel` runs without Keras.

    The model may be of any backend; TensorFlow, which makes the files, must be
    installed. LoRA is merged into the kernels that are written; the model stays as it
    is. The files are compared with the model before they are put in place.

    Args:
        model: a `PaliGemma2CausalLM` with a preprocessor.
        path: the directory to be.
        quantization: None or "float32", "float16", "int8" or "int4"; see
            `quantization.quantize`.
        prefill_lengths: tokens of prompts, bos and newline among them, for each of
            which there will be a `prefill_<length>`; a prompt takes the shortest
            that holds it.
        cache_length: most tokens of image, prompt and answer together; None for the
            longest prompt and an answer of 128 tokens.

    Returns:
        How far the files' logits are from the model's.

    Raises:
        FileExistsError: when something is at `path`.
        ImportError: when TensorFlow, ai-edge-litert or ai-edge-quantizer is missing.
        TypeError: for something else than a `PaliGemma2CausalLM`.
        ValueError: for a model without a preprocessor, a quantised one, an unknown
            quantization or lengths that do not fit; also when the files' logits are
            not the model's, and then nothing is left at `path`.
    """
    quantization = check_quantization(quantization)
    backbone, preprocessor = checked_parts(model)
    lengths = _check_lengths(prefill_lengths)
    cache_length = check_cache_length(
        cache_length, backbone.num_image_tokens + lengths[-1]
    )
    architecture = backbone.architecture
    target = Path(path)
    num_bytes = int(count_parameters(**architecture) * BYTES_PER_WEIGHT[quantization])
    with staged(target, overwrite=None, num_bytes=num_bytes) as part:
        graph = open_graph(import_tensorflow(), backbone)
        plan = FilePlan(split_layers(architecture), lengths, cache_length)
        files = plan.files(graph)
        part.mkdir()
        for name, signatures in files.items():
            if len(files) == 1:
                write_file(graph, signatures, part / name, quantization)
            else:
                write_in_a_process(graph, plan, name, part / name, quantization)
        (part / VOCABULARY).write_bytes(preprocessor.tokenizer.proto)
        manifest = {
            "files": {
                signature: name for name, group in files.items() for signature in group
            },
            "quantization": quantization,
            "decoder_parts": len(plan.layers),
            "prefill_lengths": lengths,
            "cache_length": cache_length,
            **describe_preparation(preprocessor),
        }
        write_own_files(model, part)
        (part / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        return verify_litert(model, part)


def _check_lengths(lengths: Sequence[int]) -> list[int]:
    is_valid = not isinstance(lengths, int | str) and len(lengths) > 0
    if not is_valid or not all(isinstance(n, int) and n > 0 for n in lengths):
        raise ValueError(
            "Expected prefill_lengths as a list of numbers of tokens >= 1. Received: "
            f"{lengths!r}."
        )
    return sorted(set(lengths))
