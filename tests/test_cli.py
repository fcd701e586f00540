"""The commands on a tiny random preset, and what they say to bad input."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.catalogue import download
from keras_pg2.catalogue.names import PRESETS
from keras_pg2.cli import app, messages
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.mask_network import MaskNetwork, MaskNetworkConfig
from keras_pg2.start import backends
from keras_pg2.tasks.answering import detecting
from keras_pg2.tasks.answering.answers import ScoredAnswer
from keras_pg2.tasks.answering.requests import Options
from tests.support.picture_server import serve_pictures
from tests.support.tiny_models import random_task

WIDTH, HEIGHT = 200, 100
SCORE = 0.8706  # 0.5 ** (1 / 5): the first location is half sure, the rest wholly.


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("presets") / "tiny"
    model = random_task(vision_layers=2)
    configuration = MaskNetworkConfig(8, 16, (4, 4, 8, 8))
    network = MaskNetwork(configuration)
    network.decoder.last.bias.assign([100.0])  # All masks fill their boxes.
    model.mask_codec = MaskCodec(network)
    model.save_to_preset(directory)
    return directory


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    levels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3))
    Image.fromarray(levels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def run(preset: Path) -> Callable[..., Result]:
    """Runs a command on the tiny preset, which random weights make fast and silly."""

    def run(command: str, *arguments: object) -> Result:
        words = [command, *map(str, arguments)]
        if command != "presets" and "--preset" not in words:
            words += ["--preset", str(preset)]
        result = CliRunner().invoke(app, words)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Answers "<number of the prompt>" or a star, half sure; keeps what was asked."""
    calls: list[dict] = []

    def generate(self: PaliGemma2CausalLM, inputs: dict, **options: object) -> list:
        calls.append({**inputs, **options})
        if not options.get("return_scores"):
            return [str(i) for i in range(len(inputs["prompts"]))]
        return scored(self, inputs)

    def detect(model: PaliGemma2CausalLM, inputs: dict, options: Options) -> list:
        calls.append({**inputs, **vars(options)})
        return scored(model, inputs)

    def scored(model: PaliGemma2CausalLM, inputs: dict) -> list:
        mask = "<seg000>" * 16 if inputs["prompts"][0].startswith("segment") else ""
        star = f"<loc0000><loc0000><loc1023><loc0511>{mask} star"
        [ids] = model.preprocessor.tokenizer.tokenize([star])
        sure = np.zeros(len(ids), np.float32)
        sure[0] = np.log(0.5)
        answer = ScoredAnswer(star, float(sure.sum()), np.array(ids), sure)
        return [answer] * len(inputs["prompts"])

    monkeypatch.setattr(PaliGemma2CausalLM, "generate", generate)
    monkeypatch.setattr(detecting, "answer_with_scores", detect)
    return calls


def assert_fails(result: Result, message: str) -> None:
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("Error: ") == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.every_backend
def test_caption_is_what_generate_says(run, preset, picture) -> None:
    result = run("caption", picture, "--max-new-tokens", 4, "--json")
    model = PaliGemma2CausalLM.from_preset(str(preset))
    text = model.generate(
        {"images": str(picture), "prompts": "caption en"},
        max_new_tokens=4,
        strip_prompt=True,
    )
    record = {"image": str(picture), "prompt": "caption en", "text": text}
    assert json.loads(result.stdout) == [record]


def test_a_seed_fixes_what_is_drawn_without_a_picture(run) -> None:
    options = ("--prompt", "a", "--temperature", 1, "--max-new-tokens", 6, "--seed")
    first, again, other = (run("generate", *options, seed) for seed in (1, 1, 2))
    assert first.stdout == again.stdout != other.stdout


def test_one_answer_is_printed_alone(run, picture, asked) -> None:
    result = run("caption", picture, "--long", "--language", "de")
    assert result.stdout == "0\n"
    assert asked[0]["prompts"] == ["describe de"]
    assert asked[0]["images"].shape == (HEIGHT, WIDTH, 3)


