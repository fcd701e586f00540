"""A model as a SavedModel: picture files and prompts in, answers out.

Axes: B batch, S pixels of a side, T text of the prompt, N new tokens.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pg2.conversion.staging import staged
from keras_pg2.deploy.preparation import check_preprocessor
from keras_pg2.deploy.saved_model_pictures import UNREADABLE, decode_pictures
from keras_pg2.deploy.saved_model_text import GraphText
from keras_pg2.deploy.saved_model_verification import (
    SavedModelComparison,
    verify_saved_model,
)
from keras_pg2.generation.decoding import Plan, Request, generate_tokens
from keras_pg2.generation.samplers import Sampler

Tensor = Any

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a SavedModel of the JAX backend runs on."""


_WIDTHS = {"int8": 1, "uint8": 1, "bfloat16": 2, "float16": 2}


def export_saved_model(
    model: Any,
    path: str | os.PathLike[str],
    max_new_tokens: int = 64,
    prompt_length: int = 64,
) -> SavedModelComparison:
    """Writes a SavedModel that TensorFlow and TensorFlow Text run without Keras.

    Its signatures take batches of any size B and answer greedily:

    - `serve`, also `serving_default`: `image_bytes` string[B] (PNG, JPEG, GIF, BMP)
      and `prompt` string[B] to `text` string[B] and `error` string[B], which is "" or
      says what is wrong with a row, whose text is then "". The other rows are right.
    - `generate_ids`: `pixels` float32[B, S, S, 3] in [-1, 1], `token_ids` int32[B, T],
      `padding_mask` bool[B, T] (right-padded) to `token_ids` int32[B, N], 0 after the
      end token.

    An adapter in the network is computed beside its kernels, as in the model, which
    stays as it is. Sample answers are compared with the model's before the directory
    is put in place.

    Args:
        model: a `PaliGemma2CausalLM` with a preprocessor, on the TensorFlow or JAX
            backend.
        path: the directory to be.
        max_new_tokens: N, the most tokens of an answer.
        prompt_length: T, the most tokens of a prompt, bos and newline among them.

    Returns:
        How many of the sample answers are the model's: all.

    Raises:
        FileExistsError: when something is at `path`.
        RuntimeError: on the PyTorch backend.
        ImportError: when TensorFlow or TensorFlow Text is missing.
        ValueError: for a model without a preprocessor, lengths that do not fit, or
            sample answers that are not the model's; nothing is left at `path` then.
    """
    check_backend()
    check_preprocessor(model.backbone, model.preprocessor)
    _check_lengths(model.preprocessor, max_new_tokens, prompt_length)
    tf, tf_text = import_tensorflow()
    weights = model.backbone.variables
    num_bytes = sum(math.prod(w.shape) * _WIDTHS.get(w.dtype, 4) for w in weights)
    with staged(Path(path), overwrite=False, num_bytes=num_bytes) as part:
        module, signatures = build_module(
            tf, tf_text, model, max_new_tokens, prompt_length
        )
        tf.saved_model.save(module, str(part), signatures=signatures)
        del module, signatures
        return verify_saved_model(tf, model, part, max_new_tokens, prompt_length)


def build_module(
    tf: Any, tf_text: Any, model: Any, max_new_tokens: int, prompt_length: int
) -> tuple[Any, dict[str, Any]]:
    """The module that holds weights and vocabulary, and its signatures.

    Args:
        tf: the module `tensorflow`.
        tf_text: the module `tensorflow_text`.
        model: the `PaliGemma2CausalLM`.
        max_new_tokens: N.
        prompt_length: T.
    """
    converter, size = model.preprocessor.image_converter, model.backbone.image_size
    text = GraphText(tf, tf_text, model.preprocessor, prompt_length)
    generate = greedy_function(model, max_new_tokens)
    module = tf.Module()
    module.tokenizer = text.tokenizer
    module.weights, run = _CONVERTERS[keras.config.backend()](tf, model, generate)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, size, size, 3], tf.float32, "pixels"),
            tf.TensorSpec([None, prompt_length], tf.int32, "token_ids"),
            tf.TensorSpec([None, prompt_length], tf.bool, "padding_mask"),
        ],
    )
    def generate_ids(pixels: Tensor, token_ids: Tensor, padding_mask: Tensor) -> dict:
        return {"token_ids": run(pixels, token_ids, padding_mask)}

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None], tf.string, "image_bytes"),
            tf.TensorSpec([None], tf.string, "prompt"),
        ],
    )
    def serve(image_bytes: Tensor, prompt: Tensor) -> dict:
        pixels, is_picture = decode_pictures(tf, converter, image_bytes)
        token_ids, padding_mask, error = text.tokenize(prompt)
        error = tf.where(is_picture, error, UNREADABLE)
        answers = generate_ids(pixels, token_ids, padding_mask)["token_ids"]
        texts = tf.where(error == "", text.detokenize(answers), "")
        return {"text": texts, "error": error}

    module.generate_ids, module.serve = generate_ids, serve
    signatures = {
        "serving_default": serve,
        "serve": serve,
        "generate_ids": generate_ids,
    }
    return module, signatures


