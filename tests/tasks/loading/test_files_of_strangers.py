"""Presets whose configurations were changed to do harm, or are damaged."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import keras_hub
import pytest

from keras_pg2 import (
    PaliGemma2Backbone,
    PaliGemma2CausalLM,
    PaliGemma2CausalLMPreprocessor,
    PaliGemma2ImageConverter,
    PaliGemma2Tokenizer,
)
from keras_pg2.conversion import open_checkpoint
from tests.support.damages import VALUES, all_cases, damaged, read_all
from tests.support.tiny_models import random_task

LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {
        "name": "lambda",
        "function": {
            "class_name": "__lambda__",
            "config": {"code": "", "defaults": None, "closure": None, "value": "x"},
        },
    },
    "registered_name": None,
}
SYSTEM = {
    "module": "os",
    "class_name": "system",
    "config": {"command": "touch harmed"},
    "registered_name": "system",
}
VOCABULARY = {
    "module": "keras_hub.tokenizers",
    "class_name": "BytePairTokenizer",
    "config": {"vocabulary": "/etc/passwd", "merges": "/etc/passwd"},
    "registered_name": "keras_hub>BytePairTokenizer",
}
HARM = {"Lambda": LAMBDA, "system": SYSTEM, "vocabulary": VOCABULARY}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "preset"
    random_task().save_to_preset(str(directory))
    return directory


@pytest.fixture
def preset(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(whole, tmp_path / "preset")


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a network is built")

    monkeypatch.setattr(PaliGemma2Backbone, "__init__", refuse)


def change(preset: Path, name: str, *path: str, value: Any) -> None:
    file = preset / name
    content = json.loads(file.read_text())
    file.write_text(json.dumps(damaged(content, path, value) if path else value))


PLACES = [
    ("preprocessor.json",),
    ("preprocessor.json", "config", "tokenizer"),
    ("preprocessor.json", "config", "image_converter"),
    ("tokenizer.json",),
    ("image_converter.json",),
]


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("place", PLACES, ids="/".join)
@pytest.mark.usefixtures("no_networks")
def test_other_classes(preset: Path, place: tuple[str, ...], harm: str) -> None:
    name, *path = place
    change(preset, name, *path, value=HARM[harm])
    for cls in (PaliGemma2CausalLM, PaliGemma2CausalLMPreprocessor):
        with pytest.raises(ValueError, match=f"Expected .*{name}"):
            cls.from_preset(str(preset))
    assert not list(preset.parent.glob("harmed"))


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize(
    "place",
    [
        ("config.json",),
        ("task.json",),
        ("task.json", "config", "backbone"),
        ("task.json", "config", "preprocessor"),
        ("task.json", "config", "preprocessor", "config", "tokenizer"),
    ],
    ids="/".join,
)
def test_other_classes_through_keras_hub(
    preset: Path, place: tuple[str, ...], harm: str
) -> None:
    """Keras' safe mode decides there; there is no model, or one of our classes."""
    name, *path = place
    change(preset, name, *path, value=HARM[harm])
    with suppress(ValueError, TypeError):
        model = keras_hub.models.CausalLM.from_preset(str(preset))
        assert type(model) is PaliGemma2CausalLM
        assert type(model.backbone) is PaliGemma2Backbone
        assert type(model.preprocessor) is PaliGemma2CausalLMPreprocessor
        assert type(model.preprocessor.tokenizer) is PaliGemma2Tokenizer
    assert not list(preset.parent.glob("harmed"))


@pytest.mark.parametrize(
    "load", [PaliGemma2Tokenizer.from_preset, keras_hub.models.CausalLM.from_preset]
)
def test_a_vocabulary_elsewhere_is_not_read(preset: Path, load: Callable) -> None:
    vocabulary = str(preset / "assets" / "tokenizer" / "vocabulary.spm")
    change(preset, "tokenizer.json", "config", "proto", value=vocabulary)
    within = ("config", "preprocessor", "config", "tokenizer", "config", "proto")
    change(preset, "task.json", *within, value=vocabulary)
    with pytest.raises((ValueError, TypeError), match=r"proto|Proto"):
        load(str(preset))


def test_a_class_of_a_user_is_loaded(preset: Path) -> None:
    @keras.saving.register_keras_serializable(package="tests")
    class OwnConverter(PaliGemma2ImageConverter):
        pass

    for path in (("image_converter.json",), PLACES[2]):
        name, *inside = path
        field = (*inside, "registered_name")
        change(preset, name, *field, value="tests>OwnConverter")
    loaded = PaliGemma2CausalLMPreprocessor.from_preset(str(preset))
    assert type(loaded.image_converter) is OwnConverter


