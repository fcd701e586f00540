"""A whole small task, preprocessor included, with random weights."""

from __future__ import annotations

from keras_pg2 import (
    PaliGemma2Backbone,
    PaliGemma2CausalLM,
    PaliGemma2CausalLMPreprocessor,
    PaliGemma2ImageConverter,
    PaliGemma2Tokenizer,
)
from tests.support.tiny_networks import TEXT_DECODER, VISION_ENCODER, randomize
from tests.support.tiny_vocabulary import gemma_like_proto


def random_task(
    seed: int = 0,
    sequence_length: int = 64,
    vision_layers: int = 1,
    num_layers: int = 1,
    **text_decoder: object,
) -> PaliGemma2CausalLM:
    """A task that answers nonsense: 28 px images, a vocabulary of 1552 pieces.

    One block of each is enough for a task, and quicker to compile; tests of networks
    and of what walks over their blocks have two.
    """
    tokenizer = PaliGemma2Tokenizer(gemma_like_proto())
    vocabulary_size = tokenizer.vocabulary_size()
    backbone = PaliGemma2Backbone(
        {**VISION_ENCODER, "num_layers": vision_layers},
        {
            **TEXT_DECODER,
            "vocabulary_size": vocabulary_size,
            "num_layers": num_layers,
            **text_decoder,
        },
    )
    randomize(backbone, seed)
    converter = PaliGemma2ImageConverter(image_size=VISION_ENCODER["image_size"])
    preprocessor = PaliGemma2CausalLMPreprocessor(
        tokenizer, converter, sequence_length=sequence_length
    )
    return PaliGemma2CausalLM(backbone, preprocessor)
