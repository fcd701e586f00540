"""What the rooms' tests share."""

from __future__ import annotations

import gc

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


@pytest.fixture(scope="module", autouse=True)
def compiled_programs():
    """JAX's compiled programs go with the module that made them.

    Each takes several memory mappings of the process, of which Linux allows 65,530; XLA
    ends with a segmentation fault where there are no more. What is there before the
    module is hidden from the garbage collector meanwhile: Keras calls it for every
    kernel that it quantises, and TensorFlow and transformers are many objects.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.collect()
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()
