"""What a model has besides its weights, through every way of saving and loading."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest

from keras_pg2 import DecisionCalibration, PaliGemma2CausalLM, convert, write_model
from keras_pg2.codecs.detection_scores import ScoreCalibration
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.mask_network import MaskNetwork, MaskNetworkConfig
from tests.support.tiny_models import random_task

CALIBRATION = ScoreCalibration(0.5, (0.3, 0.2, 0.1), "a test")
DECISIONS = DecisionCalibration(boolean=0.5, yes_bias=-1.0, fitted_on="a test")
CODES = np.random.default_rng(0).integers(0, 128, (2, 16))
Door = Callable[[PaliGemma2CausalLM, Path], PaliGemma2CausalLM]


@pytest.fixture(scope="module")
def model() -> PaliGemma2CausalLM:
    model = random_task()
    model.mask_codec = MaskCodec(MaskNetwork(MaskNetworkConfig(8, 16, (4, 4, 8, 8))))
    model.score_calibration = CALIBRATION
    model.decision_calibration = DECISIONS
    model.adapters.base_name = "preset"
    return model


@pytest.fixture(scope="module")
def preset(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("presets") / "preset"
    model.save_to_preset(path)
    return path


def through_an_archive(model: PaliGemma2CausalLM, folder: Path) -> PaliGemma2CausalLM:
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras", compile=False)


def through_files(_: PaliGemma2CausalLM, preset: Path) -> PaliGemma2CausalLM:
    converted = convert(preset, preset.parent / "files" / "preset", "preset")
    return PaliGemma2CausalLM.from_preset(converted)


def through_memory(_: PaliGemma2CausalLM, preset: Path) -> PaliGemma2CausalLM:
    loaded = PaliGemma2CausalLM.from_preset(preset)
    written = write_model(loaded, preset.parent / "memory" / "preset", "preset")
    return PaliGemma2CausalLM.from_preset(written)


DOORS: dict[str, Door] = {
    "preset": lambda _, preset: PaliGemma2CausalLM.from_preset(preset),
    "preset by KerasHub": lambda _, preset: keras_hub.models.CausalLM.from_preset(
        str(preset)
    ),
    "archive": lambda model, preset: through_an_archive(model, preset.parent),
    "convert": through_files,
    "write_model": through_memory,
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "deepcopy of what KerasHub loaded": lambda _, preset: copy.deepcopy(
        keras_hub.models.CausalLM.from_preset(str(preset))
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_codec_calibration_and_base_come_through(model, preset, door):
    assert_same(DOORS[door](model, preset), model)


def assert_same(loaded: PaliGemma2CausalLM, model: PaliGemma2CausalLM) -> None:
    assert loaded is not model
    assert loaded.score_calibration == CALIBRATION
    assert loaded.decision_calibration == DECISIONS
    assert loaded.adapters.base_name == "preset"
    np.testing.assert_allclose(
        loaded.mask_codec.decode_crops(CODES),
        model.mask_codec.decode_crops(CODES),
        atol=1e-5,
    )


def test_a_model_without_a_preprocessor_keeps_what_was_set(model):
    bare = PaliGemma2CausalLM(model.backbone)
    assert bare.mask_codec is None
    bare.mask_codec, bare.score_calibration = model.mask_codec, CALIBRATION
    bare.decision_calibration = DECISIONS
    bare.adapters.base_name = "preset"
    assert_same(copy.deepcopy(bare), model)


def test_a_new_preprocessor_changes_nothing(model, preset):
    loaded = keras_hub.models.CausalLM.from_preset(str(preset))
    loaded.preprocessor = None
    assert_same(loaded, model)
    loaded.preprocessor = random_task().preprocessor
    assert_same(loaded, model)


def test_parts_of_a_preset_make_a_whole_model(model, preset, tmp_path):
    preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(str(preset))
    preprocessor.save_to_preset(tmp_path)
    model.backbone.save_to_preset(str(tmp_path))
    preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(str(tmp_path))
    joined = PaliGemma2CausalLM(model.backbone, preprocessor)
    assert joined.score_calibration == CALIBRATION
    assert joined.mask_codec is not None
    # The weights may be of another preset than the preprocessor.
    assert joined.adapters.base_name == ""


def test_what_was_taken_away_stays_away(preset, tmp_path):
    loaded = keras_hub.models.CausalLM.from_preset(str(preset))
    loaded.score_calibration = loaded.decision_calibration = None
    loaded.save_to_preset(tmp_path)
    loaded.save_to_preset(tmp_path)
    for again in (
        copy.deepcopy(loaded),
        PaliGemma2CausalLM.from_preset(tmp_path),
        keras_hub.models.CausalLM.from_preset(str(tmp_path)),
    ):
        assert again.score_calibration is None
        assert again.decision_calibration is None
        assert again.mask_codec is not None


@pytest.mark.parametrize(
    "name", ["mask_codec.npz", "detection_scores.json", "decisions.json"]
)
def test_a_damaged_file_is_named(model, name, tmp_path):
    model.save_to_preset(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])

    def load_all():
        loaded = keras_hub.models.CausalLM.from_preset(str(tmp_path))
        return loaded.score_calibration, loaded.mask_codec

    with pytest.raises(ValueError, match=f"{tmp_path}/{name}"):
        load_all()
