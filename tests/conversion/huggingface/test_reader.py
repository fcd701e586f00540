from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_pg2.checks.vocabularies import parse_sentencepiece
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.huggingface.reader import is_huggingface_directory
from keras_pg2.conversion.huggingface.tokenizer.to_json import to_tokenizer_json
from keras_pg2.tasks.loading.loading import load_parts
from tests.support.loaded import load_backbone
from tests.support.tiny_vocabulary import SENTENCES, gemma_like_proto

# The lists of keys and shapes are in conftest.py.
EMBEDDINGS = "language_model.model.embed_tokens.weight"
LAYOUTS: dict[str, Callable[[str], str]] = {
    "hub": lambda key: key,
    "transformers_4_52": lambda key: (
        "model." + key.replace("language_model.model.", "language_model.")
    ),
    "without_vision_model": lambda key: (
        "model."
        + key.replace("language_model.model.", "language_model.").replace(
            "vision_tower.vision_model.", "vision_tower."
        )
    ),
    "saved_by_transformers_5": lambda key: key.replace(
        "vision_tower.vision_model.", "vision_tower."
    ),
}
Tensors = dict[str, np.ndarray]
Write = Callable[..., Path]


def values(backbone: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: keras.ops.convert_to_numpy(v) for v in backbone.variables}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_keys(layout: str, tensors: Tensors, write: Write) -> None:
    renamed = {LAYOUTS[layout](key): value for key, value in tensors.items()}
    loaded = values(load_backbone(write(renamed)))
    kernel = loaded["text_decoder/block_1/attention/query_dense/kernel"]
    theirs = tensors["language_model.model.layers.1.self_attn.q_proj.weight"]
    np.testing.assert_array_equal(kernel, theirs.T)
    # The mean square of all weights together: every tensor arrived once.
    expected = {**tensors, EMBEDDINGS: tensors[EMBEDDINGS][:40]}
    assert sum(v.size for v in loaded.values()) == sum(
        v.size for v in expected.values()
    )
    np.testing.assert_allclose(
        sum(np.square(v, dtype=float).sum() for v in loaded.values()),
        sum(np.square(v, dtype=float).sum() for v in expected.values()),
        rtol=1e-6,
    )


def test_norms_of_gemma_2_by_name(tensors: Tensors, write: Write) -> None:
    loaded = values(load_backbone(write(tensors)))
    names = {
        "pre_attention_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "pre_mlp_norm": "pre_feedforward_layernorm",
        "post_mlp_norm": "post_feedforward_layernorm",
    }
    for ours, theirs in names.items():
        np.testing.assert_array_equal(
            loaded[f"text_decoder/block_0/{ours}/scale"],
            tensors[f"language_model.model.layers.0.{theirs}.weight"],
        )


def test_rows_of_the_image_token_are_cut(tensors: Tensors, write: Write) -> None:
    backbone = load_backbone(write(tensors))
    assert backbone.vocabulary_size == 40
    table = values(backbone)["text_decoder/token_embedding/embeddings"]
    np.testing.assert_array_equal(table, tensors[EMBEDDINGS][:40])


def test_table_without_extra_rows(tensors: Tensors, write: Write) -> None:
    tensors[EMBEDDINGS] = tensors[EMBEDDINGS][:40].copy()
    assert load_backbone(write(tensors)).vocabulary_size == 40


def test_shards(tensors: Tensors, write: Write) -> None:
    loaded = values(load_backbone(write(tensors, num_shards=3)))
    np.testing.assert_array_equal(
        loaded["vision_projection/kernel"],
        tensors["multi_modal_projector.linear.weight"].T,
    )


@pytest.mark.parametrize("file_type", [ml_dtypes.bfloat16, np.float16])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_types(file_type: type, dtype: str, tensors: Tensors, write: Write) -> None:
    cast = {key: value.astype(file_type) for key, value in tensors.items()}
    backbone = load_backbone(write(cast), dtype=dtype)
    kernel = backbone.vision_projection.kernel
    assert kernel.dtype == dtype
    expected = cast["multi_modal_projector.linear.weight"].T.astype("float32")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(kernel).astype("float32"), expected, rtol=2**-8
    )


