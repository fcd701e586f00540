"""`keras-pg2 finetune`: a run on a tiny preset, and what it says to bad input."""

from __future__ import annotations

import csv
import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.cli import app
from keras_pg2.cli.finetuning import finetune
from keras_pg2.cli.finetuning_choices import Files, Trained
from keras_pg2.finetuning import Settings
from tests.support.finetuning_runs import PROMPT, make_rows
from tests.support.tiny_models import random_task


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("presets") / "tiny"
    random_task().save_to_preset(directory)
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`rows.jsonl` and `rows.csv` of 12 rows."""
    folder = tmp_path_factory.mktemp("data")
    rows = make_rows(folder / "pictures", 12)
    lines = [
        {
            "image": f"pictures/{Path(row['images']).name}",
            "prefix": row["prompts"],
            "suffix": row["responses"],
        }
        for row in rows
    ]
    write_lines(folder / "rows.jsonl", lines)
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return folder


def write_lines(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_every_option_sets_something():
    named = {f.name for kind in (Files, Trained, Settings) for f in fields(kind)}
    named -= {"weight_decay", "num_samples"}  # For Python alone.
    others = {"output", "choice", "resume", "checkpoint_activations"}
    options = set(inspect.signature(finetune.__wrapped__).parameters)
    assert options == named | others


@pytest.fixture
def run(preset: Path) -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        words = ["finetune", *map(str, arguments)]
        if "--preset" not in words:
            words += ["--preset", str(preset)]
        result = CliRunner().invoke(app, words)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def assert_fails(result: Result, *messages: str) -> None:
    assert result.exit_code == 2, result.stderr
    for message in messages:
        assert message in result.stderr


def test_a_run_and_what_it_can_not_go_on_with(run, data, preset, tmp_path):
    output = tmp_path / "run"
    words = ["--data", data / "rows.csv", "--eval-share", "0.25", "--output", output]
    words += ["--epochs", 1, "--batch-size", 4, "--rank", 2, "--learning-rate", 0.01]
    words += ["--dropout", 0.125]
    done = run(*words)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"{output / 'adapter.safetensors'}: exact_match 0.")
    for line in (
        "rows           9, 0 skipped",
        "learning rate  0.01",
        "dropout 0.125",
        "memory         about 0.",
        "LoRA of rank 2",
    ):
        assert line in done.stderr
    settings = json.loads((output / "settings.json").read_text())
    assert settings["model"]["base"] == "tiny"
    assert settings["data"]["num_eval_rows"] == 3
    model = PaliGemma2CausalLM.from_preset(str(preset))
    assert model.adapters.load(output) == "run"
    assert_fails(run(*words), "--resume")
    again = run(*words, "--resume", "--seed", 3)
    assert_fails(again, "settings seed was 0 and is 3", "another directory")
    rows = [*words, "--resume"]
    rows[1] = data / "rows.jsonl"
    # The same rows in another file are the same rows.
    assert run(*rows).exit_code == 0
    other = tmp_path / "other"
    random_task(seed=1).save_to_preset(other)
    assert_fails(
        run(*words, "--resume", "--preset", other), "was 'tiny' and is 'other'"
    )
    same_name = tmp_path / "copy" / "tiny"
    random_task(seed=1).save_to_preset(same_name)
    result = run(*words, "--resume", "--preset", same_name)
    assert_fails(result, "Expected the base", "other")
    state = output / "last" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    assert_fails(run(*words, "--resume"), "a whole checkpoint", "state.safetensors")
    shutil.rmtree(output / "last")
    assert_fails(run(*words, "--resume"), "best, adapter.safetensors beside it")


def test_an_adapter_of_a_quantised_base(run, data, preset, tmp_path):
    output = tmp_path / "run"
    words = ["--data", data / "rows.jsonl", "--output", output, "--quantize", "int4"]
    words += ["--epochs", 1, "--batch-size", 4, "--rank", 2]
    done = run(*words)
    assert done.exit_code == 0, done.stderr
    assert "of int4 kernels" in " ".join(done.stderr.split())
    model = PaliGemma2CausalLM.from_preset(str(preset))
    model.adapters.load(output / "adapter.safetensors")
    again = run(*words, "--resume", "--quantize", "int8")
    assert_fails(again, "of int4 kernels' and is", "of int8 kernels'")


def test_features_of_pictures_are_kept(run, data, tmp_path):
    output = tmp_path / "run"
    words = ["--data", data / "rows.jsonl", "--eval-share", "0.25", "--output", output]
    words += ["--epochs", 1, "--batch-size", 4, "--cache-features"]
    done = run(*words, "--full", "--freeze", "vision")
    assert done.exit_code == 0, done.stderr
    # Four tokens of 16 floats, and a header of 128 bytes.
    line = f"image features of 12 pictures, computed once: {12 * 0.384:.1f} kB of float"
    assert line in " ".join(done.stderr.split())
    files = list((output / "features").iterdir())
    # 64 numbers, and a header of at most 128 bytes.
    assert len(files) == 12
    assert all(256 < file.stat().st_size <= 384 for file in files)
    assert "exact_match 0." in done.stdout


@pytest.fixture
def fails(run, data, tmp_path, monkeypatch) -> Callable[..., None]:
    """Checks that a command fails before the model is loaded, leaving nothing."""

    def load(*arguments: object, **kwargs: object) -> None:
        raise AssertionError("The model was loaded.")

    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", load)

    def fails(arguments: list[object], *messages: str) -> None:
        words = list(arguments)
        if "--data" not in words:
            words += ["--data", data / "rows.jsonl"]
        output = tmp_path / "run"
        assert_fails(run(*words, "--output", output), *messages)
        assert not output.exists()

    return fails


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--data", "/no/such.jsonl"], ["/no/such.jsonl"]),
        (["--recipe", "docvqb"], ["Did you mean 'docvqa'"]),
        (["--metric", "beauty"], ["a metric", "'beauty'"]),
        (["--targets", "querry_dense"], ["query_dense"]),
        (["--parts", "eyes"], ["vision_encoder, projection, text_decoder"]),
        (["--freeze", "vision", "--parts", "vision"], ["vision_encoder in both"]),
        # Told before a file is looked for.
        (
            ["--data", "/no/such.jsonl", "--full", "--dtype", "bf16"],
            ["weights in float32", "(--dtype mixed_bfloat16)", "enable_lora"],
        ),
        (["--full", "--rank", "4"], ["--rank without --full"]),
        (["--full", "--freeze", "vision,projection,decoder"], ["something to train"]),
        (["--rank", "0"], ["rank to be above 0"]),
        (["--alpha", "nan"], ["alpha to be above 0"]),
        (["--learning-rate", "inf"], ["learning_rate above 0"]),
        (["--targets", ""], ["names for --targets"]),
        (["--patience", "2"], ["--eval-share"]),
        (["--full", "--quantize", "int8"], ["--quantize without --full"]),
        (["--quantize", "int2"], ["int8, int4", "'int2'"]),
        (["--text-length", "3"], ["12 longer", "--text-length"]),
        (["--batch-size", "50"], ["--batch-size"]),
        (["--epochs", "0"], ["epochs >= 1"]),
        (["--dropout", "1"], ["dropout in [0, 1)"]),
        (["--cache-features"], ["vision tower", "--parts text_decoder"]),
        (["--cache-features", "--full"], ["vision tower", "--freeze vision_encoder"]),
        (["--cache-features", "--augment"], ["either augment or cache_features"]),
        (["--preset", "pali_gema2_nano"], ["Did you mean"]),
        (["--format", "parquet"], ["jsonl, table"]),
        (["--eval-data", "/no/such.jsonl"], ["/no/such.jsonl"]),
        (["--eval-data", "a", "--eval-share", "0.1"], ["either"]),
        (["--eval-share", "1.5"], ["below 1"]),
        (["--resume"], ["Start without"]),
    ],
)
def test_bad_options(fails, arguments, messages):
    fails(arguments, *messages)


def test_a_directory_that_cannot_be_made(run, data, monkeypatch):
    def refuse(*arguments: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    result = run("--data", data / "rows.jsonl", "--output", data / "runs" / "new")
    assert_fails(result, f"but in {str(data)!r}: Permission denied")


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"image": "gone.png"}, ["line 2", "gone.png"]),
        ({"suffix": " "}, ["line 2", "'suffix'"]),
        ({"prefix": 3}, ["line 2", "'prefix'"]),
        ({"image": "broken.png"}, ["bad.jsonl, line 2", "broken.png", "--skip-bad"]),
    ],
)
def test_bad_rows(fails, data, run, change, messages):
    (data / "broken.png").write_bytes((data / "pictures/000.png").read_bytes()[:90])
    row = {"image": "pictures/000.png", "prefix": PROMPT, "suffix": "cat"}
    path = write_lines(data / "bad.jsonl", [row, {**row, **change}])
    fails(["--data", path], *messages)
    # Left out, one row is left, which is no batch of two.
    fails(["--data", path, "--skip-bad", "--batch-size", "2"], "received 1 rows")


BOX = "<loc0001><loc0002><loc0003><loc0004> cat"


def test_boxes_that_are_none(fails, data):
    row = {"image": "pictures/000.png", "prefix": PROMPT, "suffix": BOX}
    path = write_lines(data / "boxes.jsonl", [row, {**row, "suffix": BOX[9:]}])
    messages = ["boxes.jsonl, line 2: expected boxes", "'<loc0002>", "--metric"]
    fails(["--data", path], *messages)
    # Where there are others alone it is another task, unless the metric says not.
    path = write_lines(data / "points.jsonl", [{**row, "suffix": BOX[9:]}] * 2)
    fails(["--data", path, "--metric", "ap50"], "four a box")
    with pytest.warns(UserWarning, match="scored by exact_match"):
        fails(["--data", path, "--batch-size", "4"], "received 2 rows")


def test_answers_that_are_cut_are_told(fails, data):
    row = {"image": "pictures/000.png", "prefix": "ocr", "suffix": "cat " * 9}
    path = write_lines(data / "long.jsonl", [row] * 3)
    arguments = ["--data", path, "--text-length", "8", "--batch-size", "4"]
    with pytest.warns(UserWarning, match="3 longer ones, whose answers will be cut"):
        fails([*arguments[:-1], "3", "--accumulate", "99"], "one update")


def test_what_is_left_out_and_decided_is_told(fails, data):
    """COCO with a picture that is not there, one without objects, and an overhang."""
    sizes = {"000": (40, 30), "001": (40, 30), "gone": (8, 8)}
    content = {
        "images": [
            {"id": i, "file_name": f"{name}.png", "width": w, "height": h}
            for i, (name, (w, h)) in enumerate(sizes.items())
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog; cow"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 1, "bbox": [-3, 0, 20, 10]}
        ],
    }
    path = data / "coco.json"
    path.write_text(json.dumps(content))
    arguments = ["--data", path, "--image-folder", data / "pictures"]
    fails(arguments, "image 2: Expected an image file", "gone.png", "--skip-bad")
    arguments += ["--skip-bad", "--batch-size", "50"]
    fails(
        arguments,
        "received 2 rows",
        f"Skipped: {path}: image 2: Expected an image file",
        "Rows to train on: Boxes cut at the border of their picture: 1, by up to 3",
        "Rows to train on: Rows with an empty answer",
    )
    fails([*arguments, "--absent-share", "0"], "received 1 rows", "without a row: 1.")
    fails([*arguments, "--max-overhang", "1"], "2 were skipped", "annotation 1: ")
    fails([*arguments, "--prompt", "caption en"], "--prompt", "which is coco")
    fails([*arguments, "--encoding", "cp1252"], "--encoding", "which is coco")