def test_several_answers_say_what_they_are_of(run, picture, asked) -> None:
    result = run("ask", picture, picture, "-q", "how many?", "-q", "where?")
    lines = [f"{picture}: how many?: 0", f"{picture}: where?: 1"]
    assert result.stdout.splitlines() == lines * 2
    assert [c["prompts"] for c in asked] == [
        ["answer en how many?", "answer en where?"]
    ] * 2


def test_a_dtype_in_its_short_spelling(run, picture, asked, monkeypatch) -> None:
    loaded: list[object] = []
    load = PaliGemma2CausalLM.from_preset

    def from_preset(preset: str, dtype: str) -> PaliGemma2CausalLM:
        loaded.append(load(preset, dtype="bf16").backbone.compute_dtype)
        return load(preset, dtype=dtype)

    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", from_preset)
    assert run("caption", picture, "--dtype", "bf16").stdout == "0\n"
    assert loaded == ["bfloat16"]
    result = run("caption", picture, "--dtype", "blfoat16")
    assert result.exit_code == 2
    assert "you mean 'bfloat16'?" in result.stderr


def test_question_as_last_argument(run, picture, asked) -> None:
    assert run("ask", picture, "how many?").stdout == "0\n"
    assert asked[0]["prompts"] == ["answer en how many?"]


@pytest.mark.every_backend
def test_detect_gives_pixels_and_draws(run, picture, asked, tmp_path) -> None:
    before = picture.read_bytes()
    output = tmp_path / "boxes" / "new"
    result = run("detect", picture, "-l", "star", "-l", "dog", "-o", output, "--json")
    [record] = json.loads(result.stdout)
    assert asked[0]["prompts"] == ["detect star ; dog"]
    # x2 = 511 / 1023 of 200 pixels.
    star = {"label": "star", "box_xyxy": [0, 0, 99.9, 100], "score": SCORE}
    star["tokens"] = "<loc0000><loc0000><loc1023><loc0511>"
    assert record["detections"] == [star]
    assert (record["width"], record["height"]) == (WIDTH, HEIGHT)
    drawn = np.asarray(Image.open(record["annotated"]))
    assert Path(record["annotated"]) == output / "scene_boxes.png"
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    is_changed = (drawn != np.asarray(Image.open(picture))).any(axis=-1)
    assert is_changed[:, 99].all()
    assert not is_changed[:, 110:].any()
    assert picture.read_bytes() == before


