"""SavedModels against the model in memory."""

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
from keras import ops
from PIL import Image

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.codecs.grammars import Choices
from keras_pg2.deploy import export_saved_model
from keras_pg2.deploy.saved_model import export as saved_model
from keras_pg2.deploy.saved_model import verification
from tests.support.tiny_models import random_task

BACKEND = keras.backend.backend()
if BACKEND != "torch":
    import tensorflow as tf
not_on_torch = pytest.mark.skipif(
    BACKEND == "torch", reason="PyTorch writes no SavedModel"
)
NUM_TOKENS, PROMPT_LENGTH = 6, 20
NUM_ROWS = 8
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
    task = random_task(vision_layers=2, num_layers=2)
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
    assert comparison.score_difference < 1e-4
    return path


@pytest.fixture(scope="module")
def signatures(directory):
    return tf.saved_model.load(str(directory)).signatures


def random_pictures(count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 28, 28, 3)).astype("uint8")


def encode(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def filled(values: list) -> list:
    """Return values for eight rows, as each number of rows is compiled anew."""
    return [*values, *[values[-1]] * (NUM_ROWS - len(values))]


def serve(signatures, pictures: list[bytes], prompts: list) -> tuple[list, list]:
    served = signatures["serve"](
        image_bytes=tf.constant(filled(pictures)), prompt=tf.constant(filled(prompts))
    )
    return tuple(
        [text.decode() for text in served[key].numpy()[: len(pictures)]]
        for key in ("text", "error")
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
    # What is not seen, a newline, and one typed as letters.
    around = "\ufeff {}\u200b\u3000\r\n\\n".format
    texts, errors = serve(signatures, files, [*prompts[:7], around(prompts[7])])
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
@pytest.mark.parametrize("name", ["serve", "score", "generate_ids"])
def test_batches_without_rows_or_of_several_sizes_are_told(signatures, name):
    file = encode(random_pictures(1)[0])
    inputs = {
        "image_bytes": tf.constant([file]),
        "prompt": tf.constant(["a"]),
        "answer": tf.constant(["b"]),
        "pixels": tf.zeros([1, 28, 28, 3]),
        "token_ids": tf.ones([1, PROMPT_LENGTH], tf.int32),
        "padding_mask": tf.ones([1, PROMPT_LENGTH], tf.bool),
    }
    signature = signatures[name]
    names = list(signature.structured_input_signature[1])
    one = {key: inputs[key] for key in names}
    none = {key: value[:0] for key, value in one.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one row"):
        signature(**none)
    for key in names:
        two = tf.concat([one[key]] * 2, axis=0)
        with pytest.raises(tf.errors.InvalidArgumentError, match="as many rows"):
            signature(**{**one, key: two})


@not_on_torch
def test_longest_prompt_that_fits_is_answered(task, signatures):
    prompt = "a" * 60
    while len(task.preprocessor.generate_preprocess(prompt)["token_ids"][0]) > 20:
        prompt = prompt[:-1]
    pictures = random_pictures(4)
    files = [encode(picture) for picture in pictures]
    texts, errors = serve(signatures, files, [prompt, prompt + "a" * 8, "b", "c"])
    assert [bool(error) for error in errors] == [False, True, False, False]
    right = [0, 2, 3]
    wanted = generate(task, pictures[right], [prompt, "b", "c"])
    assert [texts[row] for row in right] == wanted


def score(signatures, pictures: list[bytes], prompts: list, answers: list) -> dict:
    named = {"image_bytes": pictures, "prompt": prompts, "answer": answers}
    constants = {name: tf.constant(filled(value)) for name, value in named.items()}
    scored = signatures["score"](**constants)
    return {name: value.numpy()[: len(pictures)] for name, value in scored.items()}


def score_by_one_pass(task, picture: np.ndarray, prompt: str, answer: str) -> tuple:
    """Sum of the log-softmax at the tokens of an answer, of logits of all tokens."""
    tokenizer = task.preprocessor.tokenizer
    [question], [told] = (
        tokenizer.tokenize([prompt + "\n"]),
        tokenizer.tokenize([answer]),
    )
    question, told = [2, *question], [*told, 1]  # bos and eos
    token_ids = np.array([question + told], np.int32)
    place = np.arange(token_ids.shape[1])[None]
    hidden = task.backbone(
        {
            "images": picture[None].astype("float32") / 127.5 - 1,
            "token_ids": token_ids,
            "padding_mask": np.ones_like(token_ids, bool),
            "response_mask": place >= len(question),
        }
    )
    logits = ops.convert_to_numpy(task.backbone.project_to_vocabulary(hidden))[0]
    first = task.backbone.num_image_tokens + len(question) - 1
    logits = logits[first : first + len(told)].astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return softmax[np.arange(len(told)), told].sum(), len(told)


@not_on_torch
def test_scores_are_those_of_one_pass_over_prompt_and_answer(task, signatures):
    pictures = random_pictures(4, seed=4)
    prompts = ["caption en", "", "answer en is it a dog ?", "caption en"]
    answers = ["dog", "<loc0010><loc0020>", "", "cat"]
    files = [encode(picture) for picture in pictures]
    found = score(signatures, files, prompts, answers)
    rows = zip(pictures, prompts, answers, strict=True)
    wanted, counts = zip(*(score_by_one_pass(task, *row) for row in rows))
    np.testing.assert_allclose(found["log_probability"], wanted, rtol=1e-4, atol=1e-4)
    assert found["num_tokens"].tolist() == list(counts)
    assert found["num_tokens"][2] == 1
    assert not found["error"].any()
    # The network tells them apart.
    assert np.ptp(wanted) > 1


@not_on_torch
def test_scores_are_those_of_generate_and_choose(task, signatures):
    """Of answers that `generate` ended by itself, and among choices of `choose`."""
    picture = random_pictures(1, seed=5)[0]
    choices = ["dog", "cat", "a <loc0003>"]
    file = encode(picture)
    found = score(signatures, [file] * 3, ["caption en"] * 3, choices)
    shares = np.exp(found["log_probability"] - found["log_probability"].max())
    wanted = task.choose({"images": picture, "prompts": "caption en"}, choices)
    for choice, share in zip(choices, shares / shares.sum(), strict=True):
        assert wanted[choice] == pytest.approx(share, abs=1e-4)
    answer = task.generate(
        {"images": picture, "prompts": "caption en"},
        max_new_tokens=NUM_TOKENS,
        constraint=Choices(["dog"]),
        return_scores=True,
    )
    assert len(answer.token_ids) == found["num_tokens"][0]
    assert answer.log_probability == pytest.approx(
        float(found["log_probability"][0]), rel=1e-4
    )


@not_on_torch
def test_answers_that_cannot_be_scored_have_an_error_and_zeros(task, signatures):
    tokenizer = task.preprocessor.tokenizer
    long = "dog"
    while len(tokenizer.tokenize([long])[0]) < NUM_TOKENS:
        long += " dog"
    num_tokens = len(tokenizer.tokenize([long])[0]) + 1
    file = encode(random_pictures(1)[0])
    files = [file, b"no picture", file, file, file, file]
    prompts = ["a", "a", "a <image>", "a", "a", "a"]
    answers = [long, "dog", "dog", b"\xff", "dog<eos>", "dog"]
    found = score(signatures, files, prompts, answers)
    errors = [error.decode() for error in found["error"]]
    assert f"at most {NUM_TOKENS} tokens, the end token" in errors[0]
    assert f"Received: one of {num_tokens}." in errors[0]
    assert "cannot be decoded" in errors[1]
    assert "<image>" in errors[2]
    assert "answer as UTF-8" in errors[3]
    assert "Expected an answer without" in errors[4]
    assert found["log_probability"][:5].tolist() == [0.0] * 5
    assert found["num_tokens"][:5].tolist() == [0] * 5
    assert errors[5] == ""
    alone = signatures["score"](
        image_bytes=tf.constant([file]),
        prompt=tf.constant(["a"]),
        answer=tf.constant(["dog"]),
    )
    assert found["log_probability"][5] == pytest.approx(
        float(alone["log_probability"][0]), rel=1e-5
    )
    assert found["log_probability"][5] < 0


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
@pytest.mark.two_backends("what is compared is of NumPy")
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
@pytest.mark.two_backends("what is compared is of NumPy")
def test_other_scores_than_the_models_are_told(task, directory, monkeypatch):
    scores = verification.model_scores
    monkeypatch.setattr(
        verification,
        "model_scores",
        lambda *args: (scores(*args)[0], scores(*args)[1] + 0.01),
    )
    with pytest.raises(ValueError, match="scores of the SavedModel"):
        verification.verify_saved_model(tf, task, directory, NUM_TOKENS, PROMPT_LENGTH)


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
