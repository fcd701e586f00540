"""Adapters against PEFT itself, on PaliGemmas of transformers with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from keras import ops
from safetensors.numpy import load_file, save_file

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.conversion.adapters.peft import _layers_by_module, read_peft
from keras_pg2.conversion.adapters.peft_config import PeftConfig
from keras_pg2.conversion.adapters.peft_targets import PeftTargets, module_name
from keras_pg2.typing import Architecture
from tests.support.reference import (
    TEXT_CONFIGS,
    VOCABULARY_SIZE,
    build_model,
    random_batch,
)

# peft 0.21 asks transformers 5.23 by an old name; and warns of LoRA on the embedding.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
]

BATCH = random_batch([5, 9], [3, 2])
NUM_IMAGE_TOKENS = 9
DECODER = r".*language_model.*\.(q_proj|v_proj)"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "gate_proj", "up_proj"]
ALL += ["down_proj", "fc1", "fc2", "linear"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    paths = {}
    for kind in ("3b", "pali_gemma_1"):
        paths[kind] = tmp_path_factory.mktemp(kind) / "model"
        build_model(TEXT_CONFIGS[kind]).save_pretrained(paths[kind])
    return paths


@pytest.fixture(scope="module")
def architecture(bases: dict[str, Path]) -> Architecture:
    return load(bases["3b"]).backbone.architecture


def theirs(kind: str = "3b") -> Any:
    return build_model(TEXT_CONFIGS[kind])


def their_logits(model: Any) -> np.ndarray:
    """[number of real text tokens, V]"""
    with torch.no_grad():
        logits = model.eval()(**BATCH.theirs).logits
    is_text = BATCH.theirs["attention_mask"].bool() & (
        BATCH.theirs["input_ids"] < VOCABULARY_SIZE
    )
    return logits[is_text].numpy()[:, :VOCABULARY_SIZE]


def our_logits(model: PaliGemma2CausalLM) -> np.ndarray:
    logits = ops.convert_to_numpy(model(BATCH.ours))
    return logits[BATCH.ours["padding_mask"]]


def assert_close(ours: np.ndarray, expected: np.ndarray) -> None:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ours / scale, expected / scale, rtol=0, atol=1e-4)


def load(path: Path) -> PaliGemma2CausalLM:
    return PaliGemma2CausalLM.from_preset(str(path), dtype="float32")


def make_adapter(path: Path, kind: str = "3b", **options: Any) -> np.ndarray:
    """A directory of PEFT with random factors, and the logits with it."""
    torch.manual_seed(0)
    settings = {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj"]}
    model = peft.get_peft_model(theirs(kind), peft.LoraConfig(**settings | options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.5 * torch.randn(parameter.shape))
    model.save_pretrained(path)
    return their_logits(model)


@pytest.mark.parametrize("kind", ["3b", "pali_gemma_1"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_modules": ALL},
        {"target_modules": "all-linear"},
        {"target_modules": DECODER, "lora_dropout": 0.3},
        {
            "rank_pattern": {"language_model.layers.1.self_attn.q_proj": 5},
            "alpha_pattern": {"layers.0.self_attn.v_proj": 11},
        },
        {"layers_to_transform": [1]},
    ],
    ids=["query_value", "all", "all_linear", "expression", "patterns", "one_layer"],
)
def test_an_adapter_of_peft_computes_the_same(
    kind: str, options: dict, bases: dict[str, Path], tmp_path: Path
) -> None:
    expected = make_adapter(tmp_path / "adapter", kind, **options)
    model = load(bases[kind])
    before = our_logits(model)
    assert_close(before, their_logits(theirs(kind)))
    assert np.abs(before - expected).max() > 0.1 * np.abs(expected).max()
    assert model.adapters.load(tmp_path / "adapter") == "adapter"
    assert_close(our_logits(model), expected)
    # And back again.
    model.adapters.export_to_peft(tmp_path / "again")
    again, first = (
        load_file(tmp_path / name / "adapter_model.safetensors")
        for name in ("again", "adapter")
    )
    assert again.keys() == first.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(again[key], value)
    loaded = peft.PeftModel.from_pretrained(theirs(kind), tmp_path / "again")
    assert_close(their_logits(loaded), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"rank": 2},
        {"rank": 4, "alpha": 6, "parts": ["decoder"]},
        {"rank": 3, "alpha": 2.5, "targets": ["*"]},
        {"rank": 1, "targets": ["text_decoder/block_2/*", "vision_projection"]},
    ],
)
def test_peft_computes_the_same_with_ours(
    options: dict, bases: dict[str, Path], tmp_path: Path
) -> None:
    model = load(bases["3b"])
    model.enable_lora(**options)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    expected = our_logits(model)
    model.adapters.export_to_peft(tmp_path / "adapter", base="google/some")
    loaded = peft.PeftModel.from_pretrained(theirs(), tmp_path / "adapter")
    assert np.abs(their_logits(theirs()) - expected).max() > 0.5
    assert_close(their_logits(loaded), expected)
    # Every factor is there: nothing was left at its first value.
    count = sum("lora_" in name for name, _ in loaded.named_parameters())
    assert count == len(model.trainable_variables)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "google/some"
    with pytest.raises(FileExistsError, match="there already"):
        model.adapters.export_to_peft(tmp_path / "adapter")


def test_names_of_older_transformers(bases: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    expected = make_adapter(path, target_modules=["q_proj", "linear"])
    renamings: list[Callable[[str], str]] = [
        lambda key: key.replace("tower.", "tower.vision_model."),
        lambda key: (
            key.replace("model.model.vision_tower.", "model.vision_tower.")
            .replace("vision_tower.", "vision_tower.vision_model.")
            .replace("model.model.multi_modal", "model.multi_modal")
            .replace("model.model.language_model.", "model.language_model.model.")
        ),
    ]
    tensors = load_file(path / "adapter_model.safetensors")
    for rename in renamings:
        renamed = {rename(key): value for key, value in tensors.items()}
        assert renamed.keys() != tensors.keys()
        save_file(renamed, path / "adapter_model.safetensors")
        model = load(bases["3b"])
        model.adapters.load(path)
        assert_close(our_logits(model), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_rslora": True}, r"use_rslora=True \(rank-stabilised scales\)"),
        ({"use_dora": True}, r"use_dora=True \(magnitudes of DoRA\)"),
        ({"modules_to_save": ["linear"]}, r"modules_to_save=\['linear'\]"),
        ({"bias": "all"}, "bias='all'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens.lora_embedding"),
    ],
)
def test_what_is_no_plain_lora_is_refused(
    options: dict, message: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    make_adapter(tmp_path / "adapter", **options)
    model = load(bases["3b"])
    with pytest.raises(ValueError, match=message):
        model.adapters.load(tmp_path / "adapter")
    assert model.adapters.names == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_modules": DECODER},
        {"target_modules": "all-linear", "exclude_modules": ["fc1"]},
        {"target_modules": ALL, "exclude_modules": r".*vision.*"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1, 2]},
        {
            "target_modules": ["q_proj", "v_proj"],
            "layers_to_transform": 1,
            "layers_pattern": ["layers"],
        },
    ],
    ids=str,
)
def test_a_layer_without_factors_is_named(
    options: dict, architecture: Architecture, tmp_path: Path
) -> None:
    """Any layer, by PEFT's own choice of layers; without both factors, or one."""
    path = tmp_path / "adapter"
    make_adapter(path, **options)
    whole = load_file(path / "adapter_model.safetensors")
    modules = sorted({key.rpartition(".lora_")[0] for key in whole})
    layers = read_peft(path, architecture).layers
    assert len(layers) == len(modules)
    named = set()
    for module in modules:
        parts = [f"{module}.lora_{name}.weight" for name in "AB"]
        for lost in (parts,) if named else (parts, parts[:1], parts[1:]):
            rest = {key: value for key, value in whole.items() if key not in lost}
            save_file(rest, path / "adapter_model.safetensors")
            with pytest.raises(ValueError, match="Received") as caught:
                read_peft(path, architecture)
            [layer] = [each for each in layers if f"{each} " in f"{caught.value} "]
            named.add(layer)
    assert named == set(layers)