def test_tied_output_and_constant_buffers_are_left_out(
    tensors: Tensors, write: Write
) -> None:
    tensors["lm_head.weight"] = tensors[EMBEDDINGS].copy()
    tensors["vision_tower.vision_model.embeddings.position_ids"] = np.arange(4)
    tensors["vision_tower.vision_model.head.probe"] = np.zeros(3, "float32")
    load_backbone(write(tensors))


def test_output_of_its_own_is_an_error(tensors: Tensors, write: Write) -> None:
    tensors["language_model.lm_head.weight"] = tensors[EMBEDDINGS] + 1
    with pytest.raises(ValueError, match="trained untied"):
        load_backbone(write(tensors))


def test_overrides(tensors: Tensors, write: Write) -> None:
    directory = write(tensors)
    assert load_backbone(directory).text_decoder.sliding_window == 4096
    changed = load_backbone(directory, sliding_window=None, final_logit_soft_cap=7.0)
    assert changed.text_decoder.sliding_window is None
    assert changed.text_decoder.final_logit_soft_cap == 7.0
    with pytest.raises(TypeError, match="received slide"):
        load_backbone(directory, slide=3)


def test_without_weights(tensors: Tensors, write: Write) -> None:
    directory = write(tensors)
    (directory / "model.safetensors").unlink()
    assert load_backbone(directory, load_weights=False).vocabulary_size == 40


def test_missing_and_unexpected_keys(tensors: Tensors, write: Write) -> None:
    removed = "language_model.model.layers.1.pre_feedforward_layernorm.weight"
    del tensors[removed]
    tensors["language_model.model.layers.2.input_layernorm.weight"] = np.zeros(12)
    with pytest.raises(ValueError, match=re.escape(removed)) as error:
        load_backbone(write(tensors))
    assert "layers.2.input_layernorm" in str(error.value)


def test_wrong_shape(tensors: Tensors, write: Write) -> None:
    key = "language_model.model.layers.0.mlp.up_proj.weight"
    tensors[key] = np.zeros((21, 12), "float32")
    with pytest.raises(ValueError, match=r"up_proj.weight \(21, 12\)"):
        load_backbone(write(tensors))


def test_too_few_embedding_rows(tensors: Tensors, write: Write) -> None:
    tensors[EMBEDDINGS] = tensors[EMBEDDINGS][:39].copy()
    with pytest.raises(ValueError, match=r"embed_tokens.weight \(39, 12\)"):
        load_backbone(write(tensors))


def test_same_tensor_under_two_names(tensors: Tensors, write: Write) -> None:
    tensors["model.language_model.norm.weight"] = np.zeros(12, "float32")
    with pytest.raises(ValueError, match="received two"):
        load_backbone(write(tensors))


def test_weights_of_two_models(tensors: Tensors, write: Write) -> None:
    both = {
        f"{name}.{key}": v
        for name in ("student", "teacher")
        for key, v in tensors.items()
    }
    with pytest.raises(ValueError, match=r"two, whose keys begin with 'student\.'"):
        load_backbone(write(both))


def test_float64_beyond_float32(tensors: Tensors, write: Write) -> None:
    key = "language_model.model.norm.weight"
    tensors[key] = tensors[key].astype("float64") * 1e300
    with pytest.raises(ValueError, match=f"numbers that float32 can hold.*{key}"):
        load_backbone(write(tensors))


def test_a_file_of_another_name(tensors: Tensors, write: Write) -> None:
    directory = write(tensors)
    config = json.loads((directory / "config.json").read_text())
    config["transformers_weights"] = "a.safetensors"
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"transformers_weights 'a\.safetensors'"):
        load_backbone(directory)


