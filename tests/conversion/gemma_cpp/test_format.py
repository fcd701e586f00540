"""gemma.cpp's files, read and written by hand with `struct` from their description."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from keras import ops
from sentencepiece import sentencepiece_model_pb2

from keras_pg2.cli.describing import describe
from keras_pg2.conversion.convert import write_checkpoint
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import from_model, write_model
from keras_pg2.conversion.gemma_cpp.blob_store import read_directory
from keras_pg2.conversion.gemma_cpp.sfp import decode_sfp, encode_sfp
from keras_pg2.conversion.gemma_cpp.vocabulary import find_end_tokens, read_vocabulary
from keras_pg2.files.opened_files import OpenedFile
from tests.support.blob_files import contents, entry, read_blobs, write_blobs
from tests.support.released_kinds import KINDS, assert_same_weights
from tests.support.tiny_models import random_task

HEADS, KEYS, HEAD_DIM, WIDTH = 4, 2, 8, 24


def magnitude(code: int) -> float:
    """A switching float as the two bytes of a bfloat16."""
    if code == 0:
        return 0.0
    high = 0x34 + (code >> 3) if code < 64 else 0x38 + (code >> 4)
    low = (code << 5) & 255 if code < 64 else (code << 4) & 255
    return struct.unpack("<f", bytes([0, 0, low, high]))[0]


MAGNITUDES = np.array([magnitude(code) for code in range(128)])


def matrices(path: Path) -> dict[str, np.ndarray]:
    """Every matrix as float32, by our own reading of the format."""
    blobs = read_blobs(path)
    result = {}
    for name, (kind, shape, scale) in contents(blobs).items():
        dtype = {1: np.float32, 2: ml_dtypes.bfloat16, 3: np.uint8}[kind]
        value = np.frombuffer(blobs[name], dtype).reshape(shape)
        if kind == 3:
            signs = np.where(value >= 128, -1.0, 1.0)
            value = signs * MAGNITUDES[value % 128] * scale
        result[name] = value.astype(np.float32)
    return result


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[dict[str, np.ndarray], dict]]:
    def write(dtype: str, **text: object) -> tuple[dict[str, np.ndarray], dict]:
        task = random_task(vision_layers=2, num_layers=2, **text)
        path = write_model(task, tmp_path / "model.sbs", "sbs", dtype)
        weights = {v.path: ops.convert_to_numpy(v) for v in task.backbone.variables}
        return matrices(path), weights

    return write


def test_layout_by_hand(written: Callable) -> None:
    stored, weights = written("float32")
    block = "text_decoder/block_1/"
    q, k, v, o = (
        weights[f"{block}attention/{name}_dense/kernel"]
        for name in ("query", "key", "value", "output")
    )
    np.testing.assert_array_equal(stored["qkv1_w_1"], q.T)
    for head in range(KEYS):
        rows = slice(2 * head * HEAD_DIM, (2 * head + 1) * HEAD_DIM)
        columns = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
        np.testing.assert_array_equal(stored["qkv2_w_1"][rows], k[:, columns].T)
        rows = slice((2 * head + 1) * HEAD_DIM, (2 * head + 2) * HEAD_DIM)
        np.testing.assert_array_equal(stored["qkv2_w_1"][rows], v[:, columns].T)
    np.testing.assert_array_equal(stored["att_w_1"], o.T)
    for theirs, ours in (("gating1", "gate"), ("gating2", "up"), ("linear", "down")):
        kernel = weights[f"{block}mlp/{ours}_dense/kernel"]
        np.testing.assert_array_equal(stored[f"{theirs}_w_1"], kernel.T)
    norms = {"pre_att": "pre_attention", "post_att": "post_attention"}
    norms |= {"pre_ff": "pre_mlp", "post_ff": "post_mlp"}
    for theirs, ours in norms.items():
        scale = weights[f"{block}{ours}_norm/scale"]
        np.testing.assert_array_equal(stored[f"{theirs}_ns_1"][0], scale)
    table = weights["text_decoder/token_embedding/embeddings"]
    assert stored["c_embedding"].shape == (1600, WIDTH)
    np.testing.assert_array_equal(stored["c_embedding"][:1552], table)
    np.testing.assert_allclose(
        stored["c_embedding"][1552:], np.tile(table.mean(axis=0), (48, 1)), atol=1e-6
    )


def test_layout_of_the_image_encoder_by_hand(written: Callable) -> None:
    stored, weights = written("float32")
    patches = weights["vision_encoder/patch_embedding/kernel"]
    expected = patches.transpose(3, 0, 1, 2).reshape(16, -1)
    np.testing.assert_array_equal(stored["img_emb_kernel"], expected)
    kernel = weights["vision_projection/kernel"]
    np.testing.assert_array_equal(stored["img_head_kernel"], kernel.T)
    attention = "vision_encoder/block_1/attention/"
    for head in range(2):
        for i, name in enumerate(("query", "key", "value")):
            columns = slice(8 * head, 8 * head + 8)
            rows = slice((3 * head + i) * 8, (3 * head + i + 1) * 8)
            kernel = weights[f"{attention}{name}_dense/kernel"][:, columns]
            np.testing.assert_array_equal(stored["qkv_ein_w_1"][rows], kernel.T)
            bias = weights[f"{attention}{name}_dense/bias"][columns]
            np.testing.assert_array_equal(stored["qkv_ein_b_1"][3 * head + i], bias)


def test_types(tmp_path: Path) -> None:
    path = write_model(
        random_task(vision_layers=2, num_layers=2), tmp_path / "model.sbs", "sbs", "sfp"
    )
    kinds = {name: kind for name, (kind, *_) in contents(read_blobs(path)).items()}
    assert {kinds[name] for name in ("qkv1_w_0", "att_w_1", "linear_w_0")} == {3}
    assert {kinds[name] for name in ("c_embedding", "attn_out_w_0", "ln_0_bias_1")} == {
        2
    }
    assert {kinds[name] for name in ("img_pos_emb", "qkv_ein_b_0", "linear_1_b_1")} == {
        1
    }
    assert all(len(name) <= 16 for name in kinds)


def test_8_bit_numbers_are_the_nearest(written: Callable) -> None:
    stored, weights = written("sfp")
    kernel = weights["text_decoder/block_0/mlp/gate_dense/kernel"].T
    scale = max(1.0, np.abs(kernel).max() / 1.875)
    known = np.concatenate([-MAGNITUDES[::-1], MAGNITUDES]) * np.float32(scale)
    nearest = np.abs(kernel[..., None] - known).min(axis=-1)
    error = np.abs(stored["gating1_w_0"] - kernel)
    np.testing.assert_allclose(error, nearest, atol=1e-6)


def test_configuration_words(tmp_path: Path) -> None:
    task = random_task(num_layers=2, query_pre_attn_scalar=6)
    path = write_model(task, tmp_path / "model.sbs", "sbs")
    config = read_blobs(path)["config"]
    words = struct.unpack(f"<{len(config) // 4}I", config)
    assert words[0] == len(words) - 1
    name_words = words[2]
    fields = words[3 + name_words :]
    # model, wrapping, weight type, layers, width, vocabulary, longest sequence, unused
    assert fields[:8] == (10, 3, 2, 2, WIDTH, 1600, 8192, 0)
    caps = struct.unpack("<2f", struct.pack("<2I", *fields[8:10]))
    assert caps == (50.0, 30.0)
    # absolute positions, unused, scale by D / N, layers of 15 fields
    assert fields[10:15] == (0, 0, 1, 2, 15)
    assert fields[15:30] == (
        WIDTH,
        0,
        40,
        HEADS,
        KEYS,
        HEAD_DIM,
        *[0] * 4,
        1,
        0,
        0,
        0,
        0,
    )
    assert fields[46 : 46 + 3] == (2, 4, 8192)  # windows
    assert fields[-3:] == (1, 1, 0)  # two ends of an answer, no names


def vocabulary(*pieces: str, end: str = "<eos>") -> bytes:
    model = sentencepiece_model_pb2.ModelProto()
    for piece, kind in (("<pad>", 3), ("<eos>", 3), ("<bos>", 3), ("<unk>", 2)):
        model.pieces.add(piece=piece, type=kind)
    for piece in pieces:
        model.pieces.add(piece=piece, type=4)
    model.trainer_spec.model_type = 2
    model.trainer_spec.eos_piece, model.trainer_spec.unk_piece = end, "<unk>"
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (("a", "b"), (1, 1)),
        (("a", "<end_of_turn>"), (1, 5)),
        ([*map(str, range(103)), "<end_of_turn>"], (1, 107)),
    ],
)
def test_ends_of_an_answer(pieces: tuple[str, ...], expected: tuple[int, int]) -> None:
    """Gemma's own vocabulary has <end_of_turn> at 107."""
    assert find_end_tokens(read_vocabulary(vocabulary(*pieces), "x")) == expected