@pytest.mark.parametrize(
    "change",
    [
        {"layers_to_transform": [0]},
        {"layers_to_transform": 0, "layers_pattern": "layers"},
        {"exclude_modules": ".*q_proj"},
        {"exclude_modules": ["q_proj"]},
        {"target_modules": ["v_proj"]},
    ],
    ids=str,
)
def test_factors_that_peft_leaves_out_are_refused(
    change: dict, architecture: Architecture, tmp_path: Path
) -> None:
    path = tmp_path / "adapter"
    make_adapter(path, target_modules=["q_proj", "v_proj"])
    whole = load_file(path / "adapter_model.safetensors")
    config = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps({**config, **change}))
    built = peft.PeftModel.from_pretrained(theirs(), path)
    kept = {key.replace(".default", "") for key, _ in built.named_parameters()}
    modules = {key.rpartition(".lora_")[0] for key in whole.keys() - kept}
    assert 0 < len(modules) < len(whole) / 2
    with pytest.raises(ValueError, match=next(iter(change))) as caught:
        read_peft(path, architecture)
    assert f"({len(modules)} such), which peft leaves out" in str(caught.value)
    rest = {key: value for key, value in whole.items() if key in kept}
    save_file(rest, path / "adapter_model.safetensors")
    assert len(read_peft(path, architecture).layers) == len(rest) / 2


HONEST = [
    "q_proj",
    "self_attn.q_proj",
    "layers.1.self_attn.q_proj",
    r"layers\.[01]\.self_attn\.(q|k)_proj",
    r"^model\.language_model\.layers\.0\..*",
    r".*language_model.*\.(q_proj|v_proj)",
    r"(?!.*vision).*proj",
    r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|v_proj|up_proj).*?)",
    r"model\.vision_tower\.encoder\.layers\.\d+\.mlp\.fc[12]",
    "fc1|fc2",
    "",
]


