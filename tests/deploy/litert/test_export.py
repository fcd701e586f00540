"""LiteRT files against the model they came from, which computes without a cache."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from keras import ops
from PIL import Image

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.codecs.grammars import Choices, LocationGrammar
from keras_pg2.datasets import scenes
from keras_pg2.deploy import LiteRTModel, export_litert, verify_litert
from keras_pg2.deploy.litert import export as litert
from keras_pg2.deploy.litert import files as litert_files
from keras_pg2.deploy.litert.quantization import quantize
from tests.support.broken_copies import copy_with_cut, copy_without
from tests.support.tiny_models import random_task
from tests.support.without_keras import generate_without_keras

# Blocks of 32 for int4; N * H = 32.
SIZES = {"vision_layers": 2, "num_layers": 2, "hidden_dim": 64, "intermediate_dim": 96}


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
    path = tmp_path_factory.mktemp("litert") / "model"
    comparison = export_litert(task, path, prefill_lengths=(12, 6), cache_length=24)
    assert comparison.num_same_choice == comparison.num_tokens
    assert comparison.largest_difference < 2e-4 * comparison.largest_logit
    return path


@pytest.fixture(scope="module")
def runner(directory) -> LiteRTModel:
    return LiteRTModel(directory)


def model_logits(task, images, token_ids, count) -> np.ndarray:
    """[1 + answer, V], after the prompt and after each token of the answer."""
    response = np.arange(len(token_ids)) >= count
    inputs = {
        "images": images,
        "token_ids": np.array([token_ids], "int32"),
        "padding_mask": np.ones((1, len(token_ids)), bool),
        "response_mask": response[None],
    }
    logits = task.backbone.project_to_vocabulary(task.backbone(inputs))
    first = task.backbone.num_image_tokens + count - 1
    return ops.convert_to_numpy(logits)[0, first:]


def random_picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (40, 33, 3)).astype("uint8")


@pytest.mark.every_backend
def test_logits_of_prefill_and_decoding_are_the_models(task, runner):
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (1, 28, 28, 3)).astype("float32")
    token_ids = rng.integers(4, 1552, 11).tolist()
    wanted = model_logits(task, images, token_ids, 4)
    # The network that is copied is one whose hard parts matter.
    assert np.abs(wanted).max() > 20
    no_window = task.backbone.text_decoder.sliding_window
    task.backbone.text_decoder.sliding_window = None
    assert np.abs(model_logits(task, images, token_ids, 4) - wanted).max() > 0.1
    task.backbone.text_decoder.sliding_window = no_window

    features = runner.encode_pixels(images)
    logits, state = runner.prefill(features, token_ids[:4])
    rows = [logits]
    for token in token_ids[4:]:
        logits, state = runner.decode(token, state)
        rows.append(logits)
    np.testing.assert_allclose(rows, wanted, atol=2e-3)


def test_what_fills_a_prompt_up_is_not_seen(runner):
    signatures = runner._signatures
    images = np.zeros((1, 28, 28, 3), np.float32)
    features = runner.encode_pixels(images)
    token_ids = [7, 8, 9]
    embeddings = np.full((1, 12, 64), 1e3, np.float32)
    for i, token in enumerate(token_ids):
        embeddings[:, i] = signatures["embedder"](
            token_ids=np.array([[token]], np.int32)
        )["embeddings"][:, 0]
    filled = signatures["prefill_12_0"](
        hidden=np.concatenate([features, embeddings], axis=1),
        num_tokens=np.array([3], np.int32),
    )
    last = filled.pop("hidden")[:, 4 + 3 - 1][None]
    after_12 = signatures["logits"](hidden=last)["logits"][0]
    logits, state = runner.prefill(features, token_ids)  # By prefill_6.
    np.testing.assert_allclose(after_12, logits, atol=1e-4)
    after = runner.decode(5, state._replace(caches=(filled,)))[0]
    np.testing.assert_allclose(after, runner.decode(5, state)[0], atol=1e-4)


def test_texts_are_the_models(task, runner):
    for seed, prompt in enumerate(["caption en", "ocr\n", "Hund"]):
        picture = random_picture(seed)
        wanted = task.generate(
            {"images": picture, "prompts": prompt}, strip_prompt=True, max_new_tokens=6
        )
        assert runner.generate(picture, prompt, max_new_tokens=6) == wanted


def test_answers_end_with_the_cache(runner):
    features = runner.encode_image(random_picture(0))
    tokens = list(runner.generate_tokens(features, [2, 9, 10, 11], 1000))
    # 4 tokens of the image, 4 of the prompt; the last one is only written down.
    assert len(tokens) == 24 - 8 + 1 or 1 not in tokens


def test_answers_are_held_to_a_grammar_as_the_models(task, runner):
    """Each answer has as many tokens as fit: 4 of the image, 2 of the prompt, 19."""
    boxes = LocationGrammar(("cat", "a dog"), "never")
    for seed, grammar in enumerate([boxes, boxes, Choices(["cat", "a dog"])]):
        picture = random_picture(seed)
        inputs = {"images": picture, "prompts": "x"}
        wanted = task.generate(
            inputs, strip_prompt=True, max_new_tokens=18, constraint=grammar
        )
        assert runner.generate(picture, "x", 18, grammar) == wanted
    assert wanted in ("cat", "a dog")


def test_detections_are_well_formed_though_nothing_was_learned(runner):
    for seed in range(3):
        found = runner.detect(random_picture(seed), ["a", "b"])
        assert not found.unread
        assert set(found.labels) <= {"a", "b"}


def test_grammars_without_room(runner):
    with pytest.raises(ValueError, match="shortest answer"):
        runner.generate(random_picture(0), "x", 1, Choices(["cat", "a dog"]))


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (("a <image>",), ValueError, "without '<image>'"),
        (("\ud800",), ValueError, "lone surrogate"),
        *[
            ((prompt,), TypeError, "as text, one at a time")
            for prompt in (None, 3, ["caption en"], b"caption en")
        ],
        (("ocr", True), ValueError, "max_new_tokens"),
        (("ocr", 2.0), ValueError, "max_new_tokens"),
        (("ocr", 2, "yes"), TypeError, "Expected constraint"),
    ],
)
def test_what_the_model_refuses_is_refused(task, runner, inputs, error, message):
    with pytest.raises(error, match=message):
        runner.generate(random_picture(0), *inputs)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (
            "cat",
            TypeError,
            r'as a list of texts, such as \["cat", "dog',
        ),
        (None, TypeError, "Expected labels as a list of texts"),
        ([], ValueError, "Expected labels, the names to look for"),
        (["cat", "cat"], ValueError, "Expected each label once"),
    ],
)
def test_labels_are_refused_as_by_the_model(task, runner, labels, error, message):
    for model in (runner, task):
        with pytest.raises(error, match=message):
            model.detect(random_picture(0), labels)


def test_pictures_of_all_kinds_that_the_model_takes(runner, tmp_path):
    levels = random_picture(0)
    picture = Image.fromarray(levels)
    picture.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    answer = runner.generate(levels, "ocr", 3)
    found = runner.detect(levels, ["cat"])
    for same in (content, io.BytesIO(content), {"bytes": content}, picture):
        assert runner.generate(same, "ocr", 3) == answer
        assert runner.detect(same, ["cat"]).tokens == found.tokens
    for call in (runner.generate, lambda *args: runner.detect(args[0], ["a"])):
        with pytest.raises(ValueError, match=r"image( 0)? \(8 bytes\) is not one"):
            call(b"\x89PNG\r\n\x1a\n", "ocr")


def test_whole_numbers_of_numpy_are_numbers(runner):
    picture = random_picture(0)
    wanted = runner.generate(picture, "ocr", 3)
    assert runner.generate(picture, "ocr", np.int64(3)) == wanted


def test_prompts_that_do_not_fit(runner):
    with pytest.raises(ValueError, match="at most 12 tokens"):
        runner.generate(random_picture(0), "a red ball next to a small dog " * 3)
    with pytest.raises(ValueError, match="max_new_tokens"):
        runner.generate(random_picture(0), "ocr", max_new_tokens=0)


@pytest.mark.every_backend
def test_the_table_is_stored_once_and_lora_is_merged(task, directory):
    content = (directory / "model.tflite").read_bytes()
    backbone = task.backbone
    table = ops.convert_to_numpy(backbone.token_embedding.embeddings)
    assert content.count(table.tobytes()) == 1
    dense = backbone.text_decoder.blocks[1].attention.query_dense
    merged = ops.convert_to_numpy(dense.kernel).T.copy()
    assert content.count(merged.tobytes()) == 1
    assert dense.lora_enabled
    assert ops.convert_to_numpy(dense.base_kernel).T.tobytes() not in content


def test_quantised_files_are_smaller_and_agree(task, directory, tmp_path, caplog):
    architecture = task.backbone.architecture
    blob = (directory / "model.tflite").read_bytes()
    sizes = [len(blob)]
    for kind in ("float16", "int8", "int4"):
        path = tmp_path / kind
        shutil.copytree(directory, path)
        (path / "model.tflite").write_bytes(quantize(blob, kind, architecture))
        manifest = json.loads((path / "litert.json").read_text())
        (path / "litert.json").write_text(
            json.dumps({**manifest, "quantization": kind})
        )
        comparison = verify_litert(task, path)
        assert comparison.lowest_correlation < 1
        sizes.append((path / "model.tflite").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert "overriding other previously" not in caplog.text
    # The table is most of this network: 397 kB, and a quarter of it as int8.
    assert sizes[0] - sizes[2] > 0.7 * 397_000


def test_the_runner_needs_no_keras(directory, runner):
    picture = random_picture(3)
    found = generate_without_keras("LiteRTModel", directory, picture, "caption en", 5)
    assert found == runner.generate(picture, "caption en", max_new_tokens=5)


def test_a_file_that_is_not_the_model_is_not_left(directory, tmp_path, monkeypatch):
    other = random_task(seed=1, **SIZES)
    blob = (directory / "model.tflite").read_bytes()

    def write_it(graph, signatures, target, quantization) -> None:
        target.write_bytes(blob)

    monkeypatch.setattr(litert, "write_file", write_it)
    with pytest.raises(ValueError, match="correlate with the model's"):
        export_litert(other, tmp_path / "model", prefill_lengths=[12], cache_length=24)
    assert not list(tmp_path.iterdir())


def test_errors_come_before_work(task, directory, tmp_path, monkeypatch):
    path = tmp_path / "model"
    with pytest.raises(ValueError, match="float16, int8, int4"):
        export_litert(task, path, "int2")
    with pytest.raises(ValueError, match="prefill_lengths"):
        export_litert(task, path, prefill_lengths=[])
    with pytest.raises(ValueError, match="more than 20"):
        export_litert(task, path, prefill_lengths=[16], cache_length=20)
    with pytest.raises(ValueError, match="preprocessor"):
        export_litert(PaliGemma2CausalLM(task.backbone, None), path)
    with pytest.raises(TypeError, match=r"PaliGemma2CausalLM\. Received: PaliGemma2B"):
        export_litert(task.backbone, path)
    with pytest.raises(FileExistsError, match="or remove it"):
        export_litert(task, directory)
    with pytest.raises(NotADirectoryError, match=r"litert\.json' is a file"):
        export_litert(task, directory / "litert.json" / "a")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"keras-pg2\[tensorflow,litert\]"):
        export_litert(task, path)
    assert not list(tmp_path.iterdir())


def test_directories_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="export_litert"):
        LiteRTModel(tmp_path)
    (tmp_path / "litert.json").write_text("{}")
    with pytest.raises(ValueError, match="or export the model again"):
        LiteRTModel(tmp_path)
    (tmp_path / "litert.json").write_text('{"files": {"decode": "decoder.tflite"}}')
    with pytest.raises(FileNotFoundError, match=r"decoder\.tflite, vocabulary\.spm"):
        LiteRTModel(tmp_path)


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize("name", ["model.tflite", "vocabulary.spm"])
def test_broken_files_are_named(directory, tmp_path, name, share):
    copy = copy_with_cut(directory, tmp_path / "model", name, share)
    with pytest.raises(ValueError, match=rf"{name}.*Copy the whole directory again"):
        LiteRTModel(copy)


def test_what_the_manifest_lacks_is_named(directory, tmp_path):
    name, keys = "litert.json", ("files/decode_0", "end_token_id", "decoder_parts")
    copy = copy_without(directory, tmp_path / "one", name, keys[0])
    with pytest.raises(
        ValueError, match=r"decode_0 under files in .*litert\.json, which lacks"
    ):
        LiteRTModel(copy)
    copy = copy_without(directory, tmp_path / "three", name, *keys)
    with pytest.raises(
        ValueError, match=r"Expected end_token_id in .*litert\.json.*export"
    ):
        LiteRTModel(copy)


def test_threads_are_a_whole_number(directory):
    for number in (0, True, "2"):
        with pytest.raises(ValueError, match="num_threads"):
            LiteRTModel(directory, number)


def test_gemma_1_has_no_caps_window_and_post_norms(tmp_path):
    task = random_task(
        attention_logit_soft_cap=None,
        final_logit_soft_cap=None,
        sliding_window=None,
        has_post_norms=False,
        num_layers=2,
    )
    comparison = export_litert(task, tmp_path / "model", prefill_lengths=[4])
    assert comparison.largest_difference < 2e-4 * comparison.largest_logit


def test_the_nano_preset_answers_the_same_in_many_files(tmp_path, monkeypatch):
    # Of 1.35 MB a layer, 4 layers.
    monkeypatch.setattr(litert_files, "MAX_FILE_BYTES", 3_000_000)
    model = PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
    export_litert(model, tmp_path / "nano", prefill_lengths=[16])
    names = {path.name for path in (tmp_path / "nano").glob("*.tflite")}
    decoder = {"decoder_0.tflite", "decoder_1.tflite"}
    assert names == {"vision.tflite", "vocabulary.tflite", *decoder}
    runner = LiteRTModel(tmp_path / "nano")
    for index in range(3):
        rng = scenes.scene_generator(3, index)
        scene = scenes.sample_scene(rng)
        picture = scenes.render(scene, 224)
        prompts = ["caption en", "detect red circle", "ocr"]
        wanted = model.generate(
            {"images": picture, "prompts": prompts},
            strip_prompt=True,
            max_new_tokens=32,
        )
        assert [runner.generate(picture, p, 32) for p in prompts] == wanted
        found = runner.detect(picture, ["red circle"])
        expected = model.detect(picture, ["red circle"])
        np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