@pytest.mark.usefixtures("no_networks")
def test_damaged_configurations_of_the_preprocessor(preset: Path) -> None:
    fine = {
        ("registered_name", "missing"): False,
        ("image_converter", "missing"): True,
        ("image_converter", "null"): True,
        ("proto", "missing"): True,
        ("proto", "null"): True,
        ("sequence_length", "null"): True,  # Of the tokenizer, which never cuts.
        ("sequence_length", "missing"): True,
    }
    optional = ("name", "trainable", "dtype", "antialias", "interpolation", "separator")
    optional += ("scale", "offset", "add_bos", "add_eos", "add_start_token")
    optional += ("add_end_token", "class_name", "module", "config_file")
    readers = {
        "preprocessor.json": PaliGemma2CausalLMPreprocessor,
        "tokenizer.json": PaliGemma2Tokenizer,
        "image_converter.json": PaliGemma2ImageConverter,
    }
    fields = {
        "preprocessor.json": [
            ("registered_name",),
            ("config",),
            ("config", "name"),
            ("config", "trainable"),
            ("config", "dtype"),
            ("config", "sequence_length"),
            ("config", "add_start_token"),
            ("config", "add_end_token"),
            ("config", "separator"),
            ("config", "tokenizer"),
            ("config", "image_converter"),
        ],
        "tokenizer.json": [
            ("registered_name",),
            ("config",),
            ("config", "dtype"),
            ("config", "proto"),
            ("config", "sequence_length"),
            ("config", "add_bos"),
            ("config", "add_eos"),
        ],
        "image_converter.json": [
            ("registered_name",),
            ("config",),
            ("config", "image_size"),
            ("config", "scale"),
            ("config", "interpolation"),
            ("config", "antialias"),
        ],
    }
    num_refused = 0
    for name, cls in readers.items():
        file = preset / name
        content = json.loads(file.read_text())

        def judge(case: Any, found: Any) -> str | None:
            field, damage, _ = case
            value = VALUES[damage]
            is_fine = fine.get((field[-1], damage)) or (
                field[-1] in optional
                and (damage == "missing" or _is_like(field[-1], value))
            )
            return None if is_fine else f"read as {found}"

        wrong, count = read_all(
            all_cases(content, fields[name]),
            file,
            lambda cls=cls: cls.from_preset(str(preset)),
            judge,
        )
        assert not wrong, "\n".join(wrong)
        num_refused += count
        file.write_text(json.dumps(content))
    assert num_refused > 200


def _is_like(field: str, value: object) -> bool:
    """Whether a damage puts a value of the field's own kind there."""
    if field in ("name", "separator", "scale", "dtype") and value is None:
        return field != "separator"
    if field in ("name", "separator"):
        return isinstance(value, str)
    is_flag = field.startswith(("add_", "trainable", "antialias"))
    return is_flag and isinstance(value, bool)


@pytest.mark.usefixtures("no_networks")
def test_damaged_configurations_of_a_model(preset: Path) -> None:
    """All that is read before a network is built, with its weights beside."""
    changes = [
        ("config.json", ("config", "dtype", "config", "name"), 7),
        ("config.json", ("config", "dtype", "config"), None),
        ("config.json", ("config", "dtype"), [1]),
        ("config.json", ("config", "text_decoder", "num_layers"), 2**31),
        ("config.json", ("config", "vision_encoder", "num_layers"), 2**31),
        ("metadata.json", ("parameter_count",), "7"),
        ("metadata.json", ("parameter_count",), -1),
        ("metadata.json", ("parameter_count",), 2**64),
        ("task.json", ("config",), 7),
        ("task.json", ("config", "preprocessor"), 7),
    ]
    for name, field, value in changes:
        file = preset / name
        before = file.read_text()
        change(preset, name, *field, value=value)
        with pytest.raises(ValueError, match=name) as raised:
            PaliGemma2CausalLM.from_preset(str(preset))
        assert field[-1] in str(raised.value)
        file.write_text(before)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    task = random_task()
    with warnings.catch_warnings():
        # Keras 3.15 says so of inputs and norms.
        warnings.filterwarnings("ignore", "Layer .* does not have a `quantize`")
        task.backbone.quantize("int8")
    directory = tmp_path_factory.mktemp("quantized") / "preset"
    task.save_to_preset(str(directory))
    return directory


def test_policies_of_quantized_weights(quantized: Path, tmp_path: Path) -> None:
    preset = shutil.copytree(quantized, tmp_path / "preset")
    file = preset / "config.json"
    content = json.loads(file.read_text())
    where = ("config", "dtype", "config", "policy_map")
    inside: Any = content
    for name in where:
        inside = inside[name]
    first = next(iter(inside))
    changes = {
        "a class of another kind": ((*where, first), LAMBDA),
        "a class that there is not": ((*where, first, "class_name"), "Policy"),
        "a mode that there is not": ((*where, first, "config", "mode"), "int9"),
        "a list": ((*where,), [1]),
        "no policy": ((*where, first), None),
        "a class of Python": ((*where, "__class__"), inside[first]),
        "a path of no layer": ((*where, "text_decoder/block_9"), inside[first]),
        "a function": ((*where, "call"), inside[first]),
        "floats": (("config", "dtype", "config", "default_policy"), "float9"),
        "far more weights": (("config", "text_decoder", "num_layers"), 900),
    }
    for field, value in changes.values():
        file.write_text(json.dumps(damaged(content, field, value)))
        with pytest.raises(ValueError, match="Expected"):
            PaliGemma2Backbone.from_preset(preset, dtype=None)
    assert "dtype_policy" not in vars(PaliGemma2Backbone)
    file.write_text(json.dumps(content))
    assert isinstance(PaliGemma2Backbone.from_preset(preset), PaliGemma2Backbone)


@pytest.mark.parametrize("length", [2**16 + 1, 10**9])
def test_a_text_of_any_length_is_not_padded_for(preset: Path, length: int) -> None:
    file = preset / "preprocessor.json"
    content = json.loads(file.read_text())
    content["config"]["sequence_length"] = length
    file.write_text(json.dumps(content))
    for load in (PaliGemma2CausalLM.from_preset, open_checkpoint):
        with pytest.raises(ValueError, match=r"sequence_length in .*preprocessor"):
            load(str(preset))


def test_numbers_that_a_caller_passes() -> None:
    for override in (
        {"sliding_window": 0},
        {"final_logit_soft_cap": float("nan")},
        {"text_decoder": {"num_layers": 2**31}},
        {"sequence_length": 0},
    ):
        # Before a name is looked up.
        with pytest.raises(ValueError, match=r"Expected .* as a"):
            PaliGemma2CausalLM.from_preset("hf://nobody/nothing", **override)
