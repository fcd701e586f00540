"""For an environment where TensorFlow is not installed (`make test` makes one)."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np


def test_tensorflow_is_not_installed():
    assert importlib.util.find_spec("tensorflow") is None


def test_import_and_bundled_preset():
    import keras_pg2

    model = keras_pg2.PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
    image = np.full((84, 84, 3), 255, np.uint8)
    text = model.generate({"images": image, "prompts": "caption en"}, max_new_tokens=8)
    assert text.startswith("caption en\n")
    assert "tensorflow" not in sys.modules
