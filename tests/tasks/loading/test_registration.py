"""`from_preset` and `presets` of every class, ours and KerasHub's."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_pg2 import (
    PaliGemma2Backbone,
    PaliGemma2CausalLM,
    PaliGemma2CausalLMPreprocessor,
    PaliGemma2ImageConverter,
    PaliGemma2Tokenizer,
)
from keras_pg2.catalogue import download
from keras_pg2.catalogue.names import PRESETS, bundled_presets
from keras_pg2.conversion.from_model import write_model
from tests.support.keras_hub_copy import copy_to_keras_hub
from tests.support.tiny_models import random_task

CLASSES = (
    PaliGemma2Backbone,
    PaliGemma2CausalLM,
    PaliGemma2CausalLMPreprocessor,
    PaliGemma2ImageConverter,
    PaliGemma2Tokenizer,
)
FORMATS = ("preset", "hf", "npz", "sbs", "keras_hub")
NAMES = (*bundled_presets(), "pali_gemma2_nano")
LENGTH = 40


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task(sequence_length=LENGTH, query_pre_attn_scalar=8)


@pytest.fixture(scope="module")
def files(
    task: PaliGemma2CausalLM, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The same model in every format."""
    root = tmp_path_factory.mktemp("formats")
    ours = root / "preset"
    task.save_to_preset(ours)
    theirs = root / "keras_hub"
    copy_to_keras_hub(task.backbone).save_to_preset(str(theirs))
    shutil.copytree(ours / "assets", theirs / "assets")
    return {
        "preset": ours,
        "hf": write_model(task, root / "hf", "hf"),
        "npz": write_model(task, root / "model.npz", "npz"),
        "sbs": write_model(task, root / "model.sbs", "sbs"),
        "keras_hub": theirs,
    }


@pytest.mark.every_backend
@pytest.mark.parametrize("form", [name for name in FORMATS if name != "sbs"])
def test_a_backbone_of_every_format(
    form: str, task: PaliGemma2CausalLM, files: dict[str, Path]
) -> None:
    backbone = PaliGemma2Backbone.from_preset(files[form], name="mine", trainable=False)
    assert (backbone.name, backbone.trainable_weights) == ("mine", [])
    expected = {v.path: v for v in task.backbone.variables}
    assert {v.path for v in backbone.variables} == set(expected)
    for variable in backbone.variables:
        np.testing.assert_array_equal(
            ops.convert_to_numpy(variable),
            ops.convert_to_numpy(expected[variable.path]),
            variable.path,
        )


def test_options_of_a_backbone(files: dict[str, Path]) -> None:
    backbone = PaliGemma2Backbone.from_preset(
        str(files["preset"]), dtype="bf16", final_logit_soft_cap=None
    )
    assert {v.dtype for v in backbone.variables} == {"bfloat16"}
    assert backbone.architecture["text_decoder"]["final_logit_soft_cap"] is None
    more = PaliGemma2Backbone.from_preset(
        files["sbs"], load_weights=False, text_decoder={"num_layers": 3}
    )
    assert len(more.text_decoder.blocks) == 3
    with pytest.raises(TypeError, match=r"received sequence_length\. .*load_weights"):
        PaliGemma2Backbone.from_preset(files["preset"], sequence_length=8)
    with pytest.raises(TypeError, match=r"dtpye\. Did you mean dtype"):
        PaliGemma2Backbone.from_preset(files["preset"], dtpye="bfloat16")


@pytest.mark.parametrize("form", FORMATS)
def test_a_preprocessor_of_every_format(form: str, files: dict[str, Path]) -> None:
    tokenizer = PaliGemma2Tokenizer.from_preset(files[form])
    expected = random_task().preprocessor.tokenizer("caption en <loc0007>")
    np.testing.assert_array_equal(tokenizer("caption en <loc0007>"), expected)
    converter = PaliGemma2ImageConverter.from_preset(files[form], antialias=False)
    assert (converter.image_size, converter.antialias) == ((28, 28), False)
    found = PaliGemma2CausalLMPreprocessor.from_preset(
        str(files[form]), sequence_length=17, add_end_token=False
    )
    assert (found.sequence_length, found.add_end_token) == (17, False)
    assert found.image_converter.image_size == (28, 28)
    inputs, labels, _ = found({"prompts": ["caption en"], "responses": ["a cat"]})
    assert inputs["token_ids"].shape == labels.shape == (1, 17)
    own = PaliGemma2CausalLMPreprocessor.from_preset(files[form])
    assert own.sequence_length == (LENGTH if form == "preset" else 256)


