"""Metadata of our own adapter files and configurations of PEFT, field by field."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from keras_pg2.conversion.adapters.archive import (
    FILE,
    KeptAdapters,
    read_kept,
    write_kept,
)
from keras_pg2.conversion.adapters.files import (
    KERNELS,
    Adapter,
    Base,
    Factors,
    pair_up,
    read_adapter,
    write_adapter,
)
from keras_pg2.conversion.adapters.peft import read_peft, write_peft
from keras_pg2.typing import Architecture
from tests.support.damaged_fields import DAMAGES, damaged, loads, named
from tests.support.tiny_networks import random_backbone

LAYER = "text_decoder/block_0/attention/query_dense"
OTHER = "text_decoder/block_0/attention/value_dense"
HUGE = ["below 0", "0", "2**63", "4000 digits", "1e300", "NaN", "infinity"]


@pytest.fixture(scope="module")
def architecture() -> Architecture:
    return random_backbone(vision_layers=1, num_layers=1).architecture


@pytest.fixture
def adapter(architecture: Architecture) -> Adapter:
    rng = np.random.default_rng(0)
    layers = {}
    for path, outputs, rank, alpha in ((LAYER, 32, 2, 4.0), (OTHER, 16, 3, 5.0)):
        a, b = rng.normal(size=(24, rank)), rng.normal(size=(rank, outputs))
        layers[path] = Factors(a.astype("float32"), b.astype("float32"), alpha)
    base = Base("somebody/base", architecture, {"kernels": "abc"})
    return Adapter(layers, ("query_dense", "value_dense"), base, dropout=0.25)


def rewriting(
    path: Path, parsed: tuple[str, ...], read: Callable[[], Any]
) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Return the metadata of a file, and what reads it with others."""
    tensors = load_file(path)
    with safe_open(path, "numpy") as file:
        content = dict(file.metadata())
    content |= {name: json.loads(content[name]) for name in parsed}

    def read_changed(changed: dict[str, Any]) -> Any:
        texts = {
            name: json.dumps(value)
            if name in parsed or not isinstance(value, str)
            else value
            for name, value in changed.items()
        }
        save_file(tensors, path, texts)
        return read()

    return content, read_changed