def test_integer_weights(tensors: Tensors, write: Write) -> None:
    key = "language_model.model.layers.0.mlp.up_proj.weight"
    tensors[key] = tensors[key].astype("int8")
    with pytest.raises(ValueError, match=r"up_proj\.weight I8"):
        load_backbone(write(tensors))


def test_missing_shard(tensors: Tensors, write: Write) -> None:
    directory = write(tensors, num_shards=3)
    (directory / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="missing: model-00002-of-00003"):
        load_backbone(directory)


@pytest.mark.parametrize("size", [0, 5, 500, -4])
def test_file_cut_off(size: int, tensors: Tensors, write: Write) -> None:
    directory = write(tensors)
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"model.safetensors \(\d+ bytes\) is cut off"):
        load_backbone(directory)


def test_git_lfs_pointer(tensors: Tensors, write: Write) -> None:
    directory = write(tensors)
    (directory / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    with pytest.raises(ValueError, match="git lfs pull"):
        load_backbone(directory)


def test_no_weights(tensors: Tensors, write: Write) -> None:
    directory = write(tensors)
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"pytorch_model\.bin, .*not read"):
        load_backbone(directory)


def test_directory_without_config(tmp_path: Path) -> None:
    assert not is_huggingface_directory(tmp_path)
    with pytest.raises(FileNotFoundError, match="the whole repository"):
        load_backbone(tmp_path)
    config = {"base_model_name_or_path": "google/paligemma2-3b-pt-224"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(FileNotFoundError, match="a PEFT adapter") as error:
        open_checkpoint(tmp_path)
    assert "'google/paligemma2-3b-pt-224'" in str(error.value)


def test_broken_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": ')
    with pytest.raises(ValueError, match=r"Expected JSON in .*config.json"):
        load_backbone(tmp_path)


def test_is_huggingface_directory(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "paligemma"}))
    assert is_huggingface_directory(tmp_path)
    assert is_huggingface_directory(str(tmp_path))
    path.write_text(json.dumps({"registered_name": "keras_pg2>PaliGemma2Backbone"}))
    assert not is_huggingface_directory(tmp_path)
    assert not is_huggingface_directory(tmp_path / "nowhere")


def write_with_tokenizer(directory: Path, num_rows: int, image_token: int) -> Path:
    text = {"model_type": "gemma2", "vocab_size": num_rows, "num_hidden_layers": 1}
    text |= {"hidden_size": 16, "intermediate_size": 16, "head_dim": 4}
    vision = {"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14}
    vision |= {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}
    config = {
        "model_type": "paligemma",
        "image_token_index": image_token,
        "text_config": text,
        "vision_config": vision,
    }
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.model").write_bytes(gemma_like_proto())
    return directory


def test_preprocessor(tmp_path: Path) -> None:
    directory = str(write_with_tokenizer(tmp_path, 1616, 1552))
    preprocessor = load_parts(directory, load_weights=False)[1]
    assert preprocessor.sequence_length == 256
    assert preprocessor.tokenizer.vocabulary_size() == 1552
    assert tuple(preprocessor.image_converter.image_size) == (28, 28)
    changed = load_parts(directory, load_weights=False, sequence_length=7)[1]
    assert changed.sequence_length == 7


def test_tokenizer_of_another_model(tmp_path: Path) -> None:
    write_with_tokenizer(tmp_path, 1536, 1500)
    with pytest.raises(ValueError, match="tokenizer of at most 1500 pieces"):
        load_parts(str(tmp_path), load_weights=False)


def test_a_vocabulary_that_sentencepiece_refuses_is_named(tmp_path: Path) -> None:
    write_with_tokenizer(tmp_path, 1616, 1552)
    path = tmp_path / "tokenizer.model"
    model = parse_sentencepiece(path.read_bytes())
    model.pieces[400].piece = model.pieces[401].piece
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"is already defined|cannot be read") as error:
        load_parts(str(tmp_path), load_weights=False)
    assert str(tmp_path) in str(error.value)


