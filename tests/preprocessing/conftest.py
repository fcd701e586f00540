"""Tokenizers and converters on a throw-away vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from tests.support.tiny_vocabulary import gemma_like_proto


@pytest.fixture(scope="session")
def make_proto() -> Callable[..., bytes]:
    return gemma_like_proto


@pytest.fixture(scope="session")
def proto() -> bytes:
    return gemma_like_proto()


@pytest.fixture(scope="session")
def tokenizer(proto: bytes) -> PaliGemma2Tokenizer:
    return PaliGemma2Tokenizer(proto)


@pytest.fixture
def image_converter() -> PaliGemma2ImageConverter:
    return PaliGemma2ImageConverter(image_size=(28, 28))
