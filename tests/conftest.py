"""What the rooms' tests share."""

from __future__ import annotations

import gc
import os

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


@pytest.fixture(scope="session", autouse=True)
def compiled_on_disk(tmp_path_factory):
    """What JAX compiles is kept for this run alone, also by processes it starts.

    JAX writes an entry in one go, reads what a killed process left of one with a
    warning, and never writes it anew.
    """
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    folder = str(tmp_path_factory.mktemp("jax"))
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "JAX_COMPILATION_CACHE_DIR", folder)
        yield


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
