from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling import Gemma2Decoder, PaliGemma2Backbone, attention
from keras_pg2.modeling.attention_mask import (
    TokenLayout,
    attention_masks,
    token_layout,
)
from keras_pg2.modeling.gemma2 import RMSNorm, prepend_image
from keras_pg2.modeling.rotary import apply_rotary
from tests.support.one_program import apply, as_one_program
from tests.support.tiny_networks import (
    TEXT_DECODER,
    VISION_ENCODER,
    random_backbone,
    random_inputs,
)


def test_rms_norm_is_zero_centred_and_computed_in_float32() -> None:
    norm = RMSNorm(dtype="bfloat16")
    norm.build((None, 4))
    x = np.array([[1.0, -2.0, 3.0, 4.0]], "float32")
    expected = x / np.sqrt(np.mean(x**2) + 1e-6)
    normed = ops.cast(norm(ops.cast(x, "bfloat16")), "float32")
    np.testing.assert_allclose(ops.convert_to_numpy(normed), expected, rtol=2**-8)
    norm.scale.assign(np.ones(4))
    doubled = ops.cast(norm(ops.cast(x, "bfloat16")), "float32")
    np.testing.assert_allclose(ops.convert_to_numpy(doubled), 2 * expected, rtol=2**-8)


def test_text_is_scaled_by_the_root_of_the_width_and_images_are_not(
    backbone: PaliGemma2Backbone,
) -> None:
    decoder = backbone.text_decoder
    image = ops.ones((1, 2, decoder.hidden_dim))
    joined = ops.convert_to_numpy(decoder.join(image, np.array([[5, 7]], "int32")))
    table = ops.convert_to_numpy(decoder.token_embedding.embeddings)
    np.testing.assert_array_equal(joined[0, :2], 1)
    np.testing.assert_allclose(joined[0, 2:], table[[5, 7]] * 24**0.5, rtol=1e-6)


def test_vocabulary_is_tied_and_capped(backbone: PaliGemma2Backbone) -> None:
    decoder = backbone.text_decoder
    hidden = np.random.default_rng(0).normal(size=(2, 24)).astype("float32") * 9
    table = ops.convert_to_numpy(decoder.token_embedding.embeddings)
    logits = ops.convert_to_numpy(backbone.project_to_vocabulary(hidden))
    np.testing.assert_allclose(
        logits, 30 * np.tanh(hidden @ table.T / 30), atol=1e-4, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("prefill_length", "has_post_norms"), [(11, True), (14, False)]
)
def test_cached_steps_equal_the_whole_sequence_at_once(
    prefill_length: int, has_post_norms: bool
) -> None:
    """Prefill, then one token at a time: windows, caps and masks included."""
    backbone = random_backbone(has_post_norms=has_post_norms)
    decoder = backbone.text_decoder
    inputs = random_inputs([14, 14], num_responses=7)
    image = backbone.encode_images(inputs["images"][:, None])
    x = decoder.join(image, inputs["token_ids"])
    layout = token_layout(
        *prepend_image(image, inputs["padding_mask"], inputs["response_mask"])
    )
    length = x.shape[1]
    expected = ops.convert_to_numpy(apply(backbone, inputs))
    cache = decoder.empty_cache(2, length)
    run_layers = as_one_program(decoder.run_layers, decoder)
    starts = [0, *range(prefill_length, length)]
    for start, end in zip(starts, [*starts[1:], length]):
        query = TokenLayout(*(ids[:, start:end] for ids in layout))
        masks = attention_masks(query, layout, decoder.sliding_window)
        hidden, cache = run_layers(
            x[:, start:end], query.positions, masks, cache, start
        )
        np.testing.assert_allclose(
            ops.convert_to_numpy(hidden), expected[:, start:end], atol=2e-4
        )


def test_layers_give_no_cache_for_none(backbone: PaliGemma2Backbone) -> None:
    decoder = backbone.text_decoder
    layout = token_layout(np.ones((1, 3), bool), np.zeros((1, 3), bool))
    masks = attention_masks(layout, layout, None)
    x = ops.ones((1, 3, decoder.hidden_dim))
    assert decoder.run_layers(x, layout.positions, masks)[1] is None


def test_kept_tokens_are_those_of_all(backbone: PaliGemma2Backbone) -> None:
    decoder = backbone.text_decoder
    rng = np.random.default_rng(0)
    x = ops.convert_to_tensor(rng.normal(size=(2, 7, decoder.hidden_dim)), "float32")
    layout = token_layout(np.ones((2, 7), bool), np.arange(7)[None] > [[2], [4]])
    masks = attention_masks(layout, layout, decoder.sliding_window)
    indices = np.array([[6, 1], [0, 3]], "int32")
    run_layers = as_one_program(decoder.run_layers, decoder)
    given = x, layout.positions, masks, decoder.empty_cache(2, 7), 0
    everything, cache = run_layers(*given)
    kept, kept_cache = run_layers(*given, indices)
    expected = np.take_along_axis(
        ops.convert_to_numpy(everything), indices[:, :, None], axis=1
    )
    np.testing.assert_allclose(ops.convert_to_numpy(kept), expected, atol=1e-4)
    for ours, theirs in zip(kept_cache[-1], cache[-1], strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs), atol=1e-5
        )


def test_rotations_stay_float32_in_lower_precision(monkeypatch) -> None:
    backbone = PaliGemma2Backbone(VISION_ENCODER, TEXT_DECODER, dtype="bfloat16")
    seen = []

    def watched(x, rotation):
        seen.append((ops.dtype(x), ops.dtype(rotation.cos), ops.dtype(rotation.sin)))
        return apply_rotary(x, rotation)

    monkeypatch.setattr(attention, "apply_rotary", watched)
    apply(backbone, random_inputs([4]))
    assert set(seen) == {("bfloat16", "float32", "float32")}


def test_config_rebuilds_the_layer() -> None:
    decoder = Gemma2Decoder(**TEXT_DECODER, final_logit_soft_cap=None, dtype="bfloat16")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(decoder)
    )
    assert isinstance(again, Gemma2Decoder)
    assert again.get_config() == decoder.get_config()
    assert again.final_logit_soft_cap is None
    assert again.compute_dtype == "bfloat16"


@pytest.mark.one_backend("numbers, before anything is made of them")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_key_value_heads": 3}, "num_query_heads as a multiple of"),
        ({"head_dim": 7}, "head_dim as an even number"),
        ({"num_layers": 2**31}, "num_layers as a whole number from 1 to 1024"),
        ({"sliding_window": 0}, "sliding_window as"),
        ({"sliding_window": "4"}, "sliding_window as"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar as"),
        ({"query_pre_attn_scalar": float("nan")}, "query_pre_attn_scalar as"),
        ({"attention_logit_soft_cap": 0.0}, "attention_logit_soft_cap as"),
        ({"final_logit_soft_cap": -30.0}, "final_logit_soft_cap as"),
        ({"final_logit_soft_cap": float("inf")}, "final_logit_soft_cap as"),
        ({"has_post_norms": 1}, "has_post_norms as"),
    ],
    ids=str,
)
def test_numbers_that_no_decoder_has(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"Expected {message}"):
        Gemma2Decoder(**{**TEXT_DECODER, **wrong})
