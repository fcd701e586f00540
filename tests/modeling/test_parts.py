"""Names of parts: one vocabulary, the earlier words accepted."""

from __future__ import annotations

import pytest

from keras_pg2.modeling.parts import WITH_BLOCKS, check_parts
from tests.support.tiny_networks import random_backbone


def test_earlier_words_mean_the_same() -> None:
    earlier = ["vision", "vision_projection", "decoder"]
    names = ("vision_encoder", "projection", "text_decoder")
    assert check_parts(earlier) == check_parts(names) == names
    assert check_parts(["decoder", "text_decoder"]) == ("text_decoder",)
    backbone = random_backbone()
    backbone.trainable_parts = ("decoder", "vision")
    assert backbone.trainable_parts == ("vision_encoder", "text_decoder")
    backbone.checkpoint_activations = ("decoder",)
    assert backbone.checkpoint_activations == ("text_decoder",)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("vision", "list of names among vision_encoder, projection, text_decoder"),
        (["text_decodre"], "Did you mean 'text_decoder'"),
        (["visoin"], "Did you mean 'vision_encoder'"),
        (["projection", 1], "Received: .*projection"),
        ([], "Expected parts as a list"),
        (None, "Received: None"),
    ],
)
def test_others_are_refused(parts: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_parts(parts)


def test_some_take_fewer_names_or_none() -> None:
    assert check_parts((), "checkpoint_activations", may_be_empty=True) == ()
    with pytest.raises(ValueError, match=r"checkpoint_activations .* or \(\) for none"):
        check_parts(
            ["projection"], "checkpoint_activations", WITH_BLOCKS, may_be_empty=True
        )
