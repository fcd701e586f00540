"""A model as a SavedModel: picture files and prompts in, answers out.

Axes: B batch, S pixels of a side, T text of the prompt, N new tokens.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import keras

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.checks.packages import import_packages
from keras_pg2.deploy.preparation import checked_parts
from keras_pg2.deploy.saved_model.signatures import CONVERTERS, build_module
from keras_pg2.deploy.saved_model.verification import (
    SavedModelComparison,
    verify_saved_model,
)
from keras_pg2.files.whole_files import staged
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks import PaliGemma2CausalLM

_ADVICE = (
    "A SavedModel holds pictures' and text's preparation as operations of TensorFlow "
    "and TensorFlow Text. Run: pip install 'keras-pg2[saved-model]'"
)
_ITEM_BYTES = {"int8": 1, "uint8": 1, "bfloat16": 2, "float16": 2}


def export_saved_model(
    model: PaliGemma2CausalLM,
    path: str | os.PathLike[str],
    max_new_tokens: int = 64,
    prompt_length: int = 64,
) -> SavedModelComparison:
    """Writes a SavedModel that TensorFlow and TensorFlow Text run by themselves.

    Its signatures take batches of any size B >= 1 and answer greedily:

    - `serve`, also `serving_default`: `image_bytes` string[B] (PNG, JPEG, GIF, BMP)
      and `prompt` string[B] to `text` string[B] and `error` string[B], which is "" or
      says what is wrong with a row, whose text is then "". The other rows are right.
    - `generate_ids`: `pixels` float32[B, S, S, 3] in [-1, 1], `token_ids` int32[B, T],
      `padding_mask` bool[B, T] (right-padded) to `token_ids` int32[B, N], 0 after the
      end token.
    - `score`: `image_bytes` and `prompt` as `serve` takes them, and `answer` string[B],
      to `log_probability` float32[B] of that answer and its end token, `num_tokens`
      int32[B] of both, and `error` string[B]; the numbers of a row with an error are 0.

    An adapter in the network is computed beside its kernels, as in the model, which
    stays as it is. Sample answers and scores are compared with the model's before the
    directory is put in place.

    Args:
        model: a `PaliGemma2CausalLM` with a preprocessor, on the TensorFlow or JAX
            backend.
        path: the directory to be.
        max_new_tokens: N, the most tokens of an answer, of one to be scored the end
            token among them.
        prompt_length: T, the most tokens of a prompt, bos and newline among them.

    Returns:
        How many of the sample answers are the model's: all; and how far scores are
        apart.

    Raises:
        FileExistsError: when something is at `path`.
        RuntimeError: on the PyTorch backend.
        ImportError: when TensorFlow or TensorFlow Text is missing.
        TypeError: for something else than a `PaliGemma2CausalLM`.
        ValueError: for a model without a preprocessor, lengths that do not fit, or
            sample answers or scores that are not the model's; nothing is left at
            `path` then.
    """
    check_backend()
    backbone, preprocessor = checked_parts(model)
    _check_lengths(preprocessor, max_new_tokens, prompt_length)
    tf, tf_text = import_packages("tensorflow", "tensorflow_text", advice=_ADVICE)
    weights = backbone.variables
    num_bytes = sum(math.prod(w.shape) * _ITEM_BYTES.get(w.dtype, 4) for w in weights)
    with staged(Path(path), overwrite=None, num_bytes=num_bytes) as part:
        module, signatures = build_module(
            tf, tf_text, model, max_new_tokens, prompt_length
        )
        tf.saved_model.save(module, str(part), signatures=signatures)
        del module, signatures
        return verify_saved_model(tf, model, part, max_new_tokens, prompt_length)


def check_backend() -> None:
    """Raises RuntimeError when Keras runs on a backend that writes no SavedModel."""
    backend = keras.config.backend()
    if backend not in CONVERTERS:
        raise RuntimeError(
            f"Expected the backend jax or tensorflow. Received: {backend}. Write the "
            "model with save_to_preset, then load and export it in a process with "
            "KERAS_BACKEND=jax or KERAS_BACKEND=tensorflow."
        )


def _check_lengths(
    preprocessor: PaliGemma2CausalLMPreprocessor,
    max_new_tokens: int,
    prompt_length: int,
) -> None:
    check_at_least_one("max_new_tokens", max_new_tokens)
    check_at_least_one("prompt_length", prompt_length)
    least = len(preprocessor.generate_preprocess("")["token_ids"][0])
    if prompt_length < least:
        raise ValueError(
            f"Expected prompt_length >= {least}, what an empty prompt takes. Received: "
            f"{prompt_length}."
        )
