"""The signatures of a SavedModel, and the weights that they share.

Axes: B batch, S pixels of a side, T text of the prompt, N new tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pg2.deploy.preparation import checked_parts
from keras_pg2.deploy.saved_model.pictures import UNREADABLE, decode_pictures
from keras_pg2.deploy.saved_model.text import GraphText
from keras_pg2.generation.decoding import Plan, Request, generate_tokens, prefill
from keras_pg2.generation.samplers import Sampler
from keras_pg2.generation.scoring import score_tokens
from keras_pg2.modeling import PaliGemma2Backbone
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.typing import Tensor

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a SavedModel of the JAX backend runs on."""


def build_module(
    tf: ModuleType,
    tf_text: ModuleType,
    model: PaliGemma2CausalLM,
    max_new_tokens: int,
    prompt_length: int,
) -> tuple[Any, dict[str, Callable[..., dict]]]:
    """Return the module that holds weights and vocabulary, and its signatures.

    Args:
        tf: The module `tensorflow`.
        tf_text: The module `tensorflow_text`.
        model: The model to export.
        max_new_tokens: N.
        prompt_length: T.
    """
    backbone, preprocessor = checked_parts(model)
    converter, size = preprocessor.image_converter, backbone.image_size
    assert converter is not None  # As `checked_parts` returned it.
    end_token_id = preprocessor.tokenizer.end_token_id
    text = GraphText(tf, tf_text, preprocessor, prompt_length, max_new_tokens)
    module = tf.Module()
    module.tokenizer = text.tokenizer
    module.weights, convert = CONVERTERS[keras.config.backend()](tf, backbone)
    generate = convert(greedy_function(backbone, end_token_id, max_new_tokens), 3)
    score_ids = convert(scoring_function(backbone), 5)
    strings = tf.TensorSpec([None], tf.string)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, size, size, 3], tf.float32, "pixels"),
            tf.TensorSpec([None, prompt_length], tf.int32, "token_ids"),
            tf.TensorSpec([None, prompt_length], tf.bool, "padding_mask"),
        ],
    )
    def generate_ids(pixels: Tensor, token_ids: Tensor, padding_mask: Tensor) -> dict:
        inputs = check_rows(
            tf, pixels=pixels, token_ids=token_ids, padding_mask=padding_mask
        )
        return {"token_ids": generate(*inputs)}

    def read(image_bytes: Tensor, prompt: Tensor) -> tuple:
        pixels, is_picture = decode_pictures(tf, converter, image_bytes)
        token_ids, padding_mask, error = text.tokenize(prompt)
        error = tf.where(is_picture, error, UNREADABLE)
        return pixels, token_ids, padding_mask, error

    @tf.function(autograph=False, input_signature=[strings] * 2)
    def serve(image_bytes: Tensor, prompt: Tensor) -> dict:
        image_bytes, prompt = check_rows(tf, image_bytes=image_bytes, prompt=prompt)
        pixels, token_ids, padding_mask, error = read(image_bytes, prompt)
        answers = generate_ids(pixels, token_ids, padding_mask)["token_ids"]
        texts = tf.where(error == "", text.detokenize(answers), "")
        return {"text": texts, "error": error}

    @tf.function(autograph=False, input_signature=[strings] * 3)
    def score(image_bytes: Tensor, prompt: Tensor, answer: Tensor) -> dict:
        image_bytes, prompt, answer = check_rows(
            tf, image_bytes=image_bytes, prompt=prompt, answer=answer
        )
        pixels, token_ids, padding_mask, error = read(image_bytes, prompt)
        answer_ids, num_tokens, answer_error = text.tokenize_answers(answer)
        error = tf.where(error == "", answer_error, error)
        scores = score_ids(pixels, token_ids, padding_mask, answer_ids, num_tokens)
        is_valid = error == ""
        return {
            "log_probability": tf.where(is_valid, scores, 0.0),
            "num_tokens": tf.where(is_valid, num_tokens, 0),
            "error": error,
        }

    signatures = {"serve": serve, "generate_ids": generate_ids, "score": score}
    for name, function in signatures.items():
        setattr(module, name, function)
    return module, {"serving_default": serve, **signatures}