def greedy_function(model: Any, max_new_tokens: int) -> Callable[..., Tensor]:
    """`generate_ids` as a function of tensors of the backend.

    Args:
        model: the `PaliGemma2CausalLM`.
        max_new_tokens: N.
    """
    plan, numbers = Plan(Sampler()), Sampler().numbers
    stop_token_ids = np.array([model.preprocessor.tokenizer.end_token_id], np.int32)

    def generate(pixels: Tensor, token_ids: Tensor, padding_mask: Tensor) -> Tensor:
        batch_size = ops.shape(token_ids)[0]
        inputs = {
            "images": pixels[:, None],
            "token_ids": token_ids,
            "padding_mask": padding_mask,
            "response_mask": ops.zeros_like(padding_mask),
        }
        request = Request(
            inputs,
            ops.zeros((batch_size, max_new_tokens), "float32"),
            ops.full((batch_size,), max_new_tokens, "int32"),
            ops.convert_to_tensor(stop_token_ids),
            numbers,
            None,
            ops.zeros((batch_size,), "int32"),
        )
        return generate_tokens(model.backbone, plan, request).tokens

    return generate


def _of_tensorflow(tf: Any, model: Any, function: Callable) -> tuple[list, Callable]:
    return [variable.value for variable in model.backbone.variables], function


def _of_jax(tf: Any, model: Any, function: Callable) -> tuple[list, Callable]:
    from jax.experimental import jax2tf

    variables = model.backbone.variables

    def stateless(values: list, *inputs: Tensor) -> Tensor:
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function(*inputs)

    converted = jax2tf.convert(
        stateless,
        polymorphic_shapes=[None, "(b, ...)", "(b, ...)", "(b, ...)"],
        with_gradient=False,
        native_serialization_platforms=PLATFORMS,
    )
    with tf.device("CPU"):
        weights = [
            tf.Variable(ops.convert_to_numpy(variable.value), trainable=False)
            for variable in variables
        ]
    return weights, lambda *inputs: converted(weights, *inputs)


_CONVERTERS = {"tensorflow": _of_tensorflow, "jax": _of_jax}


def check_backend() -> None:
    """Raises RuntimeError when Keras runs on a backend that writes no SavedModel."""
    backend = keras.config.backend()
    if backend not in _CONVERTERS:
        raise RuntimeError(
            f"Expected the backend jax or tensorflow. Received: {backend}. Write the "
            "model with save_to_preset, then load and export it in a process with "
            "KERAS_BACKEND=jax or KERAS_BACKEND=tensorflow."
        )


def import_tensorflow() -> tuple[Any, Any]:
    """`tensorflow` and `tensorflow_text`; ImportError when one is missing."""
    try:
        import tensorflow as tf
        import tensorflow_text as tf_text
    except ImportError as error:
        raise ImportError(
            f"Expected the package {error.name}, which is not installed. A SavedModel "
            "holds pictures' and text's preparation as operations of TensorFlow and "
            "TensorFlow Text. Run: pip install 'keras-pg2[saved-model]'"
        ) from error
    return tf, tf_text


def _check_lengths(preprocessor: Any, max_new_tokens: int, prompt_length: int) -> None:
    for name, value in (
        ("max_new_tokens", max_new_tokens),
        ("prompt_length", prompt_length),
    ):
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"Expected {name} as a whole number >= 1. Received: {value!r}."
            )
    least = len(preprocessor.generate_preprocess("")["token_ids"][0])
    if prompt_length < least:
        raise ValueError(
            f"Expected prompt_length >= {least}, what an empty prompt takes. Received: "
            f"{prompt_length}."
        )