def test_tokenizer_json_alone_is_the_same_tokenizer(tmp_path: Path) -> None:
    write_with_tokenizer(tmp_path, 1616, 1552)
    expected = load_parts(str(tmp_path), load_weights=False)[1].tokenizer
    content = to_tokenizer_json((tmp_path / "tokenizer.model").read_bytes())
    (tmp_path / "tokenizer.model").unlink()
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = load_parts(str(tmp_path), load_weights=False)[1].tokenizer
    for text in SENTENCES:
        assert tokenizer.tokenize(text).tolist() == expected.tokenize(text).tolist()
    assert tokenizer.get_vocabulary() == expected.get_vocabulary()


def test_tokenizer_json_of_another_kind(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    write_with_tokenizer(directory, 1616, 1552)
    given = (directory / "tokenizer.model").rename(tmp_path / "given.model")
    with pytest.warns(UserWarning, match="Expected the vocabulary"):
        assert load_parts(str(directory), load_weights=False)[1] is None
    (directory / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}')
    with pytest.raises(ValueError, match="WordPiece"):
        load_parts(str(directory), load_weights=False)
    # As errors advise.
    preprocessor = load_parts(str(directory), load_weights=False, tokenizer=given)[1]
    assert preprocessor.tokenizer.proto == given.read_bytes()


def test_index_that_contradicts_the_shards(tensors: Tensors, write: Write) -> None:
    directory = write(tensors, num_shards=2)
    path = directory / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    first, second = sorted(set(index["weight_map"].values()))
    swapped = {first: f"./{second}", second: f"./{first}"}
    index["weight_map"] = {k: swapped[name] for k, name in index["weight_map"].items()}
    index["weight_map"]["lm_head.weight"] = first  # Tied, so it is in no file.
    path.write_text(json.dumps(index))
    kernel = values(load_backbone(directory))["vision_projection/kernel"]
    expected = tensors["multi_modal_projector.linear.weight"].T
    np.testing.assert_array_equal(kernel, expected)


def test_a_whole_file_is_taken_before_shards(tensors: Tensors, write: Write) -> None:
    other = {key: value + 1 for key, value in tensors.items()}
    write(other, num_shards=2)
    directory = write(tensors)
    kernel = values(load_backbone(directory))["vision_projection/kernel"]
    expected = tensors["multi_modal_projector.linear.weight"].T
    np.testing.assert_array_equal(kernel, expected)
    for path in directory.glob("model-*"):  # The index is stale then.
        path.unlink()
    load_backbone(directory)


@pytest.mark.parametrize("file_type", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(
    file_type: type, value: float, tensors: Tensors, write: Write
) -> None:
    key = "language_model.model.layers.1.mlp.up_proj.weight"
    cast = {name: tensor.astype(file_type) for name, tensor in tensors.items()}
    cast[key][3, 4] = value
    with pytest.raises(ValueError, match=f"NaN or infinity in {key}"):
        load_backbone(write(cast))
    # Keras is left in order: the next model is built.
    cast[key][3, 4] = 0
    load_backbone(write(cast))


def test_too_large_for_the_type_asked_for(tensors: Tensors, write: Write) -> None:
    tensors["multi_modal_projector.linear.weight"][0, 0] = 1e5
    with pytest.raises(ValueError, match="numbers that float16 can hold"):
        load_backbone(write(tensors), dtype="float16")


def test_tensor_in_two_files(tensors: Tensors, write: Write) -> None:
    directory = write(tensors, num_shards=2)
    first = dict(list(tensors.items())[:1])
    index_path = directory / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    index["weight_map"]["another"] = "extra.safetensors"
    index_path.write_text(json.dumps(index))
    save_file(first, directory / "extra.safetensors")
    with pytest.raises(ValueError, match="is in two"):
        load_backbone(directory)