@pytest.mark.parametrize("pattern", HONEST)
def test_expressions_mean_what_peft_takes_them_for(
    pattern: str, architecture: Architecture
) -> None:
    """For every layer, by each of the three ways in which a configuration has them."""
    from peft.tuners.tuners_utils import check_target_module_exists
    from peft.utils.other import get_pattern_key

    names = [module_name(key) for key in _layers_by_module(architecture)]
    assert len(names) > 20
    config = peft.LoraConfig(r=2, lora_alpha=3, target_modules=pattern or None)
    targets = PeftTargets(_config(pattern))
    for name in names:
        expected = config.target_modules and check_target_module_exists(config, name)
        assert targets._is_named(name) == bool(expected), name
        is_own = get_pattern_key([pattern], name) == pattern
        assert targets.rank(name) == (7 if is_own else 2), name
        assert targets.alpha(name) == (0.5 if is_own else 3), name


def _config(pattern: str) -> PeftConfig:
    return PeftConfig(
        source=Path("adapter_config.json"),
        rank=2,
        alpha=3,
        rank_pattern={pattern: 7},
        alpha_pattern={pattern: 0.5},
        target_modules=pattern,
        exclude_modules=None,
        layers_to_transform=None,
        layers_pattern=(),
        dropout=0,
        base="",
    )


@pytest.mark.parametrize("change", [{"r": 4}, {"rank_pattern": {"v_proj": 2}}], ids=str)
def test_ranks_that_peft_refuses(
    change: dict, architecture: Architecture, tmp_path: Path
) -> None:
    path = tmp_path / "adapter"
    make_adapter(path)
    config = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(RuntimeError, match="size mismatch"):
        peft.PeftModel.from_pretrained(theirs(), path)
    with pytest.raises(ValueError, match=r"r and rank_pattern .* Received: rank 3"):
        read_peft(path, architecture)


@pytest.mark.parametrize("style", ["before 4.52", "since 4.52"])
def test_names_of_an_expression_are_those_of_the_file(
    style: str, architecture: Architecture, tmp_path: Path
) -> None:
    """Only in transformers 5 has a vision tower's layer no `vision_model` in its name.

    An expression that leaves it out by that name names no layer of vision before.
    """
    path = tmp_path / "adapter"
    make_adapter(path, target_modules=r".*language_model.*\.q_proj")
    weights = path / "adapter_model.safetensors"
    tensors = load_file(weights)
    if style == "before 4.52":
        old, new = "model.model.language_model.", "model.language_model.model."
        tensors = {key.replace(old, new): value for key, value in tensors.items()}
        save_file(tensors, weights)
    config = json.loads((path / "adapter_config.json").read_text())
    config["target_modules"] = r"(?!.*vision_model).*q_proj"
    (path / "adapter_config.json").write_text(json.dumps(config))
    assert len(read_peft(path, architecture).layers) == len(tensors) // 2


def test_what_is_there_instead_of_an_adapter_is_named(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    model = load(bases["3b"])
    make_adapter(tmp_path / "all" / "mine")
    with pytest.raises(FileNotFoundError, match=r"are in folders: load .*all/mine\."):
        model.adapters.load(tmp_path / "all")
    make_adapter(tmp_path / "all" / "other")
    with pytest.raises(FileNotFoundError, match=r"\(2 such: mine, other\)\."):
        model.adapters.load(tmp_path / "all")
    path = tmp_path / "all" / "mine"
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match=r"bin is a pickle, which could run"):
        model.adapters.load(path)
    with pytest.raises(ValueError, match=r"mine/adapter_model.bin, a pickle"):
        model.adapters.load(path / "adapter_model.bin")
    model.backbone.enable_lora(2)
    model.backbone.save_lora_weights(tmp_path / "a.lora.h5")
    with pytest.raises(ValueError, match=r"read by model.backbone.load_lora_weights"):
        model.adapters.load(tmp_path / "a.lora.h5")


def test_a_directory_that_is_not_whole(bases: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    make_adapter(path)
    model = load(bases["3b"])
    other = load(bases["pali_gemma_1"])
    # Gemma 1 has one head of values.
    with pytest.raises(ValueError, match=r"value_dense \(24, 16\), here \(24, 8\)"):
        other.adapters.load(path)
    weights = path / "adapter_model.safetensors"
    content = weights.read_bytes()
    with pytest.raises(ValueError, match="It is of PEFT: load the directory"):
        model.adapters.load(weights)
    weights.write_bytes(content[:-100])
    with pytest.raises(ValueError, match="is cut off or is none"):
        model.adapters.load(path)
    weights.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"adapter_model.safetensors is missing"
    ):
        model.adapters.load(path)
    assert model.adapters.names == []
    assert len(model.trainable_variables) == len(model.weights)
