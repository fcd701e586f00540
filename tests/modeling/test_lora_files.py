"""Files of LoRA in KerasHub's layout, against KerasHub's own methods."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling import PaliGemma2Backbone
from tests.support.tiny_networks import random_backbone

TARGETS = ["query_dense", "mlp_up", "vision_projection"]


def network(
    rank: int | None = 2, targets: list[str] | None = None, seed: int = 0
) -> PaliGemma2Backbone:
    """A network with random factors, or without LoRA."""
    backbone = random_backbone(vision_layers=1, num_layers=1)
    if rank is not None:
        backbone.enable_lora(rank, targets)
        rng = np.random.default_rng(seed)
        for variable in sorted(backbone.trainable_variables, key=lambda v: v.path):
            variable.assign(rng.normal(0, 1, variable.shape))
    return backbone


def weights(backbone: PaliGemma2Backbone) -> dict[str, np.ndarray]:
    return {v.path: ops.convert_to_numpy(v) for v in backbone.weights}


def assert_same(found: PaliGemma2Backbone, expected: PaliGemma2Backbone) -> None:
    ours, theirs = weights(found), weights(expected)
    assert ours.keys() == theirs.keys()
    for path, value in theirs.items():
        np.testing.assert_array_equal(ours[path], value, path)
    trained, wanted = (
        {v.path for v in each.trainable_variables} for each in (found, expected)
    )
    assert trained == wanted


@pytest.mark.parametrize("has_lora", [False, True])
def test_layers_ranks_and_alphas_come_back(has_lora, tmp_path):
    """Into a network with LoRA at these layers, or without any."""
    saved = network(3, TARGETS)
    for layer in (saved.vision_projection, saved.find("vision_encoder/block_0/mlp_up")):
        layer.lora_alpha = 7
    other = network(3, TARGETS, seed=1) if has_lora else network(None)
    if has_lora:
        other.vision_projection.lora_alpha = 7
        other.find("vision_encoder/block_0/mlp_up").lora_alpha = 7
    saved.save_lora_weights(tmp_path / "a.lora.h5")
    other.load_lora_weights(tmp_path / "a.lora.h5")
    assert_same(other, saved)
    assert other.vision_projection.lora_alpha == 7
    assert [path.name for path in tmp_path.iterdir()] == ["a.lora.h5"]


def test_keras_hub_reads_ours(tmp_path):
    saved, other = network(), network(seed=1)
    saved.save_lora_weights(tmp_path / "a.lora.h5")
    # What KerasHub's own method would have noted.
    layers = [layer for layer in other._flatten_layers(False) if layer.weights]
    other._lora_rank = 2
    other._lora_enabled_layers = [
        i for i, x in enumerate(layers) if x.name in ("query_dense", "value_dense")
    ]
    keras_hub.models.Backbone.load_lora_weights(other, str(tmp_path / "a.lora.h5"))
    assert_same(other, saved)


def test_ours_reads_that_of_keras_hub(tmp_path):
    saved, other = network(None), network(None)
    keras_hub.models.Backbone.enable_lora(saved, 2, ["key_dense"])
    for variable in saved.trainable_variables:
        variable.assign(np.random.default_rng(0).normal(0, 1, variable.shape))
    keras_hub.models.Backbone.save_lora_weights(saved, str(tmp_path / "a.lora.h5"))
    other.load_lora_weights(tmp_path / "a.lora.h5")
    # KerasHub trains biases of these layers, too, and its file is without them.
    factors = {k: v for k, v in weights(saved).items() if "/lora_" in k}
    assert len(factors) == 4
    for path, value in factors.items():
        np.testing.assert_array_equal(weights(other)[path], value, path)
    assert {v.path for v in other.trainable_variables} == set(factors)


def _other_layers(path: Path) -> None:
    network(2, ["key_dense"]).save_lora_weights(path)


def _other_rank(path: Path) -> None:
    network(3).save_lora_weights(path)


def _another_network(path: Path) -> None:
    wide = random_backbone(vision_layers=1, num_layers=1, hidden_dim=32)
    wide.enable_lora(2)
    wide.save_lora_weights(path)


def _weights(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros(3)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_other_layers, r"key_dense with rank and alpha \(2, 2.0\), here missing"),
        (_other_rank, r"query_dense with rank and alpha \(3, 3.0\), here \(2, 2.0\)"),
        (_another_network, r"query_dense \(32, 2\) @ \(2, 32\), here \(24, 32\)"),
        (_weights, "Expected a file of save_lora_weights"),
    ],
)
@pytest.mark.one_backend("which file is refused")
def test_other_files_are_refused_and_change_nothing(write, message, tmp_path):
    path = tmp_path / "a.lora.h5"
    write(path)
    backbone = network()
    before = weights(backbone)
    with pytest.raises(ValueError, match=message):
        backbone.load_lora_weights(path)
    for name, value in weights(backbone).items():
        np.testing.assert_array_equal(value, before[name], name)


DAMAGES = {
    "no rank": ("lora/vars/rank", None),
    "a rank of NaN": ("lora/vars/rank", np.float32("nan")),
    "a rank in a list": ("lora/vars/rank", np.array([2, 2])),
    "a rank in words": ("lora/vars/rank", "two"),
    "another rank": ("lora/vars/rank", 3),
    "a rank below 1": ("lora/vars/rank", 0),
    "half a rank": ("lora/vars/rank", 1.5),
    "no factor": ("lora_kernel_a", None),
    "a factor of whole numbers": ("lora_kernel_a", np.ones((24, 2), np.int32)),
    "a factor of complex numbers": ("lora_kernel_b", np.ones((2, 32), np.complex64)),
    "a factor of NaN": ("lora_kernel_b", np.full((2, 32), np.nan, np.float32)),
    "a factor with an axis": ("lora_kernel_a", np.ones(24, np.float32)),
    "a factor without rank": ("lora_kernel_a", np.ones((24, 0), np.float32)),
    "an alpha of NaN": ("lora_alpha", np.nan),
    "an alpha of 0": ("lora_alpha", 0.0),
    "an alpha below 0": ("lora_alpha", -1.0),
    "an alpha of 2**63": ("lora_alpha", 2.0**63),
    "an alpha in words": ("lora_alpha", "x"),
    "an alpha of several": ("lora_alpha", np.ones(3)),
    "another path": ("path", "text_decoder/block_9/attention/query_dense"),
    "a path that is a number": ("path", 7),
    "a path that is a list": ("path", np.arange(3)),
    "a link": ("lora_kernel_a", h5py.ExternalLink("/etc/hostname", "x")),
    "a factor that is never written": ("lora_kernel_a", (2**40, 2)),
}


@pytest.fixture(scope="module")
def tidy() -> PaliGemma2Backbone:
    return network(None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("lora") / "a.lora.h5"
    network(2, ["query_dense"]).save_lora_weights(path)
    return path.read_bytes()


@pytest.mark.one_backend("which file is refused")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entries_are_named(damage, whole, tidy, tmp_path):
    path = tmp_path / "a.lora.h5"
    path.write_bytes(whole)
    where, value = DAMAGES[damage]
    with h5py.File(path, "r+") as file:
        first = next(key for key in file["lora"] if key.isdecimal())
        entry = file[f"lora/{first}/vars"]
        if where == "path":
            entry.attrs["path"] = value
        else:
            place = file if "/" in where else entry
            del place[where]
            if isinstance(value, tuple):
                place.create_dataset(where, value, np.float32, chunks=True)
            elif value is not None:
                place[where] = value
    with pytest.raises(ValueError, match=r"a\.lora\.h5") as caught:
        tidy.load_lora_weights(path)
    assert type(caught.value) is ValueError
    assert not any("lora" in weight.path for weight in tidy.weights)


@pytest.mark.one_backend("which file is refused")
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off(share, whole, tidy, tmp_path):
    path = tmp_path / "a.lora.h5"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"save_lora_weights at .*a\.lora\.h5"):
        tidy.load_lora_weights(path)
    path = path.rename(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"adapters\.load reads"):
        tidy.load_lora_weights(path)


@pytest.mark.one_backend("what is refused")
def test_nothing_that_trains_is_left_out(tmp_path):
    path = tmp_path / "a.lora.h5"
    with pytest.raises(ValueError, match=r"Call enable_lora\(rank\) first"):
        network(None).save_lora_weights(path)
    backbone = network()
    with pytest.raises(ValueError, match=r"ends in .lora.h5. Received"):
        backbone.save_lora_weights(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"Expected a network without LoRA"):
        backbone.enable_lora(2, ["key_dense"])
    backbone.find("vision_projection/bias").trainable = True
    with pytest.raises(ValueError, match=r"Received also: vision_projection/bias"):
        backbone.save_lora_weights(path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="There is none"):
        backbone.load_lora_weights(path)
    with pytest.raises(ValueError, match="rank to be above 0"):
        network(None).enable_lora(0)


def test_the_factors_alone_train_and_parts_say_so():
    backbone = network()
    assert {v.path.rpartition("/")[2] for v in backbone.trainable_variables} == {
        "lora_kernel_a",
        "lora_kernel_b",
    }
    assert backbone.trainable_parts == ("vision_encoder", "text_decoder")
