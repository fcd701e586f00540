"""Every released network, built whole at its full size, without memory for weights."""

from __future__ import annotations

import keras
import pytest

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.catalogue.names import PRESETS
from keras_pg2.modeling import PaliGemma2Backbone

# Only PyTorch has a device on which variables take no memory.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="needs PyTorch's meta device"
)


@pytest.mark.parametrize("name", PRESETS)
def test_built_network_has_the_published_number_of_weights(name: str) -> None:
    preset = PRESETS[name]
    with keras.device("meta"):
        backbone = PaliGemma2Backbone(**preset.architecture, dtype="bfloat16")
    shapes = {v.path: tuple(v.shape) for v in backbone.variables}
    assert backbone.count_params() == preset.num_parameters
    assert shapes == variable_shapes(**preset.architecture)
