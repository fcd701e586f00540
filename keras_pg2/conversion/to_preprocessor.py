"""From what a checkpoint says about pictures and text to a preprocessor."""

from __future__ import annotations

from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer


def build_preprocessor(checkpoint: Checkpoint) -> PaliGemma2CausalLMPreprocessor:
    """Build the preprocessor of an opened checkpoint that has a tokenizer.

    Raises:
        ValueError: if the tokenizer is not one of PaliGemma, or has more pieces than
            the network has embeddings.
    """
    preprocessing, architecture = checkpoint.preprocessing, checkpoint.architecture
    tokenizer = PaliGemma2Tokenizer(proto=preprocessing.tokenizer)
    num_rows = architecture["text_decoder"]["vocabulary_size"]
    if tokenizer.vocabulary_size() > num_rows:
        raise ValueError(
            f"Expected a tokenizer of at most {num_rows} pieces, the vocabulary of the "
            f"network. Received: {tokenizer.vocabulary_size()} pieces with "
            f"{checkpoint.path}, so the tokenizer belongs to another model."
        )
    converter = PaliGemma2ImageConverter(
        image_size=architecture["vision_encoder"]["image_size"],
        interpolation=preprocessing.interpolation,
        antialias=preprocessing.antialias,
    )
    return PaliGemma2CausalLMPreprocessor(
        tokenizer, converter, sequence_length=preprocessing.sequence_length
    )