@pytest.fixture
def address(picture, monkeypatch) -> Iterator[str]:
    """Where the picture is on the web."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve_pictures(picture.read_bytes()) as server:
        yield f"{server.address}/a.png"
        assert server.num_requests <= 2  # One of each command, however often it looks.


def test_pictures_of_the_web(run, picture, address, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("caption", address, picture.as_uri(), "--json")
    records = json.loads(result.stdout)
    assert [record["image"] for record in records] == [address, str(picture)]
    assert (asked[0]["images"] == asked[1]["images"]).all()
    [record] = json.loads(run("detect", address, "-l", "star", "--json").stdout)
    assert record["image"] == address
    assert (record["width"], record["height"]) == (WIDTH, HEIGHT)
    assert record["annotated"] == "a_boxes.png"
    assert (tmp_path / "a_boxes.png").is_file()


def test_addresses_that_cannot_be_used(run, address, asked) -> None:
    missing = address.replace("a.png", "nowhere.png")
    assert_fails(run("caption", missing), "answers 404 Not Found")
    labels = ("-l", "star", "--no-draw", "--coco", "found.json")
    assert_fails(run("detect", address, *labels), "Download it first")
    assert not asked


def test_what_is_left_out_of_a_folder_is_told(run, picture, asked) -> None:
    (picture.parent / "._scene.png").write_bytes(b"none")
    (picture.parent / "scan.pdf").write_bytes(b"none")
    with pytest.warns(UserWarning, match=r"^Expected.*out 2 files.*1 \._\*.*1 \.pdf"):
        assert run("caption", picture.parent).stdout == "0\n"


def test_detect_for_people(run, picture, asked) -> None:
    lines = run("detect", picture, "-l", "star").stdout.splitlines()
    assert lines[0] == f"{picture} (200 x 100 pixels): 1 found"
    assert lines[2].split() == ["star", "0.0", "0.0", "99.9", "100.0", "0.87"]
    beside = picture.with_name("scene_boxes.png")
    assert lines[-1] == f"  drawn into {beside}"
    assert beside.is_file()


@pytest.mark.every_backend
def test_segment_gives_masks(run, picture, asked, tmp_path) -> None:
    result = run("segment", picture, "--labels", "star, dog", "--json")
    [record] = json.loads(result.stdout)
    assert asked[0]["prompts"] == ["segment star ; dog"]
    [star] = record["detections"]
    assert star["mask_pixels"] == 100 * HEIGHT
    assert Path(record["annotated"]) == picture.with_name("scene_masks.png")
    assert Path(record["annotated"]).is_file()


def test_what_is_found_as_a_coco_data_set(run, picture, asked, tmp_path) -> None:
    import pycocotools.coco as pycocotools

    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(picture.read_bytes())
    output = tmp_path / "found.json"
    labels = ("-l", "dog", "-l", "star")
    result = run("segment", folder, picture, *labels, "--no-draw", "--coco", output)
    assert result.exit_code == 0
    data = pycocotools.COCO(output)
    names = ["folder/a.png", "folder/b.png", "scene.png"]
    assert [data.imgs[i]["file_name"] for i in data.getImgIds()] == names
    [star] = data.loadAnns(data.getAnnIds(imgIds=[2]))
    assert data.cats[star["category_id"]]["name"] == "star"
    np.testing.assert_allclose(star["bbox"], [0, 0, 99.902, 100], atol=1e-3)
    assert star["score"] == pytest.approx(SCORE, abs=1e-4)
    assert data.annToMask(star).shape == (HEIGHT, WIDTH)


def test_drawings_of_an_earlier_call_are_no_pictures(run, picture, asked) -> None:
    folder = picture.parent
    for _ in range(2):
        for command in ("detect", "segment"):
            assert run(command, folder, "-l", "star").stdout.count("1 found") == 1
    names = {"scene.png", "scene_boxes.png", "scene_masks.png"}
    assert {path.name for path in folder.iterdir()} == names
    # Named as a file it is what the user wants.
    boxes = folder / "scene_boxes.png"
    assert "1 found" in run("detect", boxes, "-l", "star", "--no-draw").stdout


def test_unsure_things_are_left_out(run, picture, asked) -> None:
    options = ("-l", "star", "--no-draw", "--min-score")
    assert "1 found" in run("detect", picture, *options, 0.87).stdout
    assert "0 found" in run("detect", picture, *options, 0.88).stdout


def test_the_least_score_is_that_of_python(run, picture, asked, monkeypatch) -> None:
    kept: list[object] = []
    find = PaliGemma2CausalLM.detect

    def detect(self: PaliGemma2CausalLM, *args: object, **options: object) -> object:
        kept.append(options["min_score"])
        return find(self, *args, **options)

    monkeypatch.setattr(PaliGemma2CausalLM, "detect", detect)
    run("detect", picture, "-l", "star", "--no-draw")
    run("detect", picture, "-l", "star", "--no-draw", "--min-score", 0.25)
    assert kept == [None, 0.25]


def test_names_in_letters_that_no_font_has(run, picture, asked, tmp_path) -> None:
    options = ("-l", "star", "--font", tmp_path / "none.ttf")
    assert_fails(run("detect", picture, *options), "path of a font file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-l", "star,,dog"), "Expected a label, received an empty text"),
        (("-l", "star", "-l", "star"), "each label once"),
        (("-l", "star", "--coco", "found.txt"), "ending in .json"),
        (("-l", "star", "--coco", "nowhere/found.json"), "can be written to"),
    ],
)
def test_bad_searches_end_before_the_model_loads(
    options, message, run, picture, monkeypatch
) -> None:
    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", None)
    for command in ("detect", "segment"):
        assert_fails(run(command, picture, *options), message)


def test_detect_without_drawing(run, picture, asked) -> None:
    run("detect", picture, "-l", "star", "--no-draw")
    assert list(picture.parent.iterdir()) == [picture]


def test_detect_never_writes_over_a_picture(run, picture, tmp_path) -> None:
    result = run("detect", picture, "-l", "star", "--output", picture)
    assert_fails(result, "which is one of them")
    other = tmp_path / "other" / "scene.png"
    other.parent.mkdir()
    other.write_bytes(picture.read_bytes())
    pair = ("detect", picture, other, "-l", "star", "--output")
    assert_fails(run(*pair, tmp_path / "one.png"), "to be a folder for 2 pictures")
    same = picture.with_suffix(".bmp")
    Image.open(picture).save(same)
    pair = ("detect", picture, same, "-l", "star", "--output")
    assert_fails(run(*pair, tmp_path / "new"), "would both be drawn to")


@pytest.mark.parametrize(
    ("given", "drawn"),
    [
        (["photos"], ["1_boxes.png", "a/1_boxes.png", "b/c/1_boxes.png"]),
        (["photos/a", "photos/b"], ["a/1_boxes.png", "b/c/1_boxes.png"]),
        (["photos/a/1.jpg", "photos/b/c/1.jpg"], ["a/1_boxes.png", "b/c/1_boxes.png"]),
        (["photos/a/1.jpg"], ["1_boxes.png"]),
    ],
)
def test_drawings_keep_their_sub_folders(given, drawn, run, asked, picture, tmp_path):
    for name in ("1.jpg", "a/1.jpg", "b/c/1.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(picture).save(path)
    output = tmp_path / "out"
    paths = [tmp_path / name for name in given]
    assert run("detect", *paths, "-l", "star", "--draw", output).exit_code == 0
    found = [path for path in output.rglob("*") if path.is_file()]
    assert sorted(path.relative_to(output).as_posix() for path in found) == drawn


@pytest.mark.parametrize("command", ["caption", "ask", "generate", "detect", "segment"])
def test_one_broken_picture_of_a_folder(command, run, asked, picture, tmp_path):
    """The others are answered, it is named at the end, and the exit status is 1."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        (folder / name).write_bytes(picture.read_bytes())
    (folder / "b.png").write_bytes(picture.read_bytes()[:1000])
    options = {
        "caption": (),
        "ask": ("-q", "where?"),
        "generate": ("-p", "ocr"),
        "detect": ("-l", "star", "--no-draw"),
        "segment": ("-l", "star", "--no-draw"),
    }
    for form in ((), ("--json",)):
        result = run(command, folder, *options[command], *form)
        assert result.exit_code == 1
        said = result.stdout
        if form:
            said = "\n".join(record["image"] for record in json.loads(said))
        assert [name for name in "abc" if f"{name}.png" in said] == ["a", "c"]
        first, second = result.stderr.strip().splitlines()[-2:]
        assert first == "Error: 1 of 3 pictures could not be read, all others were."
        assert str(folder / "b.png") in second


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("out.psd", "ends in .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff"),
        ("out.h5", "ends in .png"),
        ("out.txt", "ends in .png"),
        ("plain", "is none"),
        ("plain/boxes", "Not a directory"),
        ("taken", "a folder of that name is there"),
        ("/proc/x/y.png", "'/proc/x' (No such file or directory)"),
        ("n" * 300 + ".png", "(File name too long)"),
        ("n" * 300, "(File name too long)"),
    ],
)
def test_bad_outputs_end_before_the_model_loads(
    output, message, run, picture, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", None)
    (tmp_path / "plain").write_text("text of the user")
    (tmp_path / "taken" / "scene_boxes.png").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    result = run("detect", picture, "-l", "star", "-o", tmp_path / output)
    assert_fails(result, message)
    assert "[Errno" not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("ending", [".png", ".JPG", ".jpeg", ".webp", ".bmp", ".tiff"])
def test_detect_writes_every_ending_it_names(
    ending, run, picture, asked, tmp_path
) -> None:
    output = tmp_path / f"out{ending}"
    output.write_text("replaced")
    assert run("detect", picture, "-l", "star", "-o", output).exit_code == 0
    with Image.open(output) as drawn:
        assert drawn.size == (WIDTH, HEIGHT)
    assert sorted(tmp_path.iterdir()) == sorted([output, picture])


def test_a_folder_may_have_a_dot_in_its_name(run, picture, asked, tmp_path) -> None:
    folder = tmp_path / "boxes.v2"
    folder.mkdir()
    assert run("detect", picture, "-l", "star", "-o", folder).exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["scene_boxes.png"]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    run, picture, asked, tmp_path, monkeypatch
) -> None:
    def fill_disk(self: Image.Image, path: Path, **options: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    output = tmp_path / "out.png"
    output.write_text("old")
    monkeypatch.setattr(Image.Image, "save", fill_disk)
    result = run("detect", picture, "-l", "star", "-o", output)
    assert_fails(result, "No space left on device")
    assert output.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == sorted([output, picture])


def test_detect_says_that_it_replaces() -> None:
    help_text = " ".join(CliRunner().invoke(app, ["detect", "--help"]).stdout.split())
    assert "replaced" in help_text


def test_question_longer_than_a_file_name(run, picture, asked) -> None:
    question = "how many? " * 30
    assert run("ask", picture, question).stdout == "0\n"
    assert_fails(run("ask", question), "Expected a picture file and then a question")


def test_the_same_prompt_twice_is_answered_twice(run, picture, asked) -> None:
    lines = run("ask", picture, "-q", "where?", "-q", "where?").stdout.splitlines()
    assert lines == ["where?: 0", "where?: 1"]
    records = json.loads(run("generate", "-p", "a", "-p", "a", "--json").stdout)
    assert [record["text"] for record in records] == ["0", "1"]


def test_home_folder(run, picture, asked, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("caption", "~/scene.png").stdout == "0\n"
    assert run("ask", "~/scene.png", "how many?").stdout == "0\n"
    assert_fails(run("ask", "~/scene.png"), "Expected a question after")
    found = run("detect", "~/scene.png", "-l", "star", "-o", "~/out", "--json")
    [record] = json.loads(found.stdout)
    assert record["image"] == str(picture)
    assert record["annotated"] == str(tmp_path / "out" / "scene_boxes.png")
    assert_fails(run("caption", "~nobody_of_that_name/a.png"), "does not exist")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.png", None, "does not exist"),
        ("text.png", b"no picture", "not one or is damaged"),
        ("cut.png", "half", "not one or is damaged"),
    ],
)
def test_bad_pictures_end_before_the_model_loads(
    name, content, message, run, picture, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", None)
    bad = tmp_path / name
    if content:
        half = picture.read_bytes()[: picture.stat().st_size // 2]
        bad.write_bytes(half if content == "half" else content)
    if content is None:  # A slip of the pen; a damaged one is told in the end.
        assert_fails(run("caption", picture, bad), message)
    assert_fails(run("caption", bad), message)
    assert_fails(run("caption", bad, bad), message)
    assert_fails(run("ask", bad, "how many?"), message)
    assert_fails(run("detect", bad, "-l", "star"), message)
    assert_fails(run("generate", bad, "-p", "ocr"), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ask", "PICTURE"), "Expected a question after the picture files"),
        (("ask", "PICTURE", "/"), "the file or folder '/' last"),
        (("ask", "how many?"), "Expected a picture file and then a question"),
        (("ask", "PICTURE", " "), "received an empty text"),
        (("caption", "PICTURE", "--language", "he"), "Write 'iw' for it"),
        (("detect", "PICTURE", "-l", "cat ; dog"), "Pass several labels"),
        (("caption", "PICTURE", "--seed", 1), "Add --temperature 1"),
        (("caption", "PICTURE", "--preset", "pali_gemma2_nona"), "pali_gemma2_nano"),
        (("generate", "-p", "<image>ocr"), "Remove it"),
    ],
)
def test_bad_words(arguments, message, run, picture) -> None:
    words = [picture if word == "PICTURE" else word for word in arguments]
    assert_fails(run(*words), message)


def test_prompt_that_is_too_long(run) -> None:
    result = run("generate", "-p", "word " * 300)
    assert_fails(result, "horten")
    assert "None" not in result.stderr


def test_directory_of_another_model(run, tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    result = run("generate", "-p", "a", "--preset", tmp_path)
    assert_fails(result, "'llama'")


def test_truncated_weights(run, preset, tmp_path) -> None:
    for path in preset.rglob("*.*"):
        target = tmp_path / path.relative_to(preset)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    weights = tmp_path / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:2000])
    result = run("generate", "-p", "a", "--preset", tmp_path)
    assert_fails(result, "truncated or damaged")


