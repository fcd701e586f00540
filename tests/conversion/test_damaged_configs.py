"""Configurations in which one field is wrong, of every format.

Each is refused by an error that names the file and the field, or read as the format's
own library reads it. No network is built.
"""

from __future__ import annotations

import copy
import inspect
import json
import shutil
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_hub.models import PaliGemmaBackbone
from transformers import PaliGemmaConfig

from keras_pg2.catalogue.released import PRESETS
from keras_pg2.conversion.big_vision.format import ARCHITECTURE_KEY
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.gemma_cpp.config import config_words, read_config
from tests.support.damages import (
    VALUES,
    Case,
    all_cases,
    damaged,
    fields_of,
    is_named,
    read_all,
)
from tests.support.tiny_networks import TEXT_DECODER, VISION_ENCODER

ARCHITECTURE = {
    "vision_encoder": VISION_ENCODER,
    "text_decoder": {
        **TEXT_DECODER,
        "attention_logit_soft_cap": 50.0,
        "final_logit_soft_cap": 30.0,
        "has_post_norms": True,
    },
}
# Damages after which an argument is another one that a network may have.
FINE = {
    ("query_pre_attn_scalar", "fraction"),
    *((cap, "null") for cap in ("attention_logit_soft_cap", "final_logit_soft_cap")),
    *(
        (cap, "fraction")
        for cap in ("attention_logit_soft_cap", "final_logit_soft_cap")
    ),
    ("sliding_window", "null"),
    ("has_post_norms", "true"),
}

HUGGINGFACE = {
    "model_type": "paligemma",
    "image_token_index": 1552,
    "projection_dim": 24,
    "quantization_config": None,
    "text_config": {
        "model_type": "gemma2",
        "vocab_size": 1616,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "use_bidirectional_attention": True,
        "query_pre_attn_scalar": 6,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_theta": 10_000.0,
        "rope_scaling": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "image_size": 28,
        "patch_size": 14,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_size": 16,
        "intermediate_size": 20,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
        "num_channels": 3,
    },
}


def transformers_architecture(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Our arguments by transformers' reading; the rows of its embedding as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = PaliGemmaConfig.from_dict(copy.deepcopy(content))
    text, vision = config.text_config, config.vision_config
    is_second = text.model_type == "gemma2"
    assert text.rope_parameters["rope_type"] == "default"
    assert text.rope_parameters["rope_theta"] == 10_000
    return {
        "vision_encoder": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "num_layers": vision.num_hidden_layers,
            "num_heads": vision.num_attention_heads,
            "hidden_dim": vision.hidden_size,
            "intermediate_dim": vision.intermediate_size,
        },
        "text_decoder": {
            "vocabulary_size": min(text.vocab_size, config.image_token_index)
            if text.vocab_size - config.image_token_index <= 64
            else text.vocab_size,
            "num_layers": text.num_hidden_layers,
            "num_query_heads": text.num_attention_heads,
            "num_key_value_heads": text.num_key_value_heads,
            "head_dim": text.head_dim,
            "hidden_dim": text.hidden_size,
            "intermediate_dim": text.intermediate_size,
            "query_pre_attn_scalar": text.query_pre_attn_scalar
            if is_second
            else text.head_dim,
            "attention_logit_soft_cap": text.attn_logit_softcapping
            if is_second
            else None,
            # Its model reads the field whatever the decoder is.
            "final_logit_soft_cap": getattr(text, "final_logit_softcapping", None),
            "sliding_window": text.sliding_window if is_second else None,
            "has_post_norms": is_second,
        },
    }


def judge_by_transformers(case: Case, found: Any) -> str | None:
    try:
        theirs = transformers_architecture(case[2])
    except Exception as error:
        return f"read, but transformers refuses it: {error}"
    return None if found == theirs else f"{found} is {theirs} for transformers"


