"""Presets that are whole, changed on the way, or broken."""

from __future__ import annotations

import inspect
import json

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2Backbone, PaliGemma2CausalLM
from keras_pg2.catalogue import download
from keras_pg2.conversion.from_model import write_model
from keras_pg2.tasks.loading import loading
from tests.support.one_program import apply
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_inputs
from tests.support.tiny_vocabulary import gemma_like_proto


@pytest.fixture
def preset(tmp_path):
    directory = tmp_path / "preset"
    random_task().save_to_preset(str(directory))
    return directory


@pytest.mark.every_backend
def test_numbers_and_dtype_can_be_overridden(preset):
    task = PaliGemma2CausalLM.from_preset(
        str(preset), dtype="bfloat16", final_logit_soft_cap=None, sliding_window=None
    )
    decoder = task.backbone.text_decoder
    assert decoder.final_logit_soft_cap is None
    assert decoder.sliding_window is None
    assert decoder.attention_logit_soft_cap == 50.0
    assert {v.dtype for v in task.backbone.weights} == {"bfloat16"}


def test_an_override_changes_what_it_should(preset):
    # The window spares the prefix, so most tokens are a response.
    inputs = random_inputs([9], num_responses=7)
    outputs = [
        ops.convert_to_numpy(
            PaliGemma2CausalLM.from_preset(str(preset), **change)(inputs)
        )
        for change in ({}, {"final_logit_soft_cap": None}, {"sliding_window": None})
    ]
    capped = 30 * np.tanh(outputs[1] / 30)
    np.testing.assert_allclose(capped, outputs[0], atol=1e-4)
    assert abs(outputs[2] - outputs[0]).max() > 1e-3


def test_without_weights(preset):
    (preset / "model.weights.h5").unlink()
    task = PaliGemma2CausalLM.from_preset(str(preset), load_weights=False)
    assert isinstance(task, PaliGemma2CausalLM)


def test_unknown_number(preset):
    with pytest.raises(TypeError, match="final_soft_cap"):
        PaliGemma2CausalLM.from_preset(str(preset), final_soft_cap=None)


@pytest.mark.parametrize(
    ("misspelt", "near"),
    [
        ("sequence_lenght", "sequence_length"),
        ("dtpye", "dtype"),
        ("load_weight", "load_weights"),
        ("final_logits_softcap", "final_logit_soft_cap"),
    ],
)
def test_misspelt_option(misspelt, near):
    # Before anything is downloaded.
    with pytest.raises(TypeError, match=f"{misspelt}. Did you mean {near}?"):
        PaliGemma2CausalLM.from_preset("pali_gemma2_pt_3b_224", **{misspelt: 8})


def test_a_preprocessor_of_ones_own(preset):
    own = random_task(sequence_length=40).preprocessor
    task = PaliGemma2CausalLM.from_preset(str(preset), preprocessor=own)
    assert task.preprocessor is own
    alone = PaliGemma2CausalLM.from_preset(str(preset), preprocessor=None)
    assert alone.preprocessor is None
    with pytest.raises(ValueError, match="Set them there"):
        PaliGemma2CausalLM.from_preset(
            str(preset), preprocessor=own, sequence_length=32
        )


def test_name_and_trainable(preset):
    task = PaliGemma2CausalLM.from_preset(str(preset), name="mine", trainable=False)
    assert task.name == "mine"
    assert not task.trainable_weights
    assert PaliGemma2CausalLM.from_preset(str(preset)).trainable_weights


DOORS = {"ours": PaliGemma2CausalLM, "KerasHub's": keras_hub.models.CausalLM}


@pytest.mark.parametrize("door", DOORS)
def test_the_options_of_keras_hub(preset, door):
    task = DOORS[door].from_preset(
        str(preset),
        False,
        preprocessor=None,
        compile=False,
        trainable=False,
        name="mine",
        dtype="bfloat16",
    )
    assert type(task) is PaliGemma2CausalLM
    assert (task.preprocessor, task.name, task.compiled) == (None, "mine", False)
    assert task.trainable_weights == []
    assert {weight.dtype for weight in task.weights} == {"bfloat16"}


