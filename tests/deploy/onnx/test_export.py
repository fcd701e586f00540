"""ONNX files against the model they came from, which computes without a cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from keras import ops

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.codecs.grammars import Choices, LocationGrammar
from keras_pg2.datasets import scenes
from keras_pg2.deploy import ONNXModel, export_onnx
from keras_pg2.deploy.comparison import model_logits
from keras_pg2.deploy.onnx import export as onnx_export
from keras_pg2.deploy.onnx.quantization import block_quantize, row_quantize
from tests.support.broken_copies import copy_with_cut, copy_without
from tests.support.tiny_models import random_task
from tests.support.without_keras import generate_without_keras

# Blocks of 32 that do not divide 40; N * H = 32.
SIZES = {"vision_layers": 2, "num_layers": 2, "hidden_dim": 64, "intermediate_dim": 40}
# That the export's own comparison has the model compiled for.
LENGTH = 16


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    """Caps bite, a window of 4, grouped heads, and LoRA that changes the answers."""
    task = random_task(**SIZES)
    task.enable_lora(2, targets=["query_dense", "vision_projection"])
    rng = np.random.default_rng(2)
    for weight in task.trainable_weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return task


@pytest.fixture(scope="module")
def directory(task, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model"
    comparison = export_onnx(task, path)
    assert comparison.num_same_choice == comparison.num_tokens
    assert comparison.largest_difference < 2e-4 * comparison.largest_logit
    return path


@pytest.fixture(scope="module")
def runner(directory) -> ONNXModel:
    return ONNXModel(directory)


def random_picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (40, 33, 3)).astype("uint8")


@pytest.mark.every_backend
def test_logits_of_prefill_and_decoding_are_the_models(task, runner):
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (1, 28, 28, 3)).astype("float32")
    token_ids = rng.integers(4, 1552, 11)
    wanted = model_logits(task.backbone, images, token_ids, 4, LENGTH)
    # The network that is copied is one whose hard parts matter.
    assert np.abs(wanted).max() > 20
    window = task.backbone.text_decoder.sliding_window
    task.backbone.text_decoder.sliding_window = None
    without = model_logits(task.backbone, images, token_ids, 4, LENGTH)
    task.backbone.text_decoder.sliding_window = window
    assert np.abs(without - wanted).max() > 0.1

    features = runner.encode_pixels(images)
    logits, state = runner.prefill(features, token_ids[:4].tolist())
    rows = [logits]
    for token in token_ids[4:].tolist():
        logits, state = runner.decode(token, state)
        rows.append(logits)
    np.testing.assert_allclose(rows, wanted, atol=2e-3)


def test_padded_rows_of_a_batch_answer_as_alone(runner):
    """As transformers.js feeds them: padding before, positions from 1."""
    rng = np.random.default_rng(1)
    features = rng.normal(0, 1, (2, 4, 64)).astype(np.float32)
    prompts, answer = [[7, 8, 9, 10, 11], [5, 6]], [21, 22, 23, 24, 25]
    mask, embeddings = np.zeros((2, 9), np.int64), np.full((2, 9, 64), 1e3, np.float32)
    for row, (prompt, image) in enumerate(zip(prompts, features)):
        start = 9 - 4 - len(prompt)
        mask[row, start:] = 1
        embeddings[row, start : start + 4] = image
        embeddings[row, start + 4 :] = runner._embed(prompt)[0]

    def inputs(mask, embeddings, caches):
        positions = mask.cumsum(axis=1)[:, -embeddings.shape[1] :]
        names = ("inputs_embeds", "attention_mask", "position_ids")
        return {**dict(zip(names, (embeddings, mask, positions))), **caches}

    names = [output.name for output in runner._decoder.get_outputs()]
    empty = np.zeros((2, 2, 0, 8), np.float32)
    caches = {
        f"past_key_values.{i}.{kind}": empty
        for i in range(2)
        for kind in ("key", "value")
    }
    logits, *after = runner._decoder.run(names, inputs(mask, embeddings, caches))
    # The answer's tokens at once: each sees those before it and not those after.
    caches = dict(zip(caches, after))
    mask = np.concatenate([mask, np.ones((2, 5), np.int64)], axis=1)
    embedded = np.repeat(runner._embed(answer), 2, axis=0)
    last = runner._decoder.run(names, inputs(mask, embedded, caches))[0]
    for row, prompt in enumerate(prompts):
        wanted, state = runner.prefill(features[row : row + 1], prompt)
        np.testing.assert_allclose(logits[row, -1], wanted, atol=1e-3)
        for token in answer:
            wanted, state = runner.decode(token, state)
        np.testing.assert_allclose(last[row, -1], wanted, atol=1e-3)


def test_texts_are_the_models(task, runner):
    for seed, prompt in enumerate(["ocr\n", "Hund"]):
        picture = random_picture(seed)
        wanted = task.generate(
            {"images": picture, "prompts": prompt}, strip_prompt=True, max_new_tokens=6
        )
        assert runner.generate(picture, prompt, max_new_tokens=6) == wanted


def test_answers_are_held_to_a_grammar_as_the_models(task, runner):
    boxes = LocationGrammar(("cat", "a dog"), "never")
    for seed, grammar in enumerate([boxes, Choices(["cat", "a dog"])]):
        picture = random_picture(seed)
        wanted = task.generate(
            {"images": picture, "prompts": "x"},
            strip_prompt=True,
            max_new_tokens=18,
            constraint=grammar,
        )
        assert runner.generate(picture, "x", 18, grammar) == wanted
    assert not runner.detect(random_picture(0), ["a", "b"], 18).unread


def test_files_are_those_that_transformers_js_loads(task, directory):
    wanted = {
        "vision_encoder": (["pixel_values"], ["image_features"]),
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "decoder_model_merged": (
            ["inputs_embeds", "attention_mask", "position_ids"],
            ["logits"],
        ),
    }
    for name, (inputs, outputs) in wanted.items():
        path = directory / "onnx" / f"{name}.onnx"
        onnx.checker.check_model(str(path), full_check=True)
        graph = onnx.load(str(path), load_external_data=False).graph
        is_decoder = name == "decoder_model_merged"
        pairs = [f"{i}.{kind}" for i in range(2) for kind in ("key", "value")]
        caches = pairs if is_decoder else []
        assert [x.name for x in graph.input] == inputs + [
            f"past_key_values.{pair}" for pair in caches
        ]
        assert [x.name for x in graph.output] == outputs + [
            f"present.{pair}" for pair in caches
        ]
    config = json.loads((directory / "config.json").read_text())
    assert config["model_type"] == "paligemma"
    assert config["image_token_index"] == task.backbone.vocabulary_size
    assert config["transformers.js_config"] == {
        "dtype": "fp32",
        "kv_cache_dtype": {"fp32": "float32"},
        "use_external_data_format": {f"{name}.onnx": 1 for name in wanted},
    }
    names = {path.name for path in directory.iterdir()}
    assert names >= {
        "generation_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_image_token_after_the_vocabulary_can_be_embedded(task, runner):
    rows = runner._embed([5, task.backbone.vocabulary_size])[0]
    table = ops.convert_to_numpy(task.backbone.token_embedding.embeddings)
    np.testing.assert_allclose(rows[0], table[5] * 8, rtol=1e-6)
    assert np.isfinite(rows).all()


@pytest.mark.every_backend
def test_lora_is_merged(task, directory):
    content = (directory / "onnx/decoder_model_merged.onnx_data").read_bytes()
    dense = task.backbone.text_decoder.blocks[1].attention.query_dense
    assert content.count(ops.convert_to_numpy(dense.kernel).tobytes()) == 1
    assert dense.lora_enabled
    assert ops.convert_to_numpy(dense.base_kernel).tobytes() not in content


def test_weights_of_large_graphs_are_in_several_files(task, runner, tmp_path):
    export_onnx(task, tmp_path / "model", file_bytes=20_000)
    onnx_files = tmp_path / "model/onnx"
    config = json.loads((tmp_path / "model/config.json").read_text())
    counts = config["transformers.js_config"]["use_external_data_format"]
    assert counts["embed_tokens.onnx"] == 1
    assert counts["decoder_model_merged.onnx"] > 3
    # As transformers.js names what it loads.
    wanted = {
        name + (f"_data_{i}" if i else "_data")
        for name, count in counts.items()
        for i in range(count)
    }
    names = {path.name for path in onnx_files.iterdir()}
    assert names == {*wanted, *counts}
    for name in counts:
        graph = onnx.load(str(onnx_files / name), load_external_data=False).graph
        sizes: dict[str, list[int]] = {}
        for tensor in graph.initializer:
            place = {entry.key: entry.value for entry in tensor.external_data}
            if place:
                sizes.setdefault(place["location"], []).append(int(place["length"]))
        assert len(sizes) == counts[name]
        for file, lengths in sizes.items():
            # One weight may be larger by itself.
            size = (onnx_files / file).stat().st_size
            assert size <= 20_000 or len(lengths) == 1
    parted, picture = ONNXModel(tmp_path / "model"), random_picture(4)
    features = parted.encode_image(picture)
    np.testing.assert_array_equal(features, runner.encode_image(picture))
    logits = parted.prefill(features, [2, 7, 8])[0]
    np.testing.assert_array_equal(logits, runner.prefill(features, [2, 7, 8])[0])
    (onnx_files / "decoder_model_merged.onnx_data_2").unlink()
    with pytest.raises(FileNotFoundError, match="onnx_data_2"):
        ONNXModel(tmp_path / "model")


def test_blocks_of_4_bits_are_rounded_by_hand():
    matrix = np.zeros((2, 33), np.float32)
    # The largest is -8 whatever its sign; 7.9 is nearer to 8, which is not there.
    matrix[0, :4], matrix[0, 32] = [-8.0, 7.9, 3.4, -1.6], 0.5
    matrix[1, 1:4] = [16.0, -3.4, -16.0]
    blocks, scales = block_quantize(matrix, 4)
    np.testing.assert_allclose(scales, [[1, -0.5 / 8], [-2, 0]], rtol=1e-6)
    assert blocks.shape == (2, 2, 16)
    # -8, 7, 3, -2 above 8, the first of two in the lower half.
    assert blocks[0, 0, :3].tolist() == [0 | 15 << 4, 11 | 6 << 4, 0x88]
    assert blocks[0, 1, :2].tolist() == [0 | 8 << 4, 0x88]
    # 0, -8, 2 (of 1.7), 7 (of 8) of a scale below 0.
    assert blocks[1, 0, :3].tolist() == [8 | 0 << 4, 10 | 15 << 4, 0x88]
    assert (blocks[1, 1] == 0x88).all()


def test_blocks_of_8_bits_and_rows_are_rounded_by_hand():
    matrix = np.zeros((2, 33), np.float32)
    matrix[0, :3], matrix[0, 32], matrix[1, 1] = [7.0, -3.4, 1.6], 0.5, -127.0
    blocks, scales = block_quantize(matrix, 8)
    np.testing.assert_allclose(scales, [[7 / 127, 0.5 / 127], [1, 0]], rtol=1e-6)
    assert blocks[0, 0, :4].tolist() == [255, 128 - 62, 128 + 29, 128]
    assert blocks[1, 0, :3].tolist() == [128, 1, 128]
    rows, scales = row_quantize(matrix)
    assert rows[1].tolist() == [0, -127, *[0] * 31]
    np.testing.assert_allclose(scales, [[7 / 127], [1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "suffix"), [("float16", "fp16"), ("int8", "quantized"), ("int4", "q4")]
)
def test_quantised_files_are_smaller_and_agree(task, directory, tmp_path, kind, suffix):
    comparison = export_onnx(task, tmp_path / "model", kind)
    assert comparison.lowest_correlation < 1
    small, large = tmp_path / "model/onnx", directory / "onnx"
    for name in ("vision_encoder", "embed_tokens", "decoder_model_merged"):
        onnx.checker.check_model(str(small / f"{name}_{suffix}.onnx"))
    most = {"float16": 0.52, "int8": 0.3, "int4": 0.3}[kind]
    for name in ("embed_tokens", "decoder_model_merged"):
        size = (small / f"{name}_{suffix}.onnx_data").stat().st_size
        assert size < most * (large / f"{name}.onnx_data").stat().st_size


def test_the_runner_needs_no_keras(directory, runner):
    picture = random_picture(3)
    found = generate_without_keras("ONNXModel", directory, picture, "caption en", 5)
    assert found == runner.generate(picture, "caption en", max_new_tokens=5)


def test_files_that_are_not_the_model_are_not_left(task, tmp_path, monkeypatch):
    other = random_task(seed=1, **SIZES)
    verify = onnx_export.verify_onnx
    monkeypatch.setattr(onnx_export, "verify_onnx", lambda _, path: verify(other, path))
    with pytest.raises(
        ValueError, match=r"correlate with the model's.*another adapter"
    ):
        export_onnx(task, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_errors_come_before_work(task, directory, tmp_path, monkeypatch):
    path = tmp_path / "model"
    with pytest.raises(ValueError, match="float16, int8, int4"):
        export_onnx(task, path, "int2")
    with pytest.raises(ValueError, match="preprocessor"):
        export_onnx(PaliGemma2CausalLM(task.backbone, None), path)
    with pytest.raises(TypeError, match=r"PaliGemma2CausalLM\. Received: NoneType"):
        export_onnx(None, path)
    for size in (0, 0.5, True, "1"):
        with pytest.raises(ValueError, match="file_bytes as a whole number >= 1"):
            export_onnx(task, path, file_bytes=size)
    with pytest.raises(FileExistsError, match="or remove it"):
        export_onnx(task, directory)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"keras-pg2\[onnx\]"):
        export_onnx(task, path)
    with pytest.raises(ImportError, match=r"pip install onnxruntime"):
        ONNXModel(directory)
    assert not list(tmp_path.iterdir())


def test_prompts_and_directories_that_are_none(runner, tmp_path):
    features = np.zeros((1, 4, 64), np.float32)
    with pytest.raises(ValueError, match="at most 8192 tokens"):
        runner.prefill(features, [5] * 8189)
    with pytest.raises(FileNotFoundError, match="export_onnx"):
        ONNXModel(tmp_path)


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize(
    "name",
    ["onnx/decoder_model_merged.onnx", "onnx/embed_tokens.onnx_data", "vocabulary.spm"],
)
def test_broken_files_are_named(directory, tmp_path, name, share):
    copy = copy_with_cut(directory, tmp_path / "model", name, share)
    with pytest.raises(ValueError, match=rf"{name}'.*Copy the whole directory again"):
        ONNXModel(copy)


def test_what_the_manifest_lacks_is_named(directory, tmp_path):
    name, keys = "onnx.json", ("files/embed_tokens", "image_size", "num_layers")
    copy = copy_without(directory, tmp_path / "one", name, keys[0])
    with pytest.raises(
        ValueError, match=r"embed_tokens under files in .*onnx\.json, which lacks"
    ):
        ONNXModel(copy)
    copy = copy_without(directory, tmp_path / "three", name, *keys)
    with pytest.raises(
        ValueError, match=r"Expected image_size in .*onnx\.json.*export"
    ):
        ONNXModel(copy)


def test_threads_are_a_whole_number(directory):
    for number in (0, True, "2"):
        with pytest.raises(ValueError, match="num_threads"):
            ONNXModel(directory, number)


def test_gemma_1_has_no_caps_window_and_post_norms(tmp_path):
    task = random_task(
        attention_logit_soft_cap=None,
        final_logit_soft_cap=None,
        sliding_window=None,
        has_post_norms=False,
        query_pre_attn_scalar=8,
        **SIZES,
    )
    comparison = export_onnx(task, tmp_path / "model")
    assert comparison.largest_difference < 2e-4 * comparison.largest_logit


def test_the_nano_preset_answers_the_same(tmp_path):
    model = PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
    export_onnx(model, tmp_path / "nano")
    runner = ONNXModel(tmp_path / "nano")
    scene = scenes.sample_scene(scenes.scene_generator(3, 0))
    picture = scenes.render(scene, 224)
    prompts = ["caption en", "detect red circle", "ocr"]
    wanted = model.generate(
        {"images": picture, "prompts": prompts}, strip_prompt=True, max_new_tokens=32
    )
    assert [runner.generate(picture, p, 32) for p in prompts] == wanted
