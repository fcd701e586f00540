"""What a tuned model is, by every way of saving it: kept, or known not to be.

The table of docs/training.md. Codec and calibration are in test_doors.py, and that
training goes on in adapters/test_continued.py.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_pg2 import BeamSearch, PaliGemma2CausalLM, Sampler
from tests.support.one_program import apply
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_inputs

INPUTS = random_inputs([5, 3], num_responses=1)
SAMPLER = Sampler(temperature=0.5, top_k=4, seed=3)
PARTS = ["text_decoder"]


@pytest.fixture(scope="module")
def model() -> PaliGemma2CausalLM:
    """With one adapter in the network, another that waits, and all that can be set."""
    model = random_task(sequence_length=40, num_layers=1)
    model.adapters.base_name = "somebody's model"
    model.enable_lora(3, ["mlp/*"], alpha=7, name="waiting")
    fill(model, 1)
    model.enable_lora(2, alpha=5, parts=PARTS, name="ours", dropout=0.25)
    fill(model, 2)
    model.backbone.checkpoint_activations = PARTS
    model.compile(optimizer=keras.optimizers.Adam(0.5), sampler=SAMPLER)
    # States of the optimizer without the time of a training step.
    model.optimizer.build(model.trainable_variables)
    for i, variable in enumerate(model.optimizer.variables):
        variable.assign(np.full(variable.shape, i))
    return model


def fill(model: PaliGemma2CausalLM, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for variable in sorted(model.trainable_variables, key=lambda each: each.path):
        variable.assign(rng.normal(0, 0.2, variable.shape))


def alike() -> PaliGemma2CausalLM:
    """What files of weights are loaded into: made by the same calls as the model."""
    model = random_task(num_layers=1)
    model.enable_lora(2, alpha=5, parts=PARTS)
    model.compile(optimizer=keras.optimizers.Adam(0.5))
    return model


def logits(model: PaliGemma2CausalLM) -> np.ndarray:
    return ops.convert_to_numpy(apply(model, INPUTS))


def factors(model: PaliGemma2CausalLM, name: str) -> dict[str, Any]:
    if name not in model.adapters.names:
        return {}
    model.adapters._store_active()
    return dict(model.adapters._known[name].layers)


def describe(model: PaliGemma2CausalLM) -> list[Any]:
    known = model.adapters._known
    return [(n, a.settings(), a.targets, a.dropout) for n, a in known.items()]


def optimizer(model: PaliGemma2CausalLM) -> list[np.ndarray]:
    return [ops.convert_to_numpy(each) for each in model.optimizer.variables]


def dropout(model: PaliGemma2CausalLM) -> dict[str, float]:
    layers = model.adapters._layers()
    return {p: x.lora_dropout.rate for p, x in layers.items() if x.lora_dropout}


STATE: dict[str, Callable[[PaliGemma2CausalLM], Any]] = {
    "logits": logits,
    "sequence length": lambda model: model.preprocessor.sequence_length,
    "factors in the network": lambda model: factors(
        model, model.adapters.active or "ours"
    ),
    "what trains": lambda model: {v.path for v in model.trainable_variables},
    "states of the optimizer": optimizer,
    "adapters by name": describe,
    "the adapter in the network": lambda model: model.adapters.active,
    "factors of the waiting one": lambda model: factors(model, "waiting"),
    "dropout of LoRA": dropout,
    "name of the base": lambda model: model.adapters.base_name,
    "checkpoint_activations": lambda model: model.backbone.checkpoint_activations,
    "sampler": lambda model: model.sampler,
}
EVERYTHING = set(STATE)
IN_PRESETS = {"logits", "sequence length"}
IN_WEIGHTS = {
    "logits",
    "factors in the network",
    "what trains",
    "states of the optimizer",
}


def by_archive(model: PaliGemma2CausalLM, folder: Path) -> PaliGemma2CausalLM:
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def by_weights(model: PaliGemma2CausalLM, folder: Path) -> PaliGemma2CausalLM:
    model.save_weights(folder / "model.weights.h5")
    loaded = alike()
    loaded.load_weights(folder / "model.weights.h5")
    return loaded


def by_preset(model: PaliGemma2CausalLM, folder: Path) -> PaliGemma2CausalLM:
    model.save_to_preset(folder / "preset")
    return PaliGemma2CausalLM.from_preset(folder / "preset")


def by_keras_hub(model: PaliGemma2CausalLM, folder: Path) -> PaliGemma2CausalLM:
    model.save_to_preset(folder / "preset")
    return keras_hub.models.CausalLM.from_preset(str(folder / "preset"))


def by_clone(model: PaliGemma2CausalLM, _: Path) -> PaliGemma2CausalLM:
    clone = PaliGemma2CausalLM.from_config(model.get_config())
    clone.set_weights(model.get_weights())
    return clone


WAYS: dict[str, tuple[Callable[..., PaliGemma2CausalLM], set[str]]] = {
    "archive": (by_archive, EVERYTHING),
    "deepcopy": (lambda model, _: copy.deepcopy(model), EVERYTHING),
    "pickle": (lambda model, _: pickle.loads(pickle.dumps(model)), EVERYTHING),
    "weights": (by_weights, IN_WEIGHTS),
    "preset": (by_preset, IN_PRESETS),
    "preset by KerasHub": (by_keras_hub, IN_PRESETS),
    "configuration and weights": (
        by_clone,
        {
            *("logits", "sequence length", "factors in the network", "what trains"),
            *("dropout of LoRA", "checkpoint_activations", "sampler"),
        },
    ),
}


def is_same(found: Any, expected: Any, name: str) -> bool:
    if name == "logits":
        # LoRA that is merged is rounded otherwise.
        return np.allclose(found, expected, rtol=1e-4, atol=1e-4)
    shape, wanted = (
        keras.tree.map_structure(lambda _: 0, x) for x in (found, expected)
    )
    leaves = zip(keras.tree.flatten(found), keras.tree.flatten(expected))
    return shape == wanted and all(np.array_equal(a, b) for a, b in leaves)


ON_EVERY_BACKEND = ("archive", "weights")


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=pytest.mark.every_backend)
        if way in ON_EVERY_BACKEND
        else way
        for way in WAYS
    ],
)
def test_what_is_kept(way, model, tmp_path):
    save_and_load, kept = WAYS[way]
    loaded = save_and_load(model, tmp_path)
    assert type(loaded) is PaliGemma2CausalLM
    found = {
        name for name, read in STATE.items() if is_same(read(loaded), read(model), name)
    }
    assert found == kept


@pytest.mark.one_backend("which adapter is whose")
def test_a_loaded_model_changes_its_adapters(model, tmp_path):
    """The waiting one is put in its network, and both come back to what they were."""
    loaded = by_archive(model, tmp_path)
    before = logits(loaded)
    loaded.adapters.activate("waiting")
    waiting = logits(loaded)
    assert np.abs(waiting - before).max() > 0.1
    loaded.adapters.activate("none")
    base = random_task(num_layers=1)
    np.testing.assert_array_equal(logits(loaded), logits(base))
    loaded.adapters.activate("ours")
    np.testing.assert_array_equal(logits(loaded), before)
    again = copy.deepcopy(model)
    again.adapters.activate("waiting")
    np.testing.assert_array_equal(logits(again), waiting)


# The states are those of the adapter, and a loaded optimizer is built for no more.
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_a_merged_adapter_is_unmerged_after_loading(model, tmp_path):
    merged = copy.deepcopy(model)
    expected = logits(merged)
    merged.adapters.merge()
    loaded = by_archive(merged, tmp_path)
    assert loaded.adapters.active == "ours"
    np.testing.assert_array_equal(logits(loaded), logits(merged))
    loaded.adapters.unmerge()
    np.testing.assert_array_equal(logits(loaded), expected)
    assert loaded.adapters.names == ["waiting", "ours"]


@pytest.mark.parametrize("parts", [("projection",), ("projection", "text_decoder")])
def test_frozen_parts_stay_frozen(parts, tmp_path):
    model = random_task(num_layers=1)
    model.backbone.trainable_parts = parts
    model.backbone.find("vision_projection/bias").trainable = False
    trained = {variable.path for variable in model.trainable_variables}
    for loaded in (copy.deepcopy(model), model.from_config(model.get_config())):
        assert {variable.path for variable in loaded.trainable_variables} == trained
        assert loaded.backbone.trainable_parts == parts
        # They can be set free again.
        loaded.backbone.trainable = True
        assert len(loaded.trainable_variables) == len(loaded.weights)
    model.backbone.save_to_preset(tmp_path)
    preset = keras_hub.models.Backbone.from_preset(str(tmp_path))
    assert len(preset.trainable_variables) == len(preset.weights)


def test_a_clone_of_the_graph_has_lora(model):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    inputs = {**INPUTS, "images": INPUTS["images"][:, None]}
    found = ops.convert_to_numpy(clone(inputs))
    np.testing.assert_allclose(found, logits(model), atol=1e-5)
    trained = [variable.path for variable in clone.trainable_variables]
    assert trained == [variable.path for variable in model.trainable_variables]


def test_a_network_alone_has_lora(model, tmp_path):
    backbone = model.backbone
    backbone.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras")
    expected = ops.convert_to_numpy(apply(backbone, INPUTS))
    np.testing.assert_array_equal(ops.convert_to_numpy(apply(loaded, INPUTS)), expected)
    # As a preset it is merged, and readable with the count of its weights.
    backbone.save_to_preset(tmp_path / "preset")
    preset = type(backbone).from_preset(tmp_path / "preset")
    np.testing.assert_allclose(
        ops.convert_to_numpy(preset(INPUTS)), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    "sampler", [BeamSearch(num_beams=3, no_repeat_ngram_size=2), SAMPLER, Sampler()]
)
def test_samplers(sampler):
    saved = keras.saving.serialize_keras_object(sampler)
    assert keras.saving.deserialize_keras_object(saved) == sampler


def test_another_backend_chooses_how_it_compiles():
    model = random_task(num_layers=1)
    assert model.get_compile_config()["jit_compile"] == "auto"
    model.compile(jit_compile=False)
    assert model.get_compile_config()["jit_compile"] is False
    model.compile_from_config(model.get_compile_config())
    assert model.get_compile_config()["jit_compile"] is False


@pytest.mark.every_backend
def test_an_optimizer_of_pytorch_is_one_of_this_backend():
    """Keras writes PyTorch's own module, which works nowhere else."""
    model = random_task(num_layers=1)
    saved = keras.saving.serialize_keras_object(keras.optimizers.Adam(0.25))
    module = "keras.src.backend.torch.optimizers.torch_adam"
    saved = {**saved, "module": module, "registered_name": "Adam"}
    model.compile_from_config({**model.get_compile_config(), "optimizer": saved})
    assert type(model.optimizer) is type(keras.optimizers.Adam())
    assert float(model.optimizer.learning_rate) == 0.25


def test_what_keras_forgets_is_refused(tmp_path):
    model = random_task(num_layers=1)
    config = keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)
    model.quantize("int8", config, parts=["projection"])
    with pytest.raises(ValueError, match=r"another activation_quantizer in vision_pro"):
        model.save(tmp_path / "model.keras")