def test_an_adapter_of_ours(adapter: Adapter, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    write_adapter(adapter, path)
    parsed = ("alphas", "targets", "base_numbers", "base_hashes", "dropout")
    content, read = rewriting(path, parsed, lambda: read_adapter(path))
    found = read(content)
    assert found.settings() == adapter.settings()
    assert (found.base, found.dropout) == (adapter.base, 0.25)
    fields = [(name,) for name in (*parsed, "format")]
    fields += [("alphas", LAYER), ("base_hashes", "kernels")]
    fields += [("base_numbers", "text_decoder"), ("targets", 0)]
    count, loaded = loads(read, damaged(content, fields), path)
    assert count == len(DAMAGES) * 10
    assert loaded == {
        *named(f"alphas.{LAYER}", ["half"]),
        *named("targets", ["list"]),
        *named("targets.0", ["missing", "text", "empty text"]),
        *named("dropout", ["missing", "null", "0", "half"]),
        *named("base_numbers", ["missing", "null"]),
        *named("base_numbers.text_decoder", ["object"]),
        *named("base_hashes", ["object"]),
        *named("base_hashes.kernels", ["missing", "text", "empty text"]),
    }


def test_the_adapters_of_an_archive(adapter: Adapter, tmp_path: Path) -> None:
    kernels = {LAYER: np.ones((24, 32), "float32"), OTHER: np.ones((24, 16), "float32")}
    kept = KeptAdapters({"a": adapter, "b": adapter}, None, "b", kernels)
    write_kept(kept, tmp_path)
    parsed = ("adapters", "active", "merged")
    content, read = rewriting(tmp_path / FILE, parsed, lambda: read_kept(tmp_path))
    found = read(content)
    assert (found.active, found.merged, list(found.known)) == (None, "b", ["a", "b"])
    fields = [(name,) for name in (*parsed, "format")]
    names = ("name", "alphas", "targets", "dropout")
    fields += [("adapters", 1, name) for name in names]
    fields += [("adapters", 0), ("adapters", 0, "alphas", LAYER)]
    count, loaded = loads(read, damaged(content, fields), tmp_path / FILE)
    assert count == len(DAMAGES) * 10
    assert loaded == {
        "active: null",
        *named("adapters.1.targets", ["list"]),
        *named("adapters.1.dropout", ["missing", "null", "0", "half"]),
        *named(f"adapters.0.alphas.{LAYER}", ["half"]),
    }


def test_a_configuration_of_peft(
    adapter: Adapter, architecture: Architecture, tmp_path: Path
) -> None:
    path = tmp_path / "peft"
    write_peft(adapter, path, "somebody/base")
    config = path / "adapter_config.json"

    def read(content: Any) -> Adapter:
        config.write_text(json.dumps(content))
        return read_peft(path, architecture)

    content = json.loads(config.read_text())
    content |= {"exclude_modules": None, "layers_to_transform": None}
    content |= {"layers_pattern": None}
    assert read(content).settings() == adapter.settings()
    [other] = content["rank_pattern"]
    fields = [
        *[(name,) for name in ("peft_type", "r", "lora_alpha", "lora_dropout")],
        *[(name,) for name in ("rank_pattern", "alpha_pattern", "target_modules")],
        *[(name,) for name in ("layers_to_transform", "layers_pattern")],
        *[(name,) for name in ("exclude_modules", "base_model_name_or_path")],
        *[("rank_pattern", other), ("alpha_pattern", other), ("target_modules", 0)],
        *[(name,) for name in ("bias", "use_dora", "init_lora_weights")],
    ]
    count, loaded = loads(read, damaged(content, fields), path)
    assert count == len(DAMAGES) * 17
    optional = ["missing", "null"]
    assert loaded == {
        *named("lora_alpha", ["half"]),
        *named("lora_dropout", [*optional, "0", "half"]),
        *named("alpha_pattern", [*optional, "object"]),
        *named(f"alpha_pattern.{other}", ["missing", "half"]),
        *named("target_modules", [*optional, "empty text", "list"]),
        *named("exclude_modules", [*optional, "empty text", "list"]),
        *named("layers_to_transform", [*optional, "list", "0"]),
        *named("layers_pattern", [*optional, "text", "empty text", "list"]),
        *named("base_model_name_or_path", [*optional, "text", "empty text"]),
        *named("bias", [*optional, "list", "object"]),
        *named("use_dora", [*optional, "0", "list", "object"]),
        *named("init_lora_weights", [*optional, "true", "0"]),
    }


@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize("field", ["lora_alpha", "lora_dropout", "r"])
def test_errors_name_the_field(
    field: str,
    value: str,
    adapter: Adapter,
    architecture: Architecture,
    tmp_path: Path,
) -> None:
    if (field, value) == ("lora_dropout", "0"):
        return
    path = tmp_path / "peft"
    write_peft(adapter, path, "")
    config = path / "adapter_config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, field: DAMAGES[value]}))
    with pytest.raises(ValueError, match=rf"Expected {field} in .*adapter_config"):
        read_peft(path, architecture)


HOSTILE = ["(.*?)*?(?<=x)", ".*?" * 12 + "(?<!j)"]
NESTED = [r"(\w|\w|\.)*!", r"(.*)*\.(.*)*\.(.*)*x", r"((\w+\.?)+)+!"]
NESTED += [r"(?:(?:(?:\w+\.)*)*)*!", r"(\w|\.)+" * 6 + "!"]
INVALID = ["(", "*", "[z-a]", "a{99999999999}", "(?P<n>", "(" * 900, "x" * 5000, "\\"]


@pytest.mark.parametrize("field", ["alpha_pattern", "rank_pattern", "target_modules"])
@pytest.mark.parametrize("pattern", [*HOSTILE, *NESTED, *INVALID], ids=lambda p: p[:20])
def test_expressions_take_no_time(
    pattern: str,
    field: str,
    adapter: Adapter,
    architecture: Architecture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python's `re` takes years for some of them."""
    monkeypatch.setattr("keras_pg2.conversion.adapters.name_patterns.MOST_SECONDS", 0.2)
    path = tmp_path / "peft"
    write_peft(adapter, path, "")
    config = path / "adapter_config.json"
    content = json.loads(config.read_text())
    content[field] = (
        pattern if field == "target_modules" else {pattern: 7, **content[field]}
    )
    config.write_text(json.dumps(content))
    start = time.monotonic()
    if pattern in HOSTILE:
        with pytest.raises(ValueError, match=r"regular expressions in .*takes longer"):
            read_peft(path, architecture)
    elif pattern in INVALID:
        with pytest.raises(ValueError, match=r"names or regular expressions in .*peft"):
            read_peft(path, architecture)
    elif field == "target_modules":  # The library sees that they do not match.
        with pytest.raises(ValueError, match="which peft leaves out"):
            read_peft(path, architecture)
    else:
        assert read_peft(path, architecture).settings() == adapter.settings()
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("field", ["r", "rank_pattern"])
def test_ranks_are_those_of_the_factors(
    field: str, adapter: Adapter, architecture: Architecture, tmp_path: Path
) -> None:
    path = tmp_path / "peft"
    write_peft(adapter, path, "")
    config = path / "adapter_config.json"
    content = json.loads(config.read_text())
    assert content["r"] == 2
    content[field] = 4 if field == "r" else {}
    config.write_text(json.dumps(content))
    with pytest.raises(
        ValueError,
        match=r"of rank \d of .*proj.*r and rank_pattern.*"
        r"adapter_config.*rank \d in .*adapter_model.safetensors",
    ):
        read_peft(path, architecture)


def test_what_is_no_adapter_is_named_for_what_it_is(tmp_path: Path) -> None:
    import h5py

    for name, words in (
        ("a.lora.h5", "load_lora_weights"),
        ("a.H5", "load_lora_weights"),
        ("b.safetensors", "load_lora_weights"),
        ("c.npz", "a whole model"),
        ("d.keras", r"keras\.models\.load_model"),
        ("e.pt", "a pickle"),
    ):
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            file["lora/rank"] = 1
        with pytest.raises(ValueError, match=rf"{name}, .*{words}"):
            read_adapter(path)


def test_names_of_control_characters_are_shown_escaped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    tensors = {("layer\x1b[2J", "lora_kernel_a"): np.ones((2, 1), np.float32)}
    with pytest.raises(ValueError, match=r"Received: layer\\x1b\[2J without"):
        pair_up(tensors, KERNELS, {}, path)
    tensors["layer\x1b[2J", "lora_kernel_b"] = np.ones((2, 1), np.float32)
    with pytest.raises(ValueError, match=r"of layer\\x1b\[2J in"):
        pair_up(tensors, KERNELS, {"layer\x1b[2J": 1.0}, path)