def check_rows(tf: ModuleType, **inputs: Tensor) -> list[Tensor]:
    """Inputs of a signature as they are, once it is sure that their rows match.

    What a backend compiles fails for others with messages of its own. The call ends
    with TensorFlow's InvalidArgumentError when there are no rows, or not as many of
    each input.

    Args:
        tf: the module `tensorflow`.
        **inputs: by name, each with B rows.
    """
    names = ", ".join(inputs)
    first, *others = (tf.shape(value)[0] for value in inputs.values())
    checks = [
        tf.debugging.assert_equal(
            count, first, f"Expected {names} with as many rows (B) each."
        )
        for count in others
    ]
    checks.append(
        tf.debugging.assert_positive(
            first, f"Expected {names} of at least one row. Received: none."
        )
    )
    with tf.control_dependencies(checks):
        return [tf.identity(value) for value in inputs.values()]


def greedy_function(
    backbone: PaliGemma2Backbone, end_token_id: int, max_new_tokens: int
) -> Callable[..., Tensor]:
    """`generate_ids` as a function of tensors of the backend.

    Args:
        backbone: The model's network.
        end_token_id: Token that ends an answer.
        max_new_tokens: N.
    """
    plan, parameters = Plan(Sampler()), Sampler().parameters
    stop_token_ids = np.array([end_token_id], np.int32)

    def generate(pixels: Tensor, token_ids: Tensor, padding_mask: Tensor) -> Tensor:
        batch_size = ops.shape(token_ids)[0]
        request = Request(
            inputs=_prompts(pixels, token_ids, padding_mask),
            uniforms=ops.zeros((batch_size, max_new_tokens), "float32"),
            token_limits=ops.full((batch_size,), max_new_tokens, "int32"),
            stop_token_ids=ops.convert_to_tensor(stop_token_ids),
            parameters=parameters,
            automaton=None,
            states=ops.zeros((batch_size,), "int32"),
        )
        return generate_tokens(backbone, plan, request).tokens

    return generate


def scoring_function(backbone: PaliGemma2Backbone) -> Callable[..., Tensor]:
    """What `score` computes of ids, as a function of tensors of the backend.

    It takes pixels and prompts as `generate_ids`, answers int32[B, N] with their end
    tokens and int32[B] how many tokens they are, and gives float32[B].

    Args:
        backbone: The model's network.
    """

    def score(
        pixels: Tensor,
        token_ids: Tensor,
        padding_mask: Tensor,
        answer_ids: Tensor,
        num_tokens: Tensor,
    ) -> Tensor:
        length = answer_ids.shape[1]
        inputs = _prompts(pixels, token_ids, padding_mask)
        prompts = prefill(backbone, inputs, length)
        # No row is scored further than the longest answer of the batch.
        end = ops.max(num_tokens, initial=1)
        scores = score_tokens(backbone, prompts, answer_ids, end)
        is_token = ops.arange(length, dtype="int32") < num_tokens[:, None]
        return ops.sum(ops.where(is_token, scores, 0.0), axis=1)

    return score


def _prompts(pixels: Tensor, token_ids: Tensor, padding_mask: Tensor) -> dict:
    """As `decoding.Request` wants them."""
    return {
        "images": pixels[:, None],
        "token_ids": token_ids,
        "padding_mask": padding_mask,
        "response_mask": ops.zeros_like(padding_mask),
    }


def _convert_tensorflow(
    tf: ModuleType, backbone: PaliGemma2Backbone
) -> tuple[list, Callable]:
    weights = [variable.value for variable in backbone.variables]
    return weights, lambda function, num_inputs: function


def _convert_jax(tf: ModuleType, backbone: PaliGemma2Backbone) -> tuple[list, Callable]:
    from jax.experimental import jax2tf

    variables = backbone.variables
    with tf.device("CPU"):
        weights = [
            tf.Variable(ops.convert_to_numpy(variable.value), trainable=False)
            for variable in variables
        ]

    def convert(function: Callable, num_inputs: int) -> Callable:
        def stateless(values: list, *inputs: Tensor) -> Tensor:
            mapping = list(zip(variables, values, strict=True))
            with keras.StatelessScope(state_mapping=mapping):
                return function(*inputs)

        converted = jax2tf.convert(
            stateless,
            polymorphic_shapes=[None, *["(b, ...)"] * num_inputs],
            with_gradient=False,
            native_serialization_platforms=PLATFORMS,
        )
        return lambda *inputs: converted(weights, *inputs)

    return weights, convert


CONVERTERS = {"tensorflow": _convert_tensorflow, "jax": _convert_jax}
"""By backend: the weights as TensorFlow's, and what makes a function of the backend
(and the number of its inputs) one of TensorFlow's tensors."""