def test_huggingface(tmp_path: Path) -> None:
    parts = ("text_config", "vision_config")
    fields = [
        *fields_of(HUGGINGFACE),
        *(field for part in parts for field in fields_of(HUGGINGFACE, part)),
        ("text_config", "rope_parameters", "rope_type"),
        ("text_config", "rope_parameters", "rope_theta"),
        ("text_config", "quantization_config"),
        ("image_token_id",),
    ]
    # Without it there is no telling what the directory is.
    fields.remove(("model_type",))
    content = copy.deepcopy(HUGGINGFACE)
    content["text_config"]["quantization_config"] = None
    content["image_token_id"] = 1552
    wrong, num_refused = read_all(
        all_cases(content, fields),
        tmp_path / "config.json",
        lambda: open_checkpoint(tmp_path, with_weights=False).architecture,
        judge_by_transformers,
    )
    assert not wrong, "\n".join(wrong)
    assert num_refused > 400


@pytest.mark.parametrize("model_type", ["gemma", "gemma2"])
def test_huggingface_fields_that_are_missing_together(
    model_type: str, tmp_path: Path
) -> None:
    """Defaults of transformers, and names of a field that it has had."""
    text = {"model_type": model_type}
    contents = [
        {},
        {"text_config": None, "vision_config": None},
        {"text_config": text, "vision_config": {"hidden_size": 96}},
        {"text_config": {**text, "rope_scaling": {"type": "default"}}},
        {"text_config": {**text, "rope_scaling": {}, "rope_parameters": None}},
        {"text_config": {**text, "rope_parameters": {"factor": 2.0}}},
        {"text_config": {**text, "final_logit_softcapping": 20.0}},
        {"text_config": {**text, "layer_types": None, "sliding_window": 16}},
        {"text_config": {**text, "num_hidden_layers": 3}, "image_token_id": 255_999},
        {"text_config": {**text, "use_bidirectional_attention": None}},
        {"quantization_config": {}, "image_token_index": 5, "image_token_id": 7},
    ]
    for content in contents:
        content = {"model_type": "paligemma", **content}
        (tmp_path / "config.json").write_text(json.dumps(content))
        found = open_checkpoint(tmp_path, with_weights=False).architecture
        case = ((), "together", content)
        assert judge_by_transformers(case, found) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "rope_type='linear'",
        ),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type='linear'"),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 1e6}}},
            "full_attention",
        ),
        ({"rope_parameters": {"rope_theta": 1e6}}, "rope_theta=1000000"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"use_bidirectional_attention": False}, "use_bidirectional_attention=False"),
        ({"hidden_size": 22}, "hidden_size"),
        ({"quantization_config": {"quant_method": "awq"}}, "'awq'"),
    ],
)
def test_huggingface_networks_that_are_others(
    text: dict[str, Any], named: str, tmp_path: Path
) -> None:
    content = copy.deepcopy(HUGGINGFACE)
    content["text_config"] |= text
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=named):
        open_checkpoint(tmp_path, with_weights=False)


def judge_argument(case: Case, found: Any) -> str | None:
    """An argument that may be what it now is, and is it; all others as before."""
    field, name, _ = case
    part, argument = field[-2:]
    if (argument, name) not in FINE:
        return f"read as {found[part]}"
    expected = damaged(ARCHITECTURE, (part, argument), VALUES[name])
    return None if found == expected else f"read as {found}"


def test_preset(tmp_path: Path) -> None:
    released = PRESETS.root / "pali_gemma2_pt_3b_224"
    directory = shutil.copytree(released, tmp_path / "preset")
    file = directory / "config.json"
    content = json.loads(file.read_text())
    content["config"] |= ARCHITECTURE
    fields = [
        ("config",),
        *(("config", part) for part in ARCHITECTURE),
        *(f for part in ARCHITECTURE for f in fields_of(content, "config", part)),
    ]

    def read() -> Any:
        return open_checkpoint(directory, with_weights=False).architecture

    wrong, num_refused = read_all(
        all_cases(content, fields), file, read, judge_argument
    )
    assert not wrong, "\n".join(wrong)
    assert num_refused > 250
    file.write_text(json.dumps(content))
    for name, field in (
        ("preprocessor.json", "sequence_length"),
        ("image_converter.json", "interpolation"),
        ("image_converter.json", "antialias"),
    ):
        other = directory / name
        whole = json.loads(other.read_text())
        fine = {"antialias": ["true"], "sequence_length": []}.get(field, [])
        wrong, _ = read_all(
            all_cases(whole, [("config",), ("config", field)]),
            other,
            read,
            lambda case, found, fine=fine: None if case[1] in fine else "read",
        )
        assert not wrong, "\n".join(wrong)
        other.write_text(json.dumps(whole))


