"""What commands take as a model: runs, adapters, exported directories.

The oracle is Python: the base with the adapter that `adapters.load` puts in.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_pg2 import PaliGemma2CausalLM, deploy
from keras_pg2.cli import app
from keras_pg2.conversion.adapters.files import ADAPTER_FILE
from keras_pg2.evaluation import read_report

LABELS = ["cat", "dog"]


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, list(map(str, words)))


def run(*words: object) -> str:
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(message: str, *words: object) -> None:
    result = invoke(*words)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert result.stderr.count("Error: ") == 1


@pytest.fixture(scope="module")
def base(trained_run: Path) -> Path:
    return trained_run.parent / "base"


@pytest.fixture(scope="module")
def model(base: Path, trained_run: Path) -> PaliGemma2CausalLM:
    model = PaliGemma2CausalLM.from_preset(base, dtype="float32")
    model.adapters.load(trained_run)
    return model


@pytest.fixture(scope="module")
def exported(model: PaliGemma2CausalLM, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("exported") / "onnx"
    deploy.export_onnx(model, directory)
    return directory


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", None)
    monkeypatch.setattr(deploy.ONNXModel, "__init__", None)


@pytest.fixture(scope="module")
def picture(trained_run: Path) -> Path:
    return trained_run.parent / "pictures" / "000.png"


def asked(model: PaliGemma2CausalLM, picture: Path, prompt: str) -> str:
    inputs = {"images": str(picture), "prompts": prompt}
    return model.generate(inputs, strip_prompt=True, max_new_tokens=6)


def test_answers_are_those_of_the_adapter_on_its_base(
    model, base, trained_run, exported, picture
):
    expected = asked(model, picture, "caption en")
    words = ("caption", picture, "--json", "--max-new-tokens", 6)
    assert json.loads(run(*words, "--preset", base))[0]["text"] != expected
    for chosen in (
        ["--preset", trained_run],
        ["--adapter", trained_run],
        ["--preset", trained_run / ADAPTER_FILE],
        ["--preset", base, "--adapter", trained_run / "best"],
        ["--preset", exported],
    ):
        assert json.loads(run(*words, *chosen))[0]["text"] == expected, chosen


def test_questions_and_files_of_an_exported_model(model, exported, picture, tmp_path):
    expected = [asked(model, picture, f"answer en {q}") for q in ("what?", "who?")]
    common = ("--preset", exported, "--max-new-tokens", 6)
    found = run("ask", picture, "-q", "what?", "-q", "who?", "--json", *common)
    assert [each["text"] for each in json.loads(found)] == expected
    output = tmp_path / "answers.jsonl"
    words = ("generate", picture.parent, "-p", "answer en what?", "--output", output)
    assert run(*words, *common).startswith("4 answered")
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert lines[0]["text"] == expected[0]
    scored = model.generate(
        {"images": str(picture), "prompts": "answer en what?"},
        max_new_tokens=6,
        strip_prompt=True,
        return_scores=True,
    )
    assert lines[0]["log_probability"] == pytest.approx(
        scored.log_probability, abs=1e-3
    )
    assert run(*words, *common).startswith("0 answered, 4 were there before")


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_things_are_found_by_each_kind(
    task, model, trained_run, exported, picture, tmp_path
):
    """Boxes, scores, masks and their drawing, with options, in several pictures."""
    pictures = [picture, picture.with_name("001.png")]
    options = {"max_detections": 3, "asked": "both", "max_overlap": 0.9}
    expected = getattr(model, task)(pictures, LABELS, **options)
    words = [task, *pictures, "-l", "cat,dog", "--max-detections", 3, "--json"]
    words += ["--asked", "both", "--max-overlap", 0.9, "--draw", tmp_path / "drawn"]
    for chosen in (trained_run, exported):
        records = json.loads(run(*words, "--preset", chosen))
        for record, things in zip(records, expected, strict=True):
            found = record["detections"]
            assert Path(record["annotated"]).is_file()
            assert [each["label"] for each in found] == list(things.labels)
            boxes = [each["box_xyxy"] for each in found]
            np.testing.assert_allclose(boxes, things.boxes_xyxy, atol=0.06)
            scores = [each["score"] for each in found]
            np.testing.assert_allclose(scores, things.scores, atol=1e-3)
            if task == "segment":
                pixels = [each["mask_pixels"] for each in found]
                assert pixels == [int(mask.sum()) for mask in things.masks]


def test_decisions_are_those_of_the_adapter(model, trained_run, picture):
    [expected] = model.decide(str(picture), ["is it a cat?"])
    [record] = json.loads(
        run("decide", picture, "-q", "is it a cat?", "--json", "--preset", trained_run)
    )
    assert record == {"image": str(picture), **expected.to_dict()}


def test_reports_of_a_run_and_of_exported_files_agree(
    trained_run, exported, picture, tmp_path
):
    rows = tmp_path / "rows.jsonl"
    lines = [
        {"image": str(path), "prefix": "answer en what is it?", "suffix": "cat"}
        for path in sorted(picture.parent.iterdir())
    ]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = []
    for chosen in (["--adapter", trained_run], ["--preset", exported]):
        output = tmp_path / f"report{len(found)}"
        words = ("--data", rows, "--metric", "anls", "--max-new-tokens", 4)
        run("evaluate", *words, *chosen, "--output", output, "--num-draws", 10)
        found.append(read_report(output))
    assert found[0].figures == found[1].figures
    first, second = (
        (tmp_path / name / "answers.jsonl").read_text().splitlines()
        for name in ("report0", "report1")
    )
    for one, other in zip(first, second, strict=True):
        assert json.loads(one)["text"] == json.loads(other)["text"]
    assert found[0].model == f"{trained_run.parent / 'base'} with {trained_run}"
    assert found[1].model == str(exported)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("caption", "--temperature", 1), "--temperature 1.0 with"),
        (("caption", "--dtype", "bf16"), "--dtype bfloat16 with"),
        (("caption", "--adapter", "{run}"), "keras-pg2 export --adapter"),
        (("caption", "--check"), "whose weights can be read"),
        (("decide", "-q", "is it?"), "whose weights can be read"),
        (("demo", "--image"), "whose weights can be read"),
    ],
)
def test_what_exported_files_cannot_do_is_told_first(
    words, message, exported, trained_run, picture, nothing_loads
):
    command, *others = (str(word).format(run=trained_run) for word in words)
    fails(message, command, *others, picture, "--preset", exported)


def test_exported_files_without_a_picture(exported, nothing_loads):
    words = ("generate", "-p", "caption en", "--preset", exported)
    fails("Expected a picture for the exported model", *words)


def test_runtimes_that_are_missing_or_not_run_here(exported, tmp_path, monkeypatch):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    # The picture is not looked for.
    fails("tf.saved_model.load", "caption", "none.png", "--preset", tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    fails("keras-pg2[onnx]", "caption", "none.png", "--preset", exported)


@pytest.mark.parametrize(
    "words",
    [
        ("caption", "{picture}", "--preset"),
        ("decide", "{picture}", "-q", "is it?", "--preset"),
        ("detect", "{picture}", "-l", "cat", "--preset"),
        ("evaluate", "--data", "x", "--output", "{tmp}/x", "--preset"),
        ("finetune", "--data", "x", "--output", "{tmp}/x", "--preset"),
        ("export", "--to", "onnx", "--output", "{tmp}/x"),
        ("convert", "--to", "hf", "{tmp}/x", "--adapter"),
    ],
)
def test_a_run_that_has_not_ended_is_told_first(
    words, trained_run, base, picture, tmp_path, nothing_loads
):
    (tmp_path / "run").mkdir()
    shutil.copy(trained_run / "settings.json", tmp_path / "run")
    command, *others = (w.format(picture=picture, tmp=tmp_path) for w in words)
    if command == "convert":
        others = [str(base), *others]
    fails("Expected a run that has ended", command, *others, tmp_path / "run")


def test_another_base_is_told(trained_run, picture):
    words = ("--preset", "pali_gemma2_nano", "--adapter", trained_run)
    fails("Expected an adapter for this model", "caption", picture, *words)


def test_a_run_goes_on_the_result_of_a_run(trained_run, base, picture, tmp_path):
    """Its adapter is for merged weights, which it finds by itself."""
    rows = tmp_path / "rows.jsonl"
    row = {"image": str(picture), "prefix": "caption en", "suffix": "a dog"}
    rows.write_text(json.dumps(row) + "\n")
    second = tmp_path / "second"
    words = ("--data", rows, "--output", second, "--epochs", 1, "--rank", 1)
    words += ("--learning-rate", 0.3, "--accumulate", 1)
    run("finetune", *words, "--preset", trained_run)
    merged = PaliGemma2CausalLM.from_preset(trained_run)
    merged.adapters.merge(can_unmerge=False)
    merged.adapters.load(second)
    expected = asked(merged, picture, "caption en")
    loaded = PaliGemma2CausalLM.from_preset(second)
    assert loaded.adapters.base_name == "base with run"
    assert asked(loaded, picture, "caption en") == expected
    both = ("--preset", base, "--adapter", trained_run, "--adapter", second)
    told = run("caption", picture, "--json", "--max-new-tokens", 6, *both)
    assert json.loads(told)[0]["text"] == expected
    fails("other kernels", "caption", picture, "--preset", base, "--adapter", second)
    card = (second / "README.md").read_text()
    assert 'from_preset("second")' in card
    assert "adapters.load" not in card
    assert str(tmp_path) not in card


def test_convert_and_export_merge(model, trained_run, base, picture, tmp_path):
    expected = asked(model, picture, "caption en")
    run("convert", base, tmp_path / "hf", "--to", "hf", "--adapter", trained_run)
    run("export", trained_run, "--to", "onnx", "--output", tmp_path / "onnx")
    for written in ("hf", "onnx"):
        chosen = ("--preset", tmp_path / written, "--max-new-tokens", 6, "--json")
        told = json.loads(run("caption", picture, *chosen))
        assert told[0]["text"] == expected


def test_info_of_each_kind(trained_run, base, exported, tmp_path):
    found = json.loads(run("info", trained_run, "--json"))
    assert found["kind"] == "a run of finetune"
    assert (found["base"], found["base_path"]) == ("base", str(base))
    assert (found["rows"], found["evaluation_rows"]) == (4, 4)
    assert (found["metric"], found["state"]) == ("exact_match", "finished")
    assert 0 <= found["best_score"] <= 1
    adapter = json.loads(run("info", trained_run / ADAPTER_FILE, "--json"))
    assert found["adapter"] == adapter
    # Query and value of one block of each part, of rank 2.
    assert (adapter["rank"], adapter["layers"], adapter["parameters"]) == ("2", 4, 320)
    model = PaliGemma2CausalLM.from_preset(trained_run)
    model.adapters.export_to_peft(tmp_path / "peft")
    peft = json.loads(run("info", tmp_path / "peft", "--json"))
    for key in ("rank", "alpha", "layers", "parameters", "base"):
        assert peft[key] == adapter[key]
    files = json.loads(run("info", exported, "--json"))
    assert (files["runtime"], files["dtype"]) == ("ONNX", "float32")
    assert files["mask_codec"] == "its own"
    assert files["files"]["onnx.json"] == (exported / "onnx.json").stat().st_size
    assert files["bytes"] == sum(files["files"].values())
    assert "rank" in run("info", trained_run)
    fails("Expected --tokenizer", "info", trained_run, "--tokenizer", "x")
