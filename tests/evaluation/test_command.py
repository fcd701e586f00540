"""`keras-pg2 evaluate`: whole runs of the nano preset, and what bad input gets."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.cli import app
from keras_pg2.evaluation import read_report
from tests.support.tiny_models import random_task


def run(*arguments: object) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def succeeds(*arguments: object) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("presets") / "tiny"
    random_task().save_to_preset(directory)
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four questions about two pictures."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    lines = [
        {
            "id": f"q{i}",
            "image": "ab"[i % 2] + ".png",
            "question": "what is it?",
            "answers": ["a cat", "cat"],
        }
        for i in range(4)
    ]
    write_lines(folder / "test.jsonl", lines)
    write_lines(
        folder / "answers.jsonl",
        [{"id": f"q{i}", "text": ["cat", "dog"][i % 2]} for i in range(4)],
    )
    return folder


def write_lines(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_nano_on_held_out_scenes(tmp_path):
    """The figures of docs/nano.md, on a few scenes: nearly all answers are right."""
    common = ["--data", tmp_path / "scenes", "--limit", "12", "--num-draws", "50"]
    output = tmp_path / "report"
    result = succeeds(
        *common, "--data-set", "scenes", "--metric", "exact_match", "--output", output
    )
    assert "pali_gemma2_nano on scenes test: 12 answers" in result.output
    found = read_report(output)
    assert found.figures["exact_match"] >= 0.9
    assert (found.data_set, found.split) == ("scenes", "test")
    again = succeeds(*common, "--data-set", "scenes", "--output", output, "--json")
    record = json.loads(again.stdout)
    assert record["figures"] == dict(found.figures)
    assert record["num_examples"] == 12


def test_a_preset_an_adapter_and_parts(preset, data, tmp_path):
    task = random_task()
    task.enable_lora(2)
    task.adapters.save(tmp_path / "own.safetensors")
    arguments = [
        *("--preset", preset, "--data", data / "test.jsonl", "--metric", "anls"),
        *("--max-new-tokens", "3", "--num-draws", "20"),
    ]
    succeeds(*arguments, "--output", tmp_path / "whole")
    for i in (0, 1):
        succeeds(*arguments, "--shard", f"{i}/2", "--output", tmp_path / f"part{i}")
    parts = ["--merge", tmp_path / "part1", "--merge", tmp_path / "part0"]
    succeeds(*parts, "--output", tmp_path / "merged")
    whole, merged = (read_report(tmp_path / name) for name in ("whole", "merged"))
    assert (merged.figures, merged.intervals) == (whole.figures, whole.intervals)
    assert merged.settings == whole.settings
    succeeds(
        *arguments,
        *("--adapter", tmp_path / "own.safetensors", "--output", tmp_path / "lora"),
    )
    assert read_report(tmp_path / "lora").model.endswith("own.safetensors")


def test_a_file_of_predictions_needs_no_model(data, tmp_path, monkeypatch):
    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", None)
    output = tmp_path / "report"
    result = succeeds(
        *("--predictions", data / "answers.jsonl", "--data", data / "test.jsonl"),
        *("--recipe", "docvqa", "--output", output),
    )
    # Two of four are one of the answers, "dog" is not near one: ANLS 0.5.
    assert "anls  0.5000  0.0000 to 1.0000" in result.output
    found = read_report(output)
    assert found.data_set == str(data / "test.jsonl")
    assert (found.recipe, found.settings["prompt"]) == ("docvqa", "{question}")


SCORE_AND_COMPARE = """
import sys
from typer.testing import CliRunner
from keras_pg2.cli import app
answers, data, folder = sys.argv[1:]
score = ["evaluate", "--predictions", answers, "--data", data, "--output", folder]
compare = ["compare", folder, answers, "--data", data]
for arguments in (score, compare):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
heavy = {"keras", "keras_hub", "jax", "tensorflow", "torch"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_file_of_predictions_is_scored_without_keras(data, tmp_path):
    code = [sys.executable, "-c", SCORE_AND_COMPARE]
    paths = [data / "answers.jsonl", data / "test.jsonl", tmp_path / "report"]
    subprocess.run([*code, *map(str, paths)], check=True)


@pytest.fixture
def fails(data, tmp_path, monkeypatch) -> Callable[..., None]:
    """Asserts that a command ends with a message before a model is loaded."""

    def load(*arguments: object, **kwargs: object) -> None:
        raise AssertionError("The model was loaded.")

    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", load)

    def fails(arguments: list[object], *messages: str) -> None:
        words = list(arguments)
        if "--data" not in words and "--merge" not in words:
            words += ["--data", data / "test.jsonl"]
        result = run(*words, "--output", tmp_path / "report")
        assert result.exit_code == 2, result.output
        text = " ".join(result.output.split())
        for message in messages:
            assert message in text, text
        assert not (tmp_path / "report" / "report.json").exists()

    return fails


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--data", "/no/such.jsonl"], ["there is no '/no/such.jsonl'"]),
        (["--data-set", "docvqa", "--data", "/no/such"], ["there is no '/no/such'"]),
        (["--data-set", "yolo-masks"], ["--data-set yolo,", "'yolo-masks'"]),
        (["--recipe", "docvqb"], ["Did you mean 'docvqa'"]),
        (["--metric", "exact_matsch"], ["Did you mean exact_match"]),
        (["--recipe", "vqav2"], ["'q0': expected the answers of at least 4 people"]),
        (["--recipe", "msvd_qa"], ["8 frames", "msvd_qa", "'q0'"]),
        (["--prompt", "{word}"], ["'q0'", "'word'"]),
        (["--mode", "detect"], ["'q0': Expected a prompt as 'detect cat", "--mode"]),
        (["--metric", "vqa_accuracy"], ["'q0'", "received 2", "exact_match_lower"]),
        (["--mode", "guess"], ["auto, answer, detect"]),
        (["--metric", "perplexity", "--max-new-tokens", "3"], ["--max-new-tokens"]),
        (
            ["--metric", "perplexity", "--num-beams", "2"],
            ["--num-beams", "likelihoods"],
        ),
        (["--shard", "2/2"], ["--shard as 0/2 or 1/2", "'2/2'"]),
        (["--shard", "5/9"], ["examples in shard"]),
        (["--preset", "pali_gemma2_nan"], ["pali_gemma2_nano"]),
        (["--adapter", "/no/such"], ["Expected an adapter"]),
        (["--predictions", "/no/such"], ["a file of predictions"]),
        (["--split", "moon"], ["Expected a split of jsonl", "'moon'"]),
        (["--data-set", "docvqb"], ["docvqa"]),
        (["--merge", "/no/such"], ["report.json", "/no/such"]),
        (["--merge", "a", "--shard", "0/2", "--limit", "3"], ["--limit, --shard too"]),
        (
            ["--merge", "a", "--batch-size", "4", "--seed", "1"],
            ["--batch-size, --seed"],
        ),
        (["--merge", "a", "--preset", "pali_gemma2_nano"], ["--preset too"]),
        (["--predictions", "a", "--num-beams", "2"], ["--num-beams too"]),
        (
            ["--predictions", "a", "--adapter", "b", "--dtype", "float32"],
            ["--adapter, --dtype"],
        ),
    ],
)
def test_wrong_inputs_are_told_before_the_model_loads(fails, arguments, messages):
    fails(arguments, *messages)