def test_preset_with_other_arguments(tmp_path: Path) -> None:
    """Names that are not there, with similar ones, and numbers that do not divide."""
    released = PRESETS.root / "pali_gemma2_pt_3b_224"
    file = shutil.copytree(released, tmp_path / "preset") / "config.json"
    content = json.loads(file.read_text())
    for field, value, message in (
        (("text_decoder", "sliding_windows"), 4, "'sliding_window'"),
        (("vision_encoder", "depth"), 4, "no 'config.vision_encoder.depth'"),
        (("text_decoder", "num_key_value_heads"), 3, "num_key_value_heads (3)"),
        (("vision_encoder", "patch_size"), 15, "patch_size (15)"),
        (("text_decoder", "head_dim"), 7, "an even number"),
        (("text_decoder", "dropout"), 1.0, "dropout"),
        (("text_decoder", "hidden_dim"), 2**20, "hidden_dim"),
    ):
        file.write_text(json.dumps(damaged(content, ("config", *field), value)))
        with pytest.raises(ValueError, match="Expected") as raised:
            open_checkpoint(file.parent, with_weights=False)
        assert message in str(raised.value)
        assert str(file) in str(raised.value)


KERAS_HUB = {
    "vocabulary_size": 60,
    "image_size": 28,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 24,
    "intermediate_dim": 80,
    "head_dim": 8,
    "vit_patch_size": 14,
    "vit_num_heads": 2,
    "vit_hidden_dim": 16,
    "vit_num_layers": 2,
    "vit_intermediate_dim": 20,
    "vit_pooling": None,
    "vit_classifier_activation": None,
    "query_head_dim_normalize": True,
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
    "attention_logit_soft_cap": 50.0,
    "final_logit_soft_cap": 30.0,
    "use_sliding_window_attention": True,
    "sliding_window_size": 4,
    "layer_norm_epsilon": 1e-6,
    "dropout": 0,
}


