"""What is told where a network computes NaN or infinity, however it is asked."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import BeamSearch, Choices, PaliGemma2CausalLM, predict
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.mask_network import MaskNetwork, MaskNetworkConfig
from keras_pg2.generation import beams, decoding
from keras_pg2.modeling import PaliGemma2Backbone
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_inputs

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
INPUTS = {"images": PICTURE, "prompts": "ocr"}
SAME_LOOP = pytest.mark.one_backend("the same loop with other settings")


def spoil(backbone: PaliGemma2Backbone, ending: str, value: float, part: slice) -> None:
    """Puts a value into some rows of a weight."""
    [weight] = [v for v in backbone.variables if v.path.endswith(ending)]
    array = np.array(ops.convert_to_numpy(weight))
    array[part] = value
    weight.assign(array)


@pytest.fixture(scope="module")
def diverged() -> PaliGemma2CausalLM:
    """A task of which a training has left one weight as NaN."""
    model = random_task()
    spoil(model.backbone, "text_decoder/final_norm/scale", np.nan, slice(1))
    model.mask_codec = MaskCodec(MaskNetwork(MaskNetworkConfig(8, 16, (4, 4, 8, 8))))
    return model


WAYS = {
    "generate": lambda m: m.generate(INPUTS, max_new_tokens=3),
    "batch": lambda m: m.generate({**INPUTS, "prompts": ["a", "b"]}, max_new_tokens=3),
    "scores": lambda m: m.generate(INPUTS, max_new_tokens=3, return_scores=True),
    "constraint": lambda m: m.generate(INPUTS, constraint=Choices(["a", "b"])),
    "stop strings": lambda m: m.generate(INPUTS, max_new_tokens=3, stop_strings="x"),
    "stream": lambda m: list(m.stream(INPUTS, max_new_tokens=3)),
    "choose": lambda m: m.choose(INPUTS, ["a", "b"]),
    "detect": lambda m: m.detect(PICTURE, ["cat"], max_detections=1),
    "segment": lambda m: m.segment(PICTURE, ["cat"], max_detections=1),
    "predict": lambda m: predict(m, [INPUTS], max_new_tokens=3),
}
ON_EVERY_BACKEND = {"generate", "stream", "choose"}


@pytest.mark.parametrize(
    "way",
    [pytest.param(w, marks=[SAME_LOOP] * (w not in ON_EVERY_BACKEND)) for w in WAYS],
)
def test_weights_that_are_none(diverged, way):
    with pytest.raises(FloatingPointError, match=r"1 of \d+ weights.*final_norm/scale"):
        WAYS[way](diverged)


@pytest.mark.one_backend("the same sum of logits")
@pytest.mark.parametrize(
    "sampler",
    [
        BeamSearch(2),
        pytest.param("random", marks=SAME_LOOP),
        pytest.param("top_k", marks=SAME_LOOP),
    ],
)
def test_every_sampler_tells(diverged, sampler):
    diverged.compile(sampler=sampler)
    with pytest.raises(FloatingPointError, match="another checkpoint"):
        diverged.generate(INPUTS, max_new_tokens=3)
    diverged.compile()


@SAME_LOOP
@pytest.mark.two_backends("the same sum of logits")
def test_one_weight_of_one_token():
    """Its logit alone is NaN, which the choice of the largest may pass over."""
    model = random_task()
    spoil(model.backbone, "token_embedding/embeddings", np.nan, slice(-1, None))
    with pytest.raises(FloatingPointError, match="token_embedding"):
        model.generate(INPUTS, max_new_tokens=3)


@pytest.mark.two_backends("the same sum of logits")
def test_float16_overflows():
    """60,000 is a number of float16; sums of such numbers are not."""
    keras.config.set_dtype_policy("float16")
    model = random_task()
    spoil(model.backbone, "vision_projection/kernel", 6e4, slice(None))
    with pytest.raises(FloatingPointError, match="computes in float16, which ends at"):
        model.generate(INPUTS, max_new_tokens=3)


def test_pixels_that_are_none():
    model = PaliGemma2CausalLM(random_task().backbone)
    inputs = random_inputs([3, 5, 4])
    inputs["images"][1, 0, 0, 0] = np.nan
    expected = r"1 of 3 rows \(1\)\. So are the pictures: repair them"
    with pytest.raises(FloatingPointError, match=expected):
        model.generate(inputs, max_new_tokens=3, stop_token_ids=None)


@SAME_LOOP
@pytest.mark.parametrize("search", [False, True])
def test_what_comes_behind_the_end_of_a_row_does_not_count(monkeypatch, search):
    """The second row ends before the steps that give NaN, the first does not."""
    task = random_task()
    task.preprocessor = None
    room = beams if search else decoding
    step = room.decode_step

    def decode_step(*arguments):
        logits, cache = step(*arguments)
        return logits * np.nan, cache

    monkeypatch.setattr(room, "decode_step", decode_step)
    task.compile(sampler=BeamSearch(2) if search else "greedy")
    # At most eight tokens of prompt and answer: one new token in the second row.
    inputs = random_inputs([6, 7])
    options = {"max_length": 8, "stop_token_ids": None}
    with pytest.raises(FloatingPointError, match=r"1 of 2 rows \(0\)\. .*in float32"):
        task.generate(inputs, **options)
    last = {name: value[1:] for name, value in inputs.items()}
    assert task.generate(last, **options)["token_ids"].shape == (1, 8)