def test_backend_that_is_unknown(run, picture) -> None:
    result = run("caption", picture, "--backend", "mxnet")
    assert result.exit_code == 2
    assert "mxnet" in result.stderr


def test_backend_that_is_not_installed(run, picture, monkeypatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    result = run("caption", picture, "--backend", "torch")
    assert_fails(result, "pip install torch")


def test_backend_after_keras_has_started(run, picture) -> None:
    running = keras.config.backend()
    other = "jax" if running == "torch" else "torch"
    result = run("caption", picture, "--backend", other)
    assert_fails(result, f"Set KERAS_BACKEND={other}")


def test_backend_of_the_environment(monkeypatch) -> None:
    monkeypatch.setattr(backends, "running_backend", lambda: None)
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    with pytest.raises(ValueError, match=r"jax, torch, tensorflow.*'theano'"):
        backends.use_backend(None)
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setattr(backends, "find_spec", lambda name: name == "torch" or None)
    assert backends.use_backend(None) == "torch"
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install jax"):
        backends.use_backend(None)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Expected this."),
        TypeError("Expected this."),
        FileNotFoundError("Expected this."),
        OSError("Expected this."),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "Expected this."),
    ],
)
def test_what_loading_raises_is_told(error, run, monkeypatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", load)
    assert_fails(run("generate", "-p", "a"), "Expected this.")


def test_out_of_memory_is_told(run, monkeypatch) -> None:
    def fill_memory(*_: object, **__: object) -> None:
        raise RuntimeError("RESOURCE_EXHAUSTED: allocating 9 GB\nstack")

    monkeypatch.setattr(PaliGemma2CausalLM, "generate", fill_memory)
    assert_fails(run("generate", "-p", "a"), "--dtype bfloat16")


def test_numbers_that_are_none_are_told(run, monkeypatch) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise FloatingPointError("Expected finite numbers.")

    monkeypatch.setattr(PaliGemma2CausalLM, "generate", diverge)
    assert_fails(run("generate", "-p", "a"), "Expected finite numbers.")


@pytest.mark.parametrize(
    ("encoding", "shown"), [("cp1252", "é \\u732b \\udcff"), ("utf-8", "é 猫 \\udcff")]
)
def test_text_that_stdout_cannot_hold_is_escaped(encoding, shown, monkeypatch) -> None:
    """A name of a file that is not UTF-8 has half a character in it."""
    text = "é 猫 \udcff 🐱"
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    messages.escape_for_stdout()
    messages.typer.echo(text)
    messages.print_json({"text": text})
    sys.stdout.flush()
    line, *document = written.getvalue().decode(encoding).splitlines()
    assert line.startswith(shown)
    assert json.loads("".join(document)) == {"text": text}


@pytest.mark.parametrize(
    ("said", "shown"),
    [("no row", "no row."), ("No row.", "No row."), ("Is it open?", "Is it open?")],
)
def test_an_error_ends_with_one_mark(said, shown, capsys) -> None:
    with pytest.raises(typer.Exit), messages.reported_errors():
        raise ValueError(said)
    assert capsys.readouterr().err == f"Error: {shown}\n"


def test_a_defect_is_told_and_has_its_traceback_on_demand(run, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(PaliGemma2CausalLM, "generate", fail)
    result = run("generate", "-p", "a")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: RuntimeError: a defect. This is a fault")
    assert result.stderr.count("\n") == 1
    monkeypatch.setenv("KERAS_PG2_DEBUG", "1")
    with pytest.raises(RuntimeError, match="a defect"):
        run("generate", "-p", "a")


def test_presets(run) -> None:
    records = json.loads(run("presets", "--json").stdout)
    assert set(PRESETS) <= {record["name"] for record in records}
    by_name = {record["name"]: record for record in records}
    mix = by_name["pali_gemma2_mix_10b_448"]
    assert mix["source"] == "google/paligemma2-10b-mix-448"
    assert (mix["image_size"], mix["parameters"]) == (448, 9_663_294_192)
    table = run("presets").stdout
    assert all(name in table for name in by_name)
    assert "9.66 B" in table


def test_a_released_model_is_downloaded(run, picture, monkeypatch) -> None:
    def refuse(uri: str, with_weights: bool) -> Path:
        raise PermissionError(f"no access to {uri}")

    monkeypatch.setattr(download, "download", refuse)
    result = run("caption", picture, "--preset", "pali_gemma2_mix_3b_224")
    assert result.exit_code == 2
    assert "no access to hf://google/paligemma2-3b-mix-224" in result.stderr


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_convert_and_info(preset, tmp_path) -> None:
    target = tmp_path / "hf"
    result = invoke("convert", preset, target, "--to", "hf", "--dtype", "bf16")
    assert result.exit_code == 0, result.stderr
    assert "56,136 parameters" in result.stdout
    record = json.loads(invoke("info", target, "--json").stdout)
    assert record["format"] == "huggingface"
    assert record["parameters"] == 56_136
    assert record["dtype"] == "bfloat16"
    assert record["text_decoder"]["sliding_window"] == 4
    shown = invoke("info", target).stdout
    assert "56,136" in shown
    assert "sliding_window" in shown
    again = invoke("convert", preset, target, "--to", "hf")
    assert again.exit_code == 2
    assert "there already" in again.stderr
    assert json.loads(invoke("info", target, "--json").stdout) == record
    replaced = invoke("convert", preset, target, "--to", "hf", "--overwrite")
    assert replaced.exit_code == 0
    assert json.loads(invoke("info", target, "--json").stdout)["dtype"] == "float32"


def test_info_of_a_released_checkpoint_needs_no_files() -> None:
    record = json.loads(invoke("info", "google/paligemma2-28b-pt-448", "--json").stdout)
    assert record["parameters"] == 27_651_076_848
    assert record["text_decoder"]["query_pre_attn_scalar"] == 144
    assert record["kaggle_handle"].startswith("kaggle://keras/paligemma2/")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("convert", "SOURCE", "out", "--to", "gguf"), "Expected a format of hf"),
        (("convert", "SOURCE", "out", "--to", "npz"), "ends in .npz"),
        (("convert", "SOURCE", "out", "--to", "hf", "--dtype", "sfp"), "'sfp'"),
        (("convert", "nowhere", "out", "--to", "hf"), "name of a preset"),
        (("info", "nowhere"), "name of a preset"),
    ],
)
def test_bad_words_about_checkpoints(arguments, message, preset) -> None:
    words = [preset if word == "SOURCE" else word for word in arguments]
    result = invoke(*words)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("command", ["convert", "info"])