def test_a_tokenizer_of_ones_own(files: dict[str, Path], tmp_path: Path) -> None:
    alone = shutil.copy(files["npz"], tmp_path / "alone.npz")
    with pytest.raises(ValueError, match=r"alone\.npz, which has none"):
        PaliGemma2CausalLMPreprocessor.from_preset(alone)
    vocabulary = files["preset"] / "assets" / "tokenizer" / "vocabulary.spm"
    own = PaliGemma2Tokenizer(vocabulary)
    for given in (own, vocabulary):
        found = PaliGemma2CausalLMPreprocessor.from_preset(alone, tokenizer=given)
        assert (found.tokenizer is own) == (given is own)
        assert found.tokenizer.vocabulary_size() == own.vocabulary_size()
    assert PaliGemma2Tokenizer.from_preset(alone, proto=vocabulary).start_token_id == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_name_for_our_classes(name: str) -> None:
    assert PaliGemma2Tokenizer.from_preset(name).vocabulary_size() == 1652
    assert PaliGemma2ImageConverter.from_preset(name).image_size == (84, 84)
    found = PaliGemma2CausalLMPreprocessor.from_preset(name, sequence_length=9)
    assert found.sequence_length == 9
    backbone = PaliGemma2Backbone.from_preset(name, dtype="bfloat16")
    assert backbone.count_params() == 2_512_704


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_name_for_classes_of_keras_hub(name: str) -> None:
    model = keras_hub.models.CausalLM.from_preset(name)
    assert isinstance(model, PaliGemma2CausalLM)
    backbone = keras_hub.models.Backbone.from_preset(name)
    assert isinstance(backbone, PaliGemma2Backbone)
    for a, b in zip(model.backbone.variables, backbone.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
    converter = keras_hub.layers.ImageConverter.from_preset(name)
    assert isinstance(converter, PaliGemma2ImageConverter)
    tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(name)
    assert isinstance(tokenizer, PaliGemma2Tokenizer)
    preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(
        name, sequence_length=9
    )
    assert isinstance(preprocessor, PaliGemma2CausalLMPreprocessor)
    assert preprocessor.sequence_length == 9


@pytest.mark.parametrize("cls", CLASSES)
def test_presets_of_a_class(cls: type) -> None:
    listed = cls.presets
    assert set(listed) == {*NAMES, *PRESETS}
    keys = {"description", "params", "path"}
    for name, record in listed.items():
        assert record["metadata"].keys() >= keys, name
        assert record["metadata"]["description"], name
    mix = listed["pali_gemma2_mix_28b_448"]
    assert mix["metadata"]["params"] == 27_651_076_848
    assert mix["kaggle_handle"].endswith("/pali_gemma2_28b_mix_448/3")


def test_names_of_keras_hub_stay_its_own() -> None:
    theirs = keras_hub.models.PaliGemmaBackbone.presets
    assert len(theirs) == 22
    assert not set(theirs) & set(NAMES)
    every = keras_hub.models.CausalLM.presets
    assert {name: every[name] for name in theirs} == theirs
    assert set(NAMES) <= set(every)
    # Ours alone, and not bundled: KerasHub could not load its weights.
    assert "pali_gemma2_ft_docci_3b_448" not in every


@pytest.mark.parametrize(
    "cls", [keras_hub.models.PaliGemmaCausalLM, keras_hub.models.PaliGemmaBackbone]
)
def test_classes_of_keras_hubs_paligemma_name_ours(cls: type) -> None:
    with pytest.raises(ValueError, match="PaliGemma2Backbone"):
        cls.from_preset("pali_gemma2_nano")


@pytest.mark.parametrize("cls", CLASSES)
def test_unknown_name_has_near_matches(cls: type) -> None:
    with pytest.raises(ValueError, match="Did you mean 'pali_gemma2_mix_3b_224'"):
        cls.from_preset("pali_gemma2_mix_3b_242")


def test_a_released_name_downloads_no_weights_for_text(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def note(uri: str, with_weights: bool) -> Path:
        asked.append((uri, with_weights))
        return files["hf"]

    monkeypatch.setattr(download, "download", note)
    converter = PaliGemma2ImageConverter.from_preset("google/paligemma2-10b-pt-448")
    assert converter.image_size == (448, 448)
    handle = "kaggle://keras/paligemma2/keras/pali_gemma2_mix_3b_224"
    assert PaliGemma2ImageConverter.from_preset(handle).image_size == (224, 224)
    assert asked == []
    PaliGemma2Tokenizer.from_preset(handle)
    found = PaliGemma2CausalLMPreprocessor.from_preset("pali_gemma2_mix_3b_224")
    assert found.sequence_length == 256
    uri = "hf://someone/model"
    PaliGemma2Backbone.from_preset(uri, load_weights=False)
    hub = "hf://google/paligemma2-3b-mix-224"
    assert asked == [(handle, False), (hub, False), (uri, False)]


def test_a_class_of_ones_own(files: dict[str, Path]) -> None:
    @keras.saving.register_keras_serializable(package="tests_of_loading")
    class Own(PaliGemma2Backbone):
        pass

    try:
        for form in ("preset", "hf"):
            assert type(Own.from_preset(files[form])) is Own
        again = PaliGemma2Backbone.from_preset(files["preset"])
        assert type(again) is PaliGemma2Backbone
    finally:
        del keras.saving.get_custom_objects()["tests_of_loading>Own"]
