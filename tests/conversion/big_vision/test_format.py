from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.catalogue.names import PRESETS
from keras_pg2.conversion.big_vision.format import (
    ARCHITECTURE_KEY,
    infer_architecture,
    weight_rows,
)
from keras_pg2.conversion.convert import convert
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import from_model, write_model
from keras_pg2.conversion.tables.blocks import Block
from tests.support import big_vision_formulas as formulas
from tests.support.loaded import load_backbone
from tests.support.released_kinds import KINDS, assert_same_weights
from tests.support.tiny_models import random_task

# Of paligemma2-3b-pt-224, as big_vision stacks them.
SHAPES_3B = {
    "params/llm/embedder/input_embedding": (257152, 2304),
    "params/llm/layers/pre_attention_norm/scale": (26, 2304),
    "params/llm/layers/post_attention_norm/scale": (26, 2304),
    "params/llm/layers/pre_ffw_norm/scale": (26, 2304),
    "params/llm/layers/post_ffw_norm/scale": (26, 2304),
    "params/llm/layers/attn/q_einsum/w": (26, 8, 2304, 256),
    "params/llm/layers/attn/kv_einsum/w": (26, 2, 4, 2304, 256),
    "params/llm/layers/attn/attn_vec_einsum/w": (26, 8, 256, 2304),
    "params/llm/layers/mlp/gating_einsum": (26, 2, 2304, 9216),
    "params/llm/layers/mlp/linear": (26, 9216, 2304),
    "params/llm/final_norm/scale": (2304,),
    "params/img/embedding/kernel": (14, 14, 3, 1152),
    "params/img/embedding/bias": (1152,),
    "params/img/pos_embedding": (1, 256, 1152),
    "params/img/Transformer/encoder_norm/scale": (1152,),
    "params/img/Transformer/encoder_norm/bias": (1152,),
    "params/img/head/kernel": (1152, 2304),
    "params/img/head/bias": (2304,),
}
_BLOCK = "params/img/Transformer/encoderblock/"
_ATTENTION = _BLOCK + "MultiHeadDotProductAttention_0/"
for _i in (0, 1):
    for _name in ("scale", "bias"):
        SHAPES_3B[f"{_BLOCK}LayerNorm_{_i}/{_name}"] = (27, 1152)
for _name in ("query", "key", "value"):
    SHAPES_3B[f"{_ATTENTION}{_name}/kernel"] = (27, 1152, 16, 72)
    SHAPES_3B[f"{_ATTENTION}{_name}/bias"] = (27, 16, 72)
SHAPES_3B[_ATTENTION + "out/kernel"] = (27, 16, 72, 1152)
SHAPES_3B[_ATTENTION + "out/bias"] = (27, 1152)
SHAPES_3B[_BLOCK + "MlpBlock_0/Dense_0/kernel"] = (27, 1152, 4304)
SHAPES_3B[_BLOCK + "MlpBlock_0/Dense_0/bias"] = (27, 4304)
SHAPES_3B[_BLOCK + "MlpBlock_0/Dense_1/kernel"] = (27, 4304, 1152)
SHAPES_3B[_BLOCK + "MlpBlock_0/Dense_1/bias"] = (27, 1152)


def table_shapes(name: str) -> dict[str, tuple[int, ...]]:
    architecture = PRESETS[name].architecture
    ours = variable_shapes(**architecture)
    return {
        row.theirs: row.stored_shape(ours[row.ours])
        for row in weight_rows(**architecture)
    }


def test_keys_and_shapes_of_3b() -> None:
    assert table_shapes("pali_gemma2_pt_3b_224") == SHAPES_3B


@pytest.mark.parametrize("name", PRESETS)
def test_released_numbers_are_inferred_from_shapes(name: str) -> None:
    inferred = infer_architecture(table_shapes(name), Path("x.npz"))
    assert inferred == PRESETS[name].architecture


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_formulas(kind: str, tmp_path: Path) -> None:
    task = random_task(**KINDS[kind])
    path = write_model(task, tmp_path / "model.npz", "npz")
    backbone = load_backbone(path, sliding_window=None)
    text = backbone.text_decoder
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (28, 28, 3)).astype("float32")
    token_ids = rng.integers(4, text.vocabulary_size, 11)
    with np.load(path) as arrays:
        expected = formulas.logits(
            {key: arrays[key] for key in arrays if key.startswith("params/")},
            image,
            token_ids,
            4,
            text.query_pre_attn_scalar,
            text.attention_logit_soft_cap,
            text.final_logit_soft_cap,
        )
    inputs = {
        "images": image[None],
        "token_ids": token_ids[None].astype("int32"),
        "padding_mask": np.ones((1, 11), bool),
        "response_mask": np.arange(11)[None] >= 7,
    }
    hidden = backbone(inputs)[:, backbone.num_image_tokens :]
    ours = ops.convert_to_numpy(backbone.project_to_vocabulary(hidden))[0]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ours / scale, expected / scale, atol=1e-5)


