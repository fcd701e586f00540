"""Layer by layer against transformers, which is filled with the same weights.

The weights go through our own conversion: transformers saves, we load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keras import ops

from keras_pg2.modeling import PaliGemma2Backbone
from keras_pg2.modeling.attention_mask import attention_masks, token_layout
from keras_pg2.modeling.gemma2 import prepend_image
from keras_pg2.modeling.rotary import compute_rotation
from tests.support.loaded import load_backbone
from tests.support.one_program import apply
from tests.support.reference import (
    TEXT_CONFIGS,
    VOCABULARY_SIZE,
    Batch,
    build_model,
    random_batch,
)

TOLERANCE = 1e-5

# All of one shape, so that compiled operations are used again.
BATCHES = {
    "prompt": ([12, 12, 12], [0, 0, 0]),
    "response": ([3, 3, 3], [9, 9, 9]),
    "ragged": ([3, 11, 1], [9, 1, 0]),
}


@pytest.fixture(scope="module", params=TEXT_CONFIGS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, PaliGemma2Backbone, Path]:
    model = build_model(TEXT_CONFIGS[request.param])
    directory = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(directory)
    return model, load_backbone(directory), directory


def run_theirs(model: Any, batch: Batch) -> Any:
    with torch.no_grad():
        return model(**batch.theirs, output_hidden_states=True)


def run_ours(backbone: PaliGemma2Backbone, batch: Batch) -> tuple:
    """Hidden states after the final norm and float32 logits, at the real tokens."""
    hidden = apply(backbone, batch.ours)
    logits = ops.convert_to_numpy(backbone.project_to_vocabulary(hidden))
    return ops.convert_to_numpy(hidden)[batch.is_real], logits[batch.is_real]


def assert_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Within the tolerance, on the scale of the largest value."""
    assert ours.shape == theirs.shape
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("num_images", [1, 2])
@pytest.mark.parametrize("rows", BATCHES)
def test_hidden_states_and_logits(pair: tuple, rows: str, num_images: int) -> None:
    model, backbone, _ = pair
    batch = random_batch(*BATCHES[rows], num_images=num_images)
    theirs = run_theirs(model, batch)
    hidden, logits = run_ours(backbone, batch)
    assert_close(hidden, batch.gather(theirs.hidden_states[-1]))
    assert_close(logits, batch.gather(theirs.logits)[:, :VOCABULARY_SIZE])


def test_every_decoder_block(pair: tuple) -> None:
    model, backbone, _ = pair
    batch = random_batch(*BATCHES["ragged"])
    theirs = run_theirs(model, batch).hidden_states
    decoder, inputs = backbone.text_decoder, batch.ours
    image = backbone.encode_images(inputs["images"])
    x = decoder.join(image, inputs["token_ids"])
    layout = token_layout(
        *prepend_image(image, inputs["padding_mask"], inputs["response_mask"])
    )
    masks = attention_masks(layout, layout, decoder.sliding_window)
    for i, block in enumerate(decoder.blocks):
        assert_close(ops.convert_to_numpy(x)[batch.is_real], batch.gather(theirs[i]))
        mask = masks.full if i % 2 else masks.windowed
        x, _ = block(x, compute_rotation(layout.positions, decoder.head_dim), mask)


def test_every_vision_block_and_the_projection(pair: tuple) -> None:
    model, backbone, _ = pair
    batch = random_batch([1, 1], [0, 0])
    with torch.no_grad():
        theirs = model.model.get_image_features(
            batch.theirs["pixel_values"], output_hidden_states=True
        )
    encoder, images = backbone.vision_encoder, batch.ours["images"]
    x = ops.reshape(encoder.patch_embedding(images[:, 0]), (2, -1, encoder.hidden_dim))
    x = x + encoder.position_embedding(ops.arange(encoder.num_image_tokens))
    for i, block in enumerate(encoder.blocks):
        assert_close(ops.convert_to_numpy(x), theirs.hidden_states[i].numpy())
        x = block(x)
    assert_close(
        ops.convert_to_numpy(apply(encoder, images)), theirs.last_hidden_state.numpy()
    )
    projected = ops.convert_to_numpy(backbone.encode_images(images))
    assert_close(projected, theirs.pooler_output.numpy())


@pytest.mark.parametrize(
    "override",
    [
        {"attention_logit_soft_cap": None},
        {"final_logit_soft_cap": None},
        {"sliding_window": None},
        {"query_pre_attn_scalar": 7},
    ],
    ids=str,
)
def test_numbers_bite(
    pair: tuple, override: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """Without one of them the comparisons above would fail by far."""
    _, backbone, directory = pair
    (name,) = override
    if getattr(backbone.text_decoder, name) is None:
        pytest.skip(f"{name} is off here")
    batch = random_batch(*BATCHES["response"])
    logits = run_ours(backbone, batch)[1]
    changed = run_ours(load_backbone(directory, **override), batch)[1]
    assert np.abs(logits - changed).max() > 1000 * TOLERANCE * np.abs(logits).max()