def test_a_model_that_is_not_compiled_generates(preset):
    options = {"max_new_tokens": 3, "stop_token_ids": None}
    texts = [
        PaliGemma2CausalLM.from_preset(preset, compile=choice).generate(
            "ocr", **options
        )
        for choice in (False, True)
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("door", DOORS)
def test_a_preset_that_was_saved_without_a_preprocessor(tmp_path, door):
    bare = PaliGemma2CausalLM(random_task().backbone)
    bare.save_to_preset(tmp_path)
    loaded = DOORS[door].from_preset(str(tmp_path))
    assert loaded.preprocessor is None
    inputs = random_inputs([5])
    np.testing.assert_allclose(
        ops.convert_to_numpy(apply(loaded, inputs)),
        ops.convert_to_numpy(bare(inputs)),
        atol=1e-5,
    )


def test_a_backbone_alone_is_a_preset(tmp_path):
    random_task().backbone.save_to_preset(str(tmp_path))
    assert PaliGemma2CausalLM.from_preset(tmp_path).preprocessor is None


def test_backbone_and_preprocessor_in_any_order():
    task = random_task()
    parts = task.preprocessor, task.backbone
    swapped = PaliGemma2CausalLM(*parts, compile=False)
    assert (swapped.preprocessor, swapped.backbone) == parts
    assert PaliGemma2CausalLM(None, task.backbone).preprocessor is None
    with pytest.raises(TypeError, match="Expected a PaliGemma2Backbone"):
        PaliGemma2CausalLM(task.preprocessor)
    with pytest.raises(TypeError, match="vision_encoder as a dict"):
        PaliGemma2Backbone(1000, 28)


def test_the_preprocessors_arguments_are_in_keras_hubs_order():
    own = random_task().preprocessor
    theirs = inspect.signature(keras_hub.models.PaliGemmaCausalLMPreprocessor)
    names = [n for n, p in theirs.parameters.items() if p.kind is not p.VAR_KEYWORD]
    values = [own.tokenizer, own.image_converter, 9, False, False]
    made = type(own)(*values)
    assert [getattr(made, name) for name in names] == values


@pytest.mark.parametrize(("to", "name"), [("npz", "m.npz"), ("sbs", "m.sbs")])
def test_a_file_without_its_weights(tmp_path, to, name):
    task = random_task()
    path = write_model(task, tmp_path / name, to)
    more = PaliGemma2CausalLM.from_preset(
        path, load_weights=False, text_decoder={"num_layers": 3}
    )
    assert len(more.backbone.text_decoder.blocks) == 3
    assert more.backbone.count_params() > task.backbone.count_params()
    assert more.preprocessor is not None


def test_missing_weight_file(preset):
    (preset / "model.weights.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.weights\.h5"):
        PaliGemma2CausalLM.from_preset(str(preset))


def test_truncated_weight_file(preset):
    path = preset / "model.weights.h5"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(OSError, match="truncated or damaged"):
        PaliGemma2CausalLM.from_preset(str(preset))


def test_missing_shard(tmp_path):
    directory = tmp_path / "preset"
    random_task().save_to_preset(str(directory), max_shard_size=0.0002)
    shards = sorted(directory.glob("model_*.weights.h5"))
    assert len(shards) > 1
    PaliGemma2CausalLM.from_preset(str(directory))
    shards[-1].unlink()
    with pytest.raises(FileNotFoundError, match=shards[-1].name):
        PaliGemma2CausalLM.from_preset(str(directory))


def test_directory_of_another_kind(tmp_path, preset):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        PaliGemma2CausalLM.from_preset(str(tmp_path))
    config = preset / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "registered_name": "keras_hub>Bert"}))
    with pytest.raises(ValueError, match="keras_hub>Bert"):
        PaliGemma2CausalLM.from_preset(str(preset))
    config.write_text("{")
    with pytest.raises(ValueError, match="JSON"):
        PaliGemma2CausalLM.from_preset(str(preset))