def test_reports_do_not_take_the_place_of_a_models_answers(data, preset, tmp_path):
    own, common = tmp_path / "own", ("--data", data / "test.jsonl", "--num-draws", "0")
    succeeds(*common, "--preset", preset, "--shard", "0/2", "--output", own)
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    for others in (
        [*common, "--predictions", data / "answers.jsonl"],
        ["--merge", own, "--merge", tmp_path / "other"],
    ):
        result = run(*others, "--output", own)
        assert result.exit_code == 2
        assert "--output" in result.output
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before


def test_answers_that_decode_no_masks_need_no_preset(data, fails):
    answers = ["--predictions", data / "answers.jsonl", "--metric", "exact_match"]
    fails([*answers, "--preset", "pali_gemma2_nano"], "--preset", "exact_match")


def test_lines_that_cannot_be_used(data, fails):
    line = {"id": 1, "image": "a.png", "question": "what?", "answer": "cat"}
    fails(["--data", write_lines(data / "double.jsonl", [line] * 2)], "twice")
    missing = {**line, "image": "none.png"}
    fails(["--data", write_lines(data / "missing.jsonl", [missing])], "none.png")
    number = {**line, "answers": ["3", " "]}
    del number["answer"]
    fails(["--data", write_lines(data / "blank.jsonl", [number])], "'answers.1'")


def test_predictions_of_another_form_are_told(data, fails):
    results = data / "vqa_results.json"
    results.write_text(json.dumps([{"question_id": "q0", "answer": "cat"}]))
    given = ["--metric", "exact_match", "--predictions"]
    expected = '{"id": question_id, "text": answer}'
    fails([*given, results], "received a JSON list", expected)
    # Named before the three ids that are missing.
    nothing = write_lines(data / "null.jsonl", [{"id": "q0", "text": None}])
    fails([*given, nothing], "null.jsonl, line 1", "text", "null")


