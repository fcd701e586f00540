"""What generation never makes: an array of image tokens x vocabulary."""

from __future__ import annotations

import re

import keras
import numpy as np

from keras_pg2.generation.decoding import Plan, Request, generate_tokens
from keras_pg2.generation.samplers import Sampler
from keras_pg2.modeling import PaliGemma2Backbone
from tests.tiny_networks import TEXT_DECODER, VISION_ENCODER, randomize

# A number that no other size is made of, and many more image tokens than hidden units.
VOCABULARY_SIZE, IMAGE_SIZE, NUM_IMAGE_TOKENS = 1009, 140, 100
BATCH_SIZE = 2


def shapes_on_jax(run, inputs):
    import jax

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            for variable in (*equation.invars, *equation.outvars):
                yield getattr(variable.aval, "shape", ())
            for parameter in keras.tree.flatten(list(equation.params.values())):
                inner = getattr(parameter, "jaxpr", parameter)
                if hasattr(inner, "eqns"):
                    yield from walk(inner)

    return list(walk(jax.make_jaxpr(run)(inputs).jaxpr))


def shapes_on_tensorflow(run, inputs):
    import tensorflow as tf

    inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    compiled = tf.function(run, jit_compile=True)
    text = compiled.experimental_get_compiler_ir(inputs)(stage="optimized_hlo")
    found = re.findall(r"\b(?:pred|[fsu]\d+|bf16)\[([\d,]+)\]", text)
    return [tuple(map(int, shape.split(","))) for shape in found]


def shapes_on_torch(run, inputs):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    shapes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            shapes.extend(
                tuple(x.shape)
                for x in torch.utils._pytree.tree_leaves(result)
                if isinstance(x, torch.Tensor)
            )
            return result

    inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    with torch.no_grad(), Watch():
        run(inputs)
    return shapes


def test_no_array_of_image_tokens_by_vocabulary():
    backbone = PaliGemma2Backbone(
        {**VISION_ENCODER, "image_size": IMAGE_SIZE},
        {**TEXT_DECODER, "vocabulary_size": VOCABULARY_SIZE},
    )
    randomize(backbone, seed=0)
    token_ids = np.full((BATCH_SIZE, 5), 7, np.int32)
    request = Request(
        {
            "images": np.zeros((BATCH_SIZE, 1, IMAGE_SIZE, IMAGE_SIZE, 3), np.float32),
            "token_ids": token_ids,
            "padding_mask": token_ids > 0,
            "response_mask": token_ids < 0,
        },
        np.zeros((BATCH_SIZE, 4), np.float32),
        np.full(BATCH_SIZE, 4, np.int32),
        np.zeros(0, np.int32),
        Sampler().numbers,
        None,
        np.zeros(BATCH_SIZE, np.int32),
    )

    def run(inputs):
        plan = Plan(Sampler(), with_scores=True)
        constants = (keras.ops.convert_to_tensor(x) for x in request[1:4])
        own = Request(inputs, *constants, *request[4:])
        return generate_tokens(backbone, plan, own)

    find = globals()[f"shapes_on_{keras.config.backend()}"]
    shapes = find(run, request.inputs)
    assert any(NUM_IMAGE_TOKENS in shape for shape in shapes)
    sizes = {
        int(np.prod(shape)) // VOCABULARY_SIZE
        for shape in shapes
        if VOCABULARY_SIZE in shape
    }
    # Logits of the rows, and the embedding itself.
    assert BATCH_SIZE in sizes
    assert max(sizes) <= TEXT_DECODER["hidden_dim"]