@pytest.mark.parametrize(
    "name",
    [
        "preprocessor.json",
        "tokenizer.json",
        "image_converter.json",
        "assets/tokenizer/vocabulary.spm",
    ],
)
def test_missing_preprocessor_file(preset, name):
    (preset / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        PaliGemma2CausalLM.from_preset(str(preset))


def test_numbers_that_do_not_fit_the_weights(preset):
    more = {"text_decoder": {"num_layers": 2}}
    with pytest.raises(ValueError, match="load_weights=False"):
        PaliGemma2CausalLM.from_preset(str(preset), **more)
    with pytest.raises(ValueError, match="load_weights=False"):
        PaliGemma2CausalLM.from_preset(str(preset), image_size=56)
    task = PaliGemma2CausalLM.from_preset(
        str(preset), load_weights=False, image_size=56, sequence_length=32
    )
    assert task.backbone.num_image_tokens == 16
    assert tuple(task.preprocessor.image_converter.image_size) == (56, 56)
    assert task.preprocessor.sequence_length == 32


def test_damaged_weight_file(preset):
    path = preset / "model.weights.h5"
    content = bytearray(path.read_bytes())
    content[2000:40000] = b"\0" * 38000
    path.write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        PaliGemma2CausalLM.from_preset(str(preset))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"load_weights": "no"}, "Expected load_weights as True or False"),
        ({"trainable": 0}, "Expected trainable as True or False"),
        ({"compile": None}, "Expected compile as True or False"),
        ({"tokenizer": object()}, "Expected tokenizer as the path of"),
    ],
)
def test_arguments_of_other_types(preset, wrong, message):
    with pytest.raises(TypeError, match=message):
        PaliGemma2CausalLM.from_preset(str(preset), **wrong)


def test_a_given_tokenizer_is_taken(preset, tmp_path):
    given = tmp_path / "given.model"
    # With a field that SentencePiece does not have, and passes over.
    given.write_bytes(gemma_like_proto() + b"\xf8\x3f\x01")
    options = {"load_weights": False, "sequence_length": 9}
    task = PaliGemma2CausalLM.from_preset(str(preset), tokenizer=given, **options)
    own = PaliGemma2CausalLM.from_preset(str(preset), **options)
    assert task.preprocessor.tokenizer.proto == given.read_bytes()
    assert own.preprocessor.tokenizer.proto == gemma_like_proto()
    assert task.preprocessor.preset_files == own.preprocessor.preset_files
    assert task.preprocessor.sequence_length == 9


def test_unknown_name_has_near_matches():
    with pytest.raises(ValueError, match="pali_gemma2_mix_3b_224"):
        PaliGemma2CausalLM.from_preset("pali_gema2_mix_3b_224")


@pytest.mark.parametrize(("kind", "length"), [("pt", 128), ("mix", 256)])
def test_text_length_of_a_downloaded_model(kind, length, tmp_path, monkeypatch):
    cached = tmp_path / "snapshots" / "0123abc"
    random_task().export_to_transformers(cached)
    monkeypatch.setattr(download, "download", lambda uri, with_weights: cached)
    name = f"google/paligemma2-3b-{kind}-224"
    task = PaliGemma2CausalLM.from_preset(name)
    assert task.preprocessor.sequence_length == length
    task = PaliGemma2CausalLM.from_preset(name, sequence_length=40)
    assert task.preprocessor.sequence_length == 40


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("accelerated", "expected"), [(False, "float32"), (True, "bfloat16")]
)
def test_dtype_auto(preset, monkeypatch, accelerated, expected):
    monkeypatch.setattr(loading, "has_accelerator", lambda: accelerated)
    task = PaliGemma2CausalLM.from_preset(str(preset))
    assert task.backbone.compute_dtype == expected
    assert task.backbone.variables[0].dtype == expected


def test_a_policy_that_was_set_in_keras_is_kept(preset, monkeypatch):
    monkeypatch.setattr(loading, "has_accelerator", lambda: True)
    keras.config.set_dtype_policy("float16")
    task = PaliGemma2CausalLM.from_preset(str(preset))
    assert task.backbone.compute_dtype == "float16"
    keras.config.set_dtype_policy("float32")
    task = PaliGemma2CausalLM.from_preset(str(preset), dtype=None)
    assert task.backbone.compute_dtype == "float32"