def test_keras_hub(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    content = {
        "module": "keras_hub.src.models.pali_gemma.pali_gemma_backbone",
        "class_name": "PaliGemmaBackbone",
        "config": {"name": "pali_gemma_backbone", "trainable": True, **KERAS_HUB},
        "registered_name": "keras_hub>PaliGemmaBackbone",
    }
    parameters = inspect.signature(PaliGemmaBackbone).parameters

    def read() -> Any:
        return open_checkpoint(tmp_path, with_weights=False).architecture

    def judge(case: Case, found: Any) -> str | None:
        *_, field = case[0]
        value = VALUES[case[1]]
        if case[1] == "missing":
            value = parameters[field].default
            assert value is not inspect.Parameter.empty, field
        elif (field, case[1]) not in fine:
            return f"read as {found}"
        file.write_text(json.dumps(damaged(content, case[0], value)))
        return None if found == read() else f"read as {found}"

    fine = {
        *FINE,
        ("dropout", "zero"),
        ("use_sliding_window_attention", "true"),
        ("query_head_dim_normalize", "true"),
        ("use_post_ffw_norm", "true"),
        ("use_post_attention_norm", "true"),
        ("vit_pooling", "null"),
        ("vit_classifier_activation", "null"),
        # As KerasHub, for which all of these are false.
        ("vit_intermediate_dim", "null"),
        ("vit_intermediate_dim", "zero"),
    }
    fields = [("config",), *(("config", name) for name in KERAS_HUB)]
    wrong, num_refused = read_all(all_cases(content, fields), file, read, judge)
    assert not wrong, "\n".join(wrong)
    assert num_refused > 250
    file.write_text(json.dumps(damaged(content, ("config", "num_layer"), 3)))
    with pytest.raises(ValueError, match="called 'num_layers'"):
        read()


def test_note_of_a_big_vision_file(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    fields = [
        *((part,) for part in ARCHITECTURE),
        *(field for part in ARCHITECTURE for field in fields_of(ARCHITECTURE, part)),
    ]
    wrong = []
    for case in all_cases(ARCHITECTURE, fields):
        note = np.frombuffer(json.dumps(case[2]).encode(), np.uint8)
        np.savez(path, **{ARCHITECTURE_KEY: note})
        try:
            found = open_checkpoint(path, with_weights=False).architecture
        except ValueError as error:
            reason = None if is_named(error, path, case[0]) else str(error)
        else:
            reason = judge_argument(case, found)
        wrong += [f"{case[:2]}: {reason}"] if reason else []
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "note",
    [
        np.frombuffer(b"{}", np.uint8)[None],
        np.zeros(3),
        np.zeros(200_000, np.uint8),
        np.frombuffer(b"[1]", np.uint8),
        np.frombuffer(b"\xff\xfe{}", np.uint8),
        np.frombuffer(b"[" * 90_000, np.uint8),
    ],
    ids=["matrix", "floats", "long", "list", "UTF-16", "nested"],
)
def test_note_that_is_none(note: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", **{ARCHITECTURE_KEY: note})
    with pytest.raises(ValueError, match=rf"{ARCHITECTURE_KEY} of .*model\.npz"):
        open_checkpoint(tmp_path / "model.npz", with_weights=False)


def float_bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


def test_words_of_a_gemma_cpp_file() -> None:
    """Each word of a configuration in turn: refused, or one argument is that word."""
    words = config_words(ARCHITECTURE, "float32", (1, 1))
    assert read_config(struct.pack(f"<{len(words)}I", *words)) == ARCHITECTURE
    others = [0, 1, 3, 2**31, 2**32 - 1, *map(float_bits, (np.nan, np.inf, -1.0, 2.5))]
    num_refused = 0
    for i, other in ((i, other) for i in range(len(words)) for other in others):
        changed = [*words[:i], other, *words[i + 1 :]]
        try:
            found = read_config(struct.pack(f"<{len(words)}I", *changed), "a.sbs")
        except ValueError as error:
            num_refused += "a.sbs" in str(error)
            continue
        differing = [
            (name, value)
            for part, numbers in found.items()
            for name, value in numbers.items()
            if value != ARCHITECTURE[part][name]
        ]
        assert len(differing) <= 1, (i, other, differing)
        for name, value in differing:
            as_float = struct.unpack("<f", struct.pack("<I", other))[0]
            expected = {
                "query_pre_attn_scalar": [8],  # 0 is head_dim, 1 hidden_dim / heads.
                "has_post_norms": [False],
                # As long as the longest sequence, which is another word.
                "sliding_window": [other, None],
                "attention_logit_soft_cap": [as_float or None],
                "final_logit_soft_cap": [as_float or None],
            }
            assert value in expected.get(name, [other]), (i, name, value, other)
    assert num_refused > 500


def test_a_gemma_cpp_configuration_that_is_cut_or_too_long() -> None:
    words = config_words(ARCHITECTURE, "float32", (1, 1))
    data = struct.pack(f"<{len(words)}I", *words)
    for length in range(0, len(data), 4):
        with pytest.raises(ValueError, match=r"in a\.sbs"):
            read_config(data[:length], "a.sbs")
    with pytest.raises(ValueError, match=r"at most 262,144 bytes in a\.sbs"):
        read_config(bytes(2**20), "a.sbs")


BROKEN = {
    "empty": b"",
    "cut off": b'{"model_type": "paligemma", "text_config": {',
    "a list": b'[{"model_type": "paligemma"}]',
    "a number": b"7",
    "UTF-16": '{"model_type": "paligemma"}'.encode("utf-16"),
    "not UTF-8": b'{"model_type": "\xff\xfe"}',
    "a byte order mark": b"\xef\xbb\xbf" + b'{"model_type": "paligemma"}',
    "nested": b'{"a":' * 50_000,
    "bytes": bytes(range(256)),
}


def test_a_configuration_of_megabytes(tmp_path: Path) -> None:
    """Parsed, it would take fifty times as much."""
    (tmp_path / "config.json").write_bytes(
        b'{"model_type": "x", "a": [' + b"[]," * 10**6
    )
    with pytest.raises(ValueError, match=r"at most 1 MB at .*config\.json"):
        open_checkpoint(tmp_path, with_weights=False)


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_is_no_object(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"JSON.*config\.json"):
        open_checkpoint(tmp_path, with_weights=False)