def test_scenes_need_a_directory_to_be_drawn_into():
    result = run("--data-set", "scenes", "--output", "report")
    assert result.exit_code == 2
    text = " ".join(result.output.split())
    assert "drawn into the directory that --data names" in text


def test_files_of_no_known_kind_are_told_in_the_commands_own_options(data, fails):
    odd = data / "odd.json"
    odd.write_text('{"rows": []}')
    fails(["--data", odd], "Pass its format (--data-set)", "yolo")
    fails(["--data", data], "name the public data set (--data-set docvqa)")


def test_lines_of_boxes_are_scored_as_such(data, tmp_path):
    line = {
        "image": "a.png",
        "prompt": "detect cat",
        "boxes": [{"label": "cat", "box": [0, 0, 15, 10]}],
    }
    lines = write_lines(data / "boxes.jsonl", [line])
    # Half of 1024 places, as y1 x1 y2 x2.
    text = "<loc0000><loc0000><loc0512><loc0512> cat"
    answers = write_lines(
        data / "found.jsonl", [{"id": 0, "text": text, "scores": [0.9]}]
    )
    arguments = ["--data", lines, "--predictions", answers, "--num-draws", "0"]
    result = succeeds(*arguments, "--output", tmp_path / "report")
    assert "All examples have boxes and none an answer" in result.output
    found = read_report(tmp_path / "report")
    assert found.metric == "coco_ap"
    assert found.figures["coco_ap"] == pytest.approx(1)
    arguments += ["--metric", "exact_match", "--output", tmp_path / "other"]
    refused = " ".join(run(*arguments).output.split())
    assert "boxes.jsonl: Example 0: expected a right answer" in refused
    assert "found.jsonl" not in refused


@pytest.mark.parametrize("kind", ["coco", "table", "yolo"])
def test_files_of_ones_own_are_read_by_what_they_are(kind, tmp_path):
    text = "<loc0000><loc0000><loc0512><loc0512> cat"
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    path, name, metric = tmp_path / "data.yaml", 0, "coco_ap"
    if kind == "table":
        path, metric = tmp_path / "rows.csv", "exact_match"
        path.write_text(f"image,prefix,suffix\na.png,detect cat,{text}\n")
    elif kind == "coco":
        path, name = tmp_path / "own.json", 7
        box = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 15, 10]}
        picture = {"id": 7, "file_name": "a.png", "width": 30, "height": 20}
        content = {
            "images": [picture],
            "annotations": [{**box, "area": 150, "iscrowd": 0}],
            "categories": [{"id": 1, "name": "cat"}],
        }
        path.write_text(json.dumps(content))
    else:
        for folder in ("images", "labels"):
            (tmp_path / "val" / folder).mkdir(parents=True)
        (tmp_path / "a.png").rename(tmp_path / "val" / "images" / "a.png")
        (tmp_path / "val" / "labels" / "a.txt").write_text("0 0.25 0.25 0.5 0.5\n")
        path.write_text("val: val/images\nnames: ['cat']\n")
    answers = write_lines(
        tmp_path / "found.jsonl", [{"id": name, "text": text, "scores": [0.9]}]
    )
    arguments = ["--data", path, "--predictions", answers, "--num-draws", "0"]
    given = ["--metric", metric] if kind == "table" else []
    for index, option in enumerate(([], ["--data-set", kind])):
        output = tmp_path / f"report{index}"
        succeeds(*arguments, *given, *option, "--output", output)
        found = read_report(output)
        assert found.metric == metric
        assert found.figures[metric] == pytest.approx(1)


def test_a_damaged_picture_is_told_in_the_end(data, preset, tmp_path):
    (data / "bad.png").write_bytes((data / "a.png").read_bytes()[:60])
    lines = [
        {"id": i, "image": name, "question": "what?", "answer": "cat"}
        for i, name in enumerate(["a.png", "bad.png"])
    ]
    path = write_lines(data / "damaged.jsonl", lines)
    arguments = [
        *("--preset", preset, "--data", path, "--max-new-tokens", "2"),
        *("--num-draws", "0", "--output", tmp_path / "out"),
    ]
    result = run(*arguments)
    assert result.exit_code == 1
    assert "1 of 2 pictures could not be read" in result.output
    assert len(read_report(tmp_path / "out").failures) == 1
    assert run(*arguments, "--skip-bad").exit_code == 0