def save(
    path: Path, arrays: dict[str, np.ndarray], *, compressed: bool = False
) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


@pytest.fixture
def arrays(tmp_path: Path) -> dict[str, np.ndarray]:
    task = random_task(**KINDS["3b"])
    with np.load(write_model(task, tmp_path / "made.npz", "npz")) as file:
        return {key: file[key] for key in file}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("prefix", ["params/", ""])
def test_files_of_numpy(
    compressed: bool, prefix: str, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    renamed = {
        key.replace("params/", prefix) if key != ARCHITECTURE_KEY else key: value
        for key, value in arrays.items()
    }
    path = save(tmp_path / "numpy.npz", renamed, compressed=compressed)
    task = random_task(**KINDS["3b"])
    assert_same_weights(open_checkpoint(path), from_model(task.backbone))


def test_bfloat16_is_raw_bytes(tmp_path: Path) -> None:
    task = random_task()
    path = write_model(task, tmp_path / "model.npz", "npz", "bfloat16")
    with np.load(path) as file:
        stored = file["params/img/head/kernel"]
    assert stored.dtype == np.dtype("V2")
    kernel = ops.convert_to_numpy(task.backbone.vision_projection.kernel)
    np.testing.assert_array_equal(
        stored.view(ml_dtypes.bfloat16), kernel.astype(ml_dtypes.bfloat16)
    )


def test_a_layer_is_read_alone(
    arrays: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = open_checkpoint(save(tmp_path / "m.npz", arrays))
    sizes = []
    read = Block.read

    def count(self: Block) -> np.ndarray:
        value = read(self)
        sizes.append(value.nbytes)
        assert value.base is None or value.base.nbytes == value.nbytes
        return value

    monkeypatch.setattr(Block, "read", count)
    assert sum(value.nbytes for _, value in checkpoint.variables()) == sum(sizes)
    assert max(sizes) < max(value.nbytes for value in arrays.values()) * 1.01


def test_tokenizer_beside_or_given(tmp_path: Path) -> None:
    task = random_task(sequence_length=128)
    path = write_model(task, tmp_path / "model.npz", "npz")
    beside = tmp_path / "paligemma_tokenizer.model"
    assert beside.read_bytes() == task.preprocessor.tokenizer.proto
    beside.rename(tmp_path / "elsewhere.model")
    checkpoint = open_checkpoint(path)
    assert checkpoint.preprocessing.tokenizer is None
    assert any("paligemma_tokenizer.model" in note for note in checkpoint.notes)
    assert PaliGemma2CausalLM.from_preset(str(path)).preprocessor is None
    with pytest.raises(ValueError, match="Expected a tokenizer"):
        convert(path, tmp_path / "m.sbs", "sbs")
    given = tmp_path / "elsewhere.model"
    loaded = PaliGemma2CausalLM.from_preset(str(path), tokenizer=str(given))
    assert loaded.preprocessor.tokenizer.vocabulary_size() == 1552
    with pytest.raises(FileNotFoundError, match=r"none\.model"):
        PaliGemma2CausalLM.from_preset(str(path), tokenizer=tmp_path / "none.model")


def test_damage(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = save(tmp_path / "whole.npz", arrays)
    cut = tmp_path / "cut.npz"
    cut.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ValueError, match=r"Expected a whole \.npz"):
        open_checkpoint(cut)
    fewer = {k: v for k, v in arrays.items() if k != "params/img/head/bias"}
    with pytest.raises(ValueError, match="missing from the file: params/img/head/bias"):
        open_checkpoint(save(tmp_path / "fewer.npz", fewer))
    more = {**arrays, "params/img/MAPHead_0/probe": np.zeros((1, 1, 16), "float32")}
    with pytest.raises(ValueError, match="MAPHead_0"):
        open_checkpoint(save(tmp_path / "more.npz", more))
    other = {**arrays, "params/img/head/bias": np.zeros(3, "float32")}
    with pytest.raises(ValueError, match=r"head/bias \(3,\)"):
        open_checkpoint(save(tmp_path / "other.npz", other))
    with pytest.raises(ValueError, match=r"Pass a \.npz of big_vision"):
        open_checkpoint(save(tmp_path / "none.npz", {"a": np.zeros(3)}))
    objects = {**arrays, "params/x": np.array([{}], dtype=object)}
    with pytest.raises(ValueError, match="holds objects"):
        open_checkpoint(save(tmp_path / "objects.npz", objects))


@pytest.mark.parametrize("prefix", ["params/", ""])
def test_the_state_of_an_optimizer_is_passed_over(
    prefix: str, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """What big_vision's trainer saves: params, opt and extra."""
    renamed = {
        key.replace("params/", prefix) if key != ARCHITECTURE_KEY else key: value
        for key, value in arrays.items()
    }
    moments = {
        f"opt/0/{moment}/{key.removeprefix('params/')}": np.float32(np.nan) * value
        for moment in ("mu", "nu")
        for key, value in arrays.items()
        if key != ARCHITECTURE_KEY
    }
    others = {
        **moments,
        "opt/0/count": np.array(7),
        "extra/train_loader/0": np.array([{}], object),
    }
    checkpoint = open_checkpoint(save(tmp_path / "trained.npz", {**others, **renamed}))
    assert (
        "arrays that are no parameters are left out, as the state of an optimizer: "
        f"opt ({len(moments) + 1}), extra (1)"
    ) in checkpoint.notes
    assert_same_weights(checkpoint, from_model(random_task(**KINDS["3b"]).backbone))


def test_an_array_with_and_without_the_prefix(
    arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = save(tmp_path / "a.npz", {**arrays, "img/head/bias": np.ones(24, "f4")})
    with pytest.raises(ValueError, match="params/img/head/bias and img/head/bias"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("params/llm/layers/mlp/linear", np.zeros((2, 40, 24), "int8"), "linear int8"),
        ("params/img/head/bias", np.zeros(24, bool), "head/bias bool"),
        ("params/img/head/bias", np.zeros(24, "complex64"), "head/bias complex64"),
        ("params/img/pos_embedding", np.zeros((1, 0, 16), "f4"), "pos_embedding"),
        (
            "params/llm/layers/attn/q_einsum/w",
            np.zeros((2**20, 1, 1, 1), "V0"),
            "q_einsum/w",
        ),
    ],
)
def test_arrays_that_are_no_weights(
    key: str,
    value: np.ndarray,
    message: str,
    arrays: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    arrays.pop(ARCHITECTURE_KEY, None)
    with pytest.raises(ValueError, match=message):
        open_checkpoint(save(tmp_path / "a.npz", {**arrays, key: value}))


@pytest.mark.parametrize("dtype", ["float64", ">f4", ">f8"])
def test_other_floats_are_read_as_float32(
    dtype: str, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    cast = {
        key: value if key == ARCHITECTURE_KEY else value.astype(dtype)
        for key, value in arrays.items()
    }
    checkpoint = open_checkpoint(save(tmp_path / "a.npz", cast))
    assert_same_weights(checkpoint, from_model(random_task(**KINDS["3b"]).backbone))
    written = convert(tmp_path / "a.npz", tmp_path / "b.npz", "npz")
    assert open_checkpoint(written).stored_types == ["float32"]


def test_a_wrong_checksum_is_told_on_loading(
    arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = save(tmp_path / "a.npz", arrays)
    data = bytearray(path.read_bytes())
    layer = arrays["params/llm/layers/mlp/linear"][1].tobytes()
    data[data.index(layer)] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="checksum of params/llm/layers/mlp/linear"):
        load_backbone(path)


def test_numbers_that_shapes_tell_are_not_written(tmp_path: Path) -> None:
    usual = {"sliding_window": 4096, "query_pre_attn_scalar": 8}
    with np.load(write_model(random_task(**usual), tmp_path / "a.npz", "npz")) as file:
        assert ARCHITECTURE_KEY not in file
    task = random_task(**{**usual, "query_pre_attn_scalar": 6})
    with np.load(write_model(task, tmp_path / "b.npz", "npz")) as file:
        noted = json.loads(file[ARCHITECTURE_KEY].tobytes())
    assert noted["text_decoder"]["query_pre_attn_scalar"] == 6
