"""What generation never makes: an array of image tokens x vocabulary."""

from __future__ import annotations

import keras
import numpy as np

from keras_pg2.generation.decoding import Plan, Request, generate_tokens
from keras_pg2.generation.samplers import Sampler
from keras_pg2.modeling import PaliGemma2Backbone
from tests.array_shapes import shapes_of
from tests.tiny_networks import TEXT_DECODER, VISION_ENCODER, randomize

# A number that no other size is made of, and many more image tokens than hidden units.
VOCABULARY_SIZE, IMAGE_SIZE, NUM_IMAGE_TOKENS = 1009, 140, 100
BATCH_SIZE = 2


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

    shapes = shapes_of(run, request.inputs)
    assert any(NUM_IMAGE_TOKENS in shape for shape in shapes)
    sizes = {
        int(np.prod(shape)) // VOCABULARY_SIZE
        for shape in shapes
        if VOCABULARY_SIZE in shape
    }
    # Logits of the rows, and the embedding itself.
    assert BATCH_SIZE in sizes
    assert max(sizes) <= TEXT_DECODER["hidden_dim"]