def test_help_about_checkpoints(command) -> None:
    assert f"keras-pg2 {command}" in invoke(command, "--help").stdout


def test_sizes_of_presets(run) -> None:
    records = json.loads(run("presets", "--json").stdout)
    sizes = {record["name"]: record for record in records}["pali_gemma2_pt_3b_224"]
    # On the hub: 3,032,242,416 bfloat16 numbers.
    assert sizes["download_bytes"] == 2 * 3_032_242_416
    memory = sizes["memory_bytes"]
    assert memory["bfloat16"] == 2 * 3_032_094_960
    # Kernels and the embedding are nearly all of it: a byte each, or half of one with
    # scales and zero points.
    assert 1 < 2 * memory["int8"] / memory["bfloat16"] < 1.01
    assert 1 < 4 * memory["int4"] / memory["bfloat16"] < 1.06


@pytest.mark.parametrize("command", ["caption", "ask", "detect", "generate", "demo"])
def test_help_has_an_example(command) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"keras-pg2 {command}" in result.stdout
    assert "--preset" in result.stdout


def test_demo_on_a_drawn_scene(run, asked, tmp_path) -> None:
    result = run("demo", "--output", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    endings = ("", "_boxes", "_masks")
    assert names == {f"demo_scene_27{ending}.png" for ending in endings}
    assert "caption en: 0  (right would be: a" in result.stdout
    assert result.stdout.count("1 found") == 2
    assert len(asked) == 7


def test_demo_on_a_picture_of_ones_own(run, asked, picture, tmp_path) -> None:
    output = tmp_path / "out"
    run("demo", "--image", picture, "--output", output, "-l", "cat")
    names = {path.name for path in output.iterdir()}
    assert names == {"scene_boxes.png", "scene_masks.png"}
    assert [call["prompts"] for call in asked[-2:]] == [["detect cat"], ["segment cat"]]


def test_demo_keeps_what_it_has_not_drawn(
    run, asked, picture, tmp_path, monkeypatch
) -> None:
    output = tmp_path / "out"
    assert run("demo", "--output", output).exit_code == 0
    assert run("demo", "--output", output).exit_code == 0  # Its own are no obstacle.
    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", None)
    scene = output / "demo_scene_27.png"
    for content in (picture.read_bytes(), b"no picture"):
        scene.write_bytes(content)
        assert_fails(run("demo", "--output", output), "something else is there")
        assert scene.read_bytes() == content


def test_demo_needs_a_folder(run, picture, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", None)
    assert_fails(run("demo", "-o", tmp_path / "out.png"), "named like a file")
    assert_fails(run("demo", "-o", picture), "is none")
    assert list(tmp_path.iterdir()) == [picture]


def run_script(*words: str, **environment: str) -> subprocess.CompletedProcess:
    script = Path(sys.executable).with_name("keras-pg2")
    return subprocess.run(
        [sys.executable, str(script), *words],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
    )


def test_process_prints_nothing_but_the_result(preset) -> None:
    options = ("--max-new-tokens", "2", "--json", "--preset", str(preset))
    # A pipe of Windows, which does not hold the prompt.
    cp1252 = {"PYTHONIOENCODING": "cp1252"}
    done = run_script("generate", "--prompt", "caption 猫", *options, **cp1252)
    assert done.returncode == 0, done.stderr
    assert [record["prompt"] for record in json.loads(done.stdout)] == ["caption 猫"]
    assert done.stderr == ""


def test_process_with_bad_input() -> None:
    done = run_script("caption", "missing.png")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: Expected an image file, but 'missing.png'")
    assert done.stderr.count("\n") == 1


def test_process_starts_without_keras() -> None:
    # At level 0 messages of libraries, and so Python's list of imports, are kept.
    verbose = {"PYTHONPROFILEIMPORTTIME": "1", "TF_CPP_MIN_LOG_LEVEL": "0"}
    done = run_script("presets", "--json", **verbose)
    assert len(json.loads(done.stdout)) >= len(PRESETS)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "keras_pg2.catalogue.names" in imported
    assert not imported & {"keras", "jax", "torch", "tensorflow"}
