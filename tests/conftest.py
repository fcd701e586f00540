"""What the rooms' tests share."""

from __future__ import annotations

import keras
import pytest

from keras_pg2.modeling import PaliGemma2Backbone
from tests.tiny_networks import random_backbone


@pytest.fixture(scope="session")
def backbone() -> PaliGemma2Backbone:
    return random_backbone()


@pytest.fixture(autouse=True)
def float32_policy():
    """No test leaves another dtype policy behind."""
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")