def test_a_vocabulary_without_an_end(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a vocabulary with an end token"):
        find_end_tokens(read_vocabulary(vocabulary("a", end="</s>"), "x"))
    task = random_task(num_layers=2)
    checkpoint = from_model(task.backbone, task.preprocessor)
    broken = replace(checkpoint.preprocessing, tokenizer=b"pieces")
    with pytest.raises(ValueError, match="Expected a SentencePiece model"):
        write_checkpoint(
            replace(checkpoint, preprocessing=broken), tmp_path / "a.sbs", "sbs"
        )
    assert not list(tmp_path.iterdir())


def test_padding_is_told_and_taken_off_again(tmp_path: Path) -> None:
    task = random_task(num_layers=2)
    with pytest.warns(UserWarning, match="Received: 1552, so .* has 1600 rows"):
        path = write_model(task, tmp_path / "model.sbs", "sbs", "float32")
    checkpoint = open_checkpoint(path)
    assert checkpoint.architecture["text_decoder"]["vocabulary_size"] == 1552
    assert checkpoint.notes == (
        "the last 48 rows of the embedding are left out: the vocabulary of 1552 pieces "
        "is padded to 1600 for gemma.cpp",
    )
    assert_same_weights(checkpoint, from_model(task.backbone))
    # Files that were written without padding, or have no vocabulary, are as they are.
    blobs = read_blobs(path)
    without = {name: blob for name, blob in blobs.items() if name != "tokenizer"}
    other = open_checkpoint(write_blobs(tmp_path / "without.sbs", without))
    assert other.architecture["text_decoder"]["vocabulary_size"] == 1600
    assert not other.notes


def test_a_table_that_fits_is_not_padded(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    task = random_task(vocabulary_size=1600)
    path = write_model(task, tmp_path / "model.sbs", "sbs", "float32")
    assert not [w for w in recwarn if "multiple" in str(w.message)]
    assert contents(read_blobs(path))["c_embedding"][1] == (1600, WIDTH)


def test_types_of_8_bits_are_named(tmp_path: Path) -> None:
    path = write_model(random_task(num_layers=2), tmp_path / "model.sbs", "sbs", "sfp")
    assert open_checkpoint(path).stored_types == ["bfloat16", "float32", "sfp"]
    assert describe(str(path))["dtype"] == "bfloat16, float32, sfp"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [1, 2])
def test_joined_matrices_are_read(kind: str, version: int, tmp_path: Path) -> None:
    task = random_task(**KINDS[kind])
    blobs = read_blobs(write_model(task, tmp_path / "split.sbs", "sbs", "float32"))
    text = task.backbone.text_decoder
    heads, width, head_dim = text.num_query_heads, WIDTH, HEAD_DIM
    table = {name: shape for name, (_, shape, _) in contents(blobs).items()}
    for i in range(text.num_layers):
        blobs[f"qkv_ein_{i}"] = blobs.pop(f"qkv1_w_{i}") + blobs.pop(f"qkv2_w_{i}")
        rows = table.pop(f"qkv1_w_{i}")[0] + table.pop(f"qkv2_w_{i}")[0]
        table[f"qkv_ein_{i}"] = (rows, width)
        blobs[f"gating_ein_{i}"] = blobs.pop(f"gating1_w_{i}") + blobs.pop(
            f"gating2_w_{i}"
        )
        rows = table.pop(f"gating1_w_{i}")[0] + table.pop(f"gating2_w_{i}")[0]
        table[f"gating_ein_{i}"] = (rows, width)
        output = np.frombuffer(blobs.pop(f"att_w_{i}"), np.float32)
        output = output.reshape(width, heads, head_dim).transpose(1, 0, 2)
        blobs[f"att_ein_{i}"] = np.ascontiguousarray(output).tobytes()
        del table[f"att_w_{i}"]
        table[f"att_ein_{i}"] = (heads * width, head_dim)
    blobs["toc"] = b"".join(entry(name, shape) for name, shape in table.items())
    path = write_blobs(tmp_path / "joined.sbs", blobs, version=version)
    assert_same_weights(open_checkpoint(path), from_model(task.backbone))


def test_all_codes() -> None:
    codes = np.arange(256).astype(np.uint8)
    values = decode_sfp(codes, 1.0)
    np.testing.assert_array_equal(values[:128], MAGNITUDES.astype("float32"))
    np.testing.assert_array_equal(values[128:], -values[:128])
    encoded, scale = encode_sfp(values)
    assert scale == 1
    np.testing.assert_array_equal(decode_sfp(encoded, 1.0), values)
    assert MAGNITUDES[127] == 1.875


def test_rounding_to_even_codes() -> None:
    ties = ((MAGNITUDES[1:] + MAGNITUDES[:-1]) / 2).astype(np.float32)
    codes, _ = encode_sfp(ties)
    assert not (codes % 2).any()
    above, _ = encode_sfp(np.nextafter(ties, np.float32(2)))
    below, _ = encode_sfp(np.nextafter(ties, np.float32(-2)))
    np.testing.assert_array_equal(above, np.arange(1, 128))
    np.testing.assert_array_equal(below, np.arange(127))


def test_large_numbers_are_scaled() -> None:
    codes, scale = encode_sfp(np.array([7.5, -3.75, 0.0], "float32"))
    assert scale == 4
    np.testing.assert_array_equal(decode_sfp(codes, scale), [7.5, -3.75, 0.0])


def test_damage(tmp_path: Path) -> None:
    task = random_task(num_layers=2)
    path = write_model(task, tmp_path / "model.sbs", "sbs")
    data, blobs = path.read_bytes(), read_blobs(path)
    cut = tmp_path / "cut.sbs"
    cut.write_bytes(data[:-100])
    with pytest.raises(ValueError, match="cut off or damaged"):
        open_checkpoint(cut)
    cut.write_bytes(b"PK" + data[2:])
    with pytest.raises(ValueError, match="does not begin as one"):
        open_checkpoint(cut)
    fewer = {name: blob for name, blob in blobs.items() if name != "att_w_1"}
    with pytest.raises(ValueError, match=r"bytes of att_w_1 .* Received: none"):
        open_checkpoint(write_blobs(tmp_path / "fewer.sbs", fewer))
    more = {**blobs, "x": b"1234"}
    more["toc"] += entry("x", (1, 1))
    with pytest.raises(ValueError, match="not of this model: x"):
        open_checkpoint(write_blobs(tmp_path / "more.sbs", more))
    other = {**blobs, "x": b"1234", "toc": blobs["toc"] + entry("x", (1, 1), 7)}
    with pytest.raises(ValueError, match="type 7 for x"):
        open_checkpoint(write_blobs(tmp_path / "other.sbs", other))
    without = {name: blob for name, blob in blobs.items() if name != "config"}
    with pytest.raises(ValueError, match="without config"):
        open_checkpoint(write_blobs(tmp_path / "without.sbs", without))
    assert read_directory(OpenedFile(path)).keys() == blobs.keys()


def test_a_scale_gemma_cpp_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="query_pre_attn_scalar of head_dim"):
        write_model(random_task(query_pre_attn_scalar=7), tmp_path / "m.sbs", "sbs")
    assert not list(tmp_path.iterdir())
