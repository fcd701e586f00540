"""SavedModels against the model in memory, and pictures against Pillow."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_pg2 import PaliGemma2CausalLM, PaliGemma2ImageConverter
from keras_pg2.deploy import export_saved_model, saved_model
from keras_pg2.deploy import saved_model_verification as verification
from tests.tiny_models import random_task

BACKEND = keras.backend.backend()
if BACKEND != "torch":
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
not_on_torch = pytest.mark.skipif(
    BACKEND == "torch", reason="PyTorch writes no SavedModel"
)
NUM_TOKENS, PROMPT_LENGTH = 6, 20
CLIENT = """
import json, sys
import tensorflow as tf
import tensorflow_text
assert not {"keras_pg2", "keras_hub"} & set(sys.modules), "imported too much"
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
with open(sys.argv[2], "rb") as file:
    picture = file.read()
answer = serve(image_bytes=tf.constant([picture]), prompt=tf.constant(["caption en"]))
print(json.dumps([part.numpy()[0].decode() for part in answer.values()]))
"""


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    """With LoRA that changes the answers."""
    task = random_task()
    task.enable_lora(2, targets=["query_dense", "vision_projection"])
    rng = np.random.default_rng(2)
    for weight in task.trainable_weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return task


@pytest.fixture(scope="module")
def directory(task, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved_model") / "model"
    comparison = export_saved_model(task, path, NUM_TOKENS, PROMPT_LENGTH)
    assert f"{comparison.num_answers} sample answers" in str(comparison)
    return path


@pytest.fixture(scope="module")
def signatures(directory):
    return tf.saved_model.load(str(directory)).signatures


def random_pictures(count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 28, 28, 3)).astype("uint8")


def encode(picture, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(file, kind, **options)
    return file.getvalue()


def serve(signatures, pictures: list[bytes], prompts: list) -> tuple[list, list]:
    served = signatures["serve"](
        image_bytes=tf.constant(pictures), prompt=tf.constant(prompts)
    )
    return tuple(
        [text.decode() for text in served[key].numpy()] for key in ("text", "error")
    )


def generate(task, pictures: np.ndarray, prompts: list[str]) -> list[str]:
    inputs = {"images": list(pictures), "prompts": prompts}
    return task.generate(inputs, max_new_tokens=NUM_TOKENS, strip_prompt=True)


@not_on_torch
def test_ids_of_ragged_batches_are_those_of_generate(task, signatures):
    pictures = random_pictures(3)
    prompts = ["caption en", "", "answer en is it a dog ?"]
    arrays = task.preprocessor.generate_preprocess(
        {"images": list(pictures), "prompts": prompts}
    )
    room = [(0, 0), (0, PROMPT_LENGTH - arrays["token_ids"].shape[1])]
    found = signatures["generate_ids"](
        pixels=tf.constant(arrays["images"]),
        token_ids=tf.constant(np.pad(arrays["token_ids"], room)),
        padding_mask=tf.constant(np.pad(arrays["padding_mask"], room)),
    )["token_ids"].numpy()
    inputs = {"images": list(pictures), "prompts": prompts}
    scored = task.generate(inputs, max_new_tokens=NUM_TOKENS, return_scores=True)
    assert found.shape == (3, NUM_TOKENS)
    for row, answer in zip(found, scored, strict=True):
        count = len(answer.token_ids)
        assert row[:count].tolist() == answer.token_ids.tolist()
        assert not row[count:].any()


@not_on_torch
def test_bad_rows_have_an_error_and_the_others_the_models_text(task, signatures):
    pictures = random_pictures(8)
    files = [encode(picture) for picture in pictures]
    files[1], files[2] = b"no picture", files[2][:300]
    long = "caption en " * 20
    prompts = ["detect dog\n", "a", "a", long, "", b"\xff", "a <image>", "caption en"]
    texts, errors = serve(signatures, files, prompts)
    assert "cannot be decoded" in errors[1]
    assert "cannot be decoded" in errors[2]
    num_tokens = len(task.preprocessor.generate_preprocess(long)["token_ids"][0])
    assert f"at most {PROMPT_LENGTH} tokens" in errors[3]
    assert f"Received: one of {num_tokens}." in errors[3]
    assert "UTF-8" in errors[5]
    assert "<image>" in errors[6]
    assert all(not texts[row] for row in (1, 2, 3, 5, 6))
    right = [0, 4, 7]
    assert [errors[row] for row in right] == ["", "", ""]
    wanted = generate(task, pictures[right], [prompts[row] for row in right])
    assert [texts[row] for row in right] == wanted
    assert len(set(wanted)) == 3


@not_on_torch
def test_longest_prompt_that_fits_is_answered(task, signatures):
    prompt = "a" * 60
    while len(task.preprocessor.generate_preprocess(prompt)["token_ids"][0]) > 20:
        prompt = prompt[:-1]
    pictures = random_pictures(3)
    files = [encode(picture) for picture in pictures]
    texts, errors = serve(signatures, files, [prompt, prompt + "a" * 8, "b"])
    assert [bool(error) for error in errors] == [False, True, False]
    assert [texts[0], texts[2]] == generate(task, pictures[[0, 2]], [prompt, "b"])


@not_on_torch
def test_a_client_needs_only_tensorflow_and_its_text(task, directory, tmp_path):
    picture = random_pictures(1)
    (tmp_path / "scene.png").write_bytes(encode(picture[0]))
    command = [sys.executable, "-c", CLIENT, directory, tmp_path / "scene.png"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    answers = json.loads(run.stdout.splitlines()[-1])
    assert sorted(answers) == sorted(["", *generate(task, picture, ["caption en"])])


@not_on_torch
def test_an_existing_target_stays(task, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="there already"):
        export_saved_model(task, tmp_path / "model")
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"


@not_on_torch
def test_other_answers_than_the_models_leave_nothing(
    task, directory, tmp_path, monkeypatch
):
    def copy_and_verify(*args):
        shutil.copytree(directory, args[2], dirs_exist_ok=True)
        return verification.verify_saved_model(*args)

    model_ids = verification.model_ids
    monkeypatch.setattr(verification, "model_ids", lambda *args: model_ids(*args) ^ 1)
    # What is written before is not looked at here, and costs time.
    monkeypatch.setattr(saved_model, "build_module", lambda *args: (tf.Module(), {}))
    monkeypatch.setattr(saved_model, "verify_saved_model", copy_and_verify)
    with pytest.raises(ValueError, match="0 of 4 with the same ids"):
        export_saved_model(task, tmp_path / "model", NUM_TOKENS, PROMPT_LENGTH)
    assert not list(tmp_path.iterdir())


@not_on_torch
@pytest.mark.parametrize(
    ("lengths", "message"),
    [((0, 8), "max_new_tokens"), ((4, 1), "prompt_length >= 2"), ((4, "8"), "whole")],
)
def test_lengths_that_do_not_fit_are_told(task, tmp_path, lengths, message):
    with pytest.raises(ValueError, match=message):
        export_saved_model(task, tmp_path / "model", *lengths)


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends write one")
def test_pytorch_is_told_the_way_over_a_preset(tmp_path):
    with pytest.raises(RuntimeError, match=r"save_to_preset.*KERAS_BACKEND=jax"):
        export_saved_model(random_task(), tmp_path / "model")


def picture_files() -> dict[str, bytes]:
    """Smooth pictures, wide and small, of every kind that is read."""
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype("uint8"))
    wide = coarse.resize((61, 43), Image.Resampling.BICUBIC)
    clear = wide.convert("RGBA")
    clear.putalpha(wide.getchannel(0))
    turned = {}
    for orientation in (2, 3, 4, 5, 6, 7, 8):
        # Taller than wide where it is turned by a quarter.
        stored = wide.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x010F], exif[0x0112] = "camera", orientation
        source = stored if orientation >= 5 else wide
        turned[f"turned {orientation}"] = encode(source, "JPEG", exif=exif)
    return {
        "own size": encode(wide.resize((28, 28))),
        "smaller": encode(wide.resize((20, 11))),
        "png": encode(wide),
        "png grey": encode(wide.convert("L")),
        "png black and white": encode(wide.convert("1")),
        "png palette": encode(wide.quantize(4)),
        "png transparent": encode(clear),
        "jpeg": encode(wide, "JPEG"),
        "jpeg grey": encode(wide.convert("L"), "JPEG"),
        "gif": encode(wide, "GIF"),
        "bmp": encode(wide, "BMP"),
        "bmp palette": encode(wide.convert("P"), "BMP"),
        **turned,
    }


@not_on_torch
@pytest.mark.parametrize(
    ("interpolation", "antialias"), [("bicubic", True), ("bilinear", False)]
)
def test_pictures_are_within_a_level_of_the_preprocessors(interpolation, antialias):
    from keras_pg2.deploy.saved_model_pictures import decode_pictures

    converter = PaliGemma2ImageConverter(28, interpolation, antialias)
    files = picture_files()
    pixels, is_picture = decode_pictures(
        tf, converter, tf.constant(list(files.values()))
    )
    assert is_picture.numpy().all()
    for name, file, found in zip(files, files.values(), pixels.numpy(), strict=True):
        wanted = converter.convert(Image.open(io.BytesIO(file)))
        levels = np.round(np.abs(found - wanted) * 127.5)
        assert levels.max() <= (0 if name == "own size" else 1), name
        assert (levels > 0).mean() < 0.03, name


@not_on_torch
def test_no_rows_give_no_pictures():
    from keras_pg2.deploy.saved_model_pictures import decode_pictures

    converter = PaliGemma2ImageConverter(28)
    pixels, is_picture = decode_pictures(tf, converter, tf.constant([], tf.string))
    assert pixels.shape == (0, 28, 28, 3)
    assert is_picture.shape == (0,)
