"""Many pictures at once: every row answered once, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_pg2
from keras_pg2 import Choices, PaliGemma2CausalLM, predict
from keras_pg2.tasks.answering.record_file import RecordFile
from tests.support.small_disk import small_disk
from tests.support.tiny_models import random_task

OPTIONS = {"max_new_tokens": 4, "stop_token_ids": None}


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task()


def draw_pictures(folder: Path, count: int) -> list[Path]:
    """Pictures of different sizes, in two folders."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        path = folder / ("inner" if i % 2 else "") / f"{i:04d}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        shape = (*rng.integers(5, 40, 2), 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        paths.append(path)
    return sorted(paths)


def read_records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_in_memory_and_into_a_file(task, tmp_path):
    paths = draw_pictures(tmp_path / "pictures", 11)
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    done = predict(task, tmp_path / "pictures", "ocr", batch_size=4, **OPTIONS)
    assert [record["image"] for record in done.records] == [str(p) for p in paths]
    for record in done.records:
        inputs = {"images": record["image"], "prompts": "ocr"}
        alone = task.generate(inputs, strip_prompt=True, return_scores=True, **OPTIONS)
        assert record["text"] == alone.text
        assert record["num_tokens"] == 4
        assert record["log_probability"] == pytest.approx(
            alone.log_probability, abs=1e-3
        )
    output = tmp_path / "out" / "answers.jsonl"
    written = predict(
        task, tmp_path / "pictures", "ocr", output, batch_size=4, **OPTIONS
    )
    assert written == ([], 11, 0, 0)
    by_image = {record["image"]: record for record in read_records(output)}
    assert [by_image[str(path)]["text"] for path in paths] == [
        record["text"] for record in done.records
    ]


@pytest.mark.one_backend("calls of generate")
def test_rows_of_all_kinds(task, tmp_path):
    [path] = draw_pictures(tmp_path, 1)
    pixels = np.asarray(Image.open(path))
    long = "answer en what is the colour of the ball next to the small dog? " * 2
    rows = [
        {"images": path, "prompts": long, "id": "a"},
        {"prompts": "ocr"},
        {"images": [pixels, pixels[::-1]], "prompts": "ocr"},
        {"images": pixels, "prompts": "ocr"},
        {"images": path, "prompts": "detect cat"},
    ]
    done = predict(task, (row for row in rows), batch_size=2, **OPTIONS)
    assert [r["id"] for r in done.records] == ["a", 1, 2, 3, str(path)]
    for row, record in zip(rows, done.records, strict=True):
        inputs = {key: row[key] for key in ("images", "prompts") if key in row}
        text = task.generate(inputs, strip_prompt=True, **OPTIONS)
        assert record["text"] == text
        assert record["prompt"] == row["prompts"]


def test_a_call_goes_on_where_another_stopped(task, tmp_path):
    paths = draw_pictures(tmp_path / "pictures", 9)
    prompts = ["ocr", "caption en"]
    output = tmp_path / "answers.jsonl"
    options = {"batch_size": 4, **OPTIONS}
    first = predict(task, paths[:5], prompts, output, **options)
    assert first == ([], 10, 0, 0)
    before = output.read_bytes()
    # As a process leaves it that is killed in the middle of a line.
    output.write_bytes(before + b'{"id": "' + str(paths[5]).encode())
    second = predict(task, paths, prompts, output, **options)
    assert second == ([], 8, 10, 0)
    assert output.read_bytes().startswith(before)
    counts = Counter((r["image"], r["prompt"]) for r in read_records(output))
    assert counts == {(str(path), prompt): 1 for path in paths for prompt in prompts}
    assert predict(task, paths, prompts, output, **options) == ([], 0, 18, 0)
    # The same row twice is two rows.
    twice = predict(task, [paths[0], *paths], prompts, output, **options)
    assert twice == ([], 2, 18, 0)


def test_pictures_in_one_array_are_several(task):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)
    rows = [{"images": pixels}, {"images": pixels[0]}, {"images": list(pixels)}]
    records = predict(task, rows, "ocr", **OPTIONS).records
    assert [record["id"] for record in records] == [0, 1, 2]
    assert records[0]["text"] == records[2]["text"]
    assert records[0]["log_probability"] != records[1]["log_probability"]


def test_a_row_with_no_picture_for_a_picture_does_not_end_the_others(task):
    pixels = np.zeros((9, 9, 3), np.uint8)
    rows = [{"images": pixels}, {"images": 5}, {"images": pixels}]
    records = predict(task, rows, "ocr", **OPTIONS).records
    assert [record["id"] for record in records] == [0, 1, 2]
    assert "received int" in records[1]["error"]
    assert records[0]["text"] == records[2]["text"]


def test_a_record_without_its_newline_is_kept(task, tmp_path):
    output = tmp_path / "answers.jsonl"
    rows = [{"prompts": "ocr", "id": "a"}, {"prompts": "ocr", "id": np.int64(3)}]
    predict(task, rows[:1], output=output, **OPTIONS)
    output.write_bytes(b"\n" + output.read_bytes().rstrip(b"\n"))
    assert predict(task, rows, output=output, **OPTIONS) == ([], 1, 1, 0)
    lines = output.read_text().split("\n")
    assert [json.loads(line)["id"] for line in lines if line] == ["a", 3]


def records_of(count: int) -> list[dict]:
    return [
        {"id": i, "image": None, "prompt": "ocr", "text": "x" * 200}
        for i in range(count)
    ]


def test_failures_of_other_rows_stay(tmp_path):
    output = tmp_path / "answers.jsonl"
    failed = {"id": "a", "image": "a.png", "prompt": "ocr", "error": "damaged"}
    output.write_text(json.dumps(failed) + "\n")
    with RecordFile(output) as file:
        file.append([])
        file.append(records_of(1))
        file.append([{**failed, "error": "still"}])
    assert read_records(output) == [*records_of(1), {**failed, "error": "still"}]


def test_a_full_disk_is_told_and_loses_no_row(tmp_path):
    output = tmp_path / "answers.jsonl"
    rows = records_of(2)
    with (
        RecordFile(output) as file,
        small_disk(300),
        pytest.raises(OSError, match=r"large.*answers\.jsonl"),
    ):
        file.append(rows)
    assert output.stat().st_size == 300
    with RecordFile(output) as again:
        assert again.done() == {("0", "ocr"): 1}
        again.append(rows[1:])
    assert read_records(output) == rows


def test_one_prediction_at_a_time_writes_a_file(task, tmp_path):
    output = tmp_path / "answers.jsonl"
    with RecordFile(output) as first:
        first.append(records_of(1))
        with pytest.raises(BlockingIOError, match="another prediction is writing"):
            predict(task, [{"prompts": "ocr", "id": "a"}], output=output, **OPTIONS)
        first.append(records_of(2)[1:])
    assert predict(task, [{"prompts": "ocr", "id": "a"}], output=output, **OPTIONS) == (
        [],
        1,
        0,
        0,
    )
    assert [record["id"] for record in read_records(output)] == [0, 1, "a"]


@pytest.mark.parametrize("lost", [b"", b"\0" * 40, b"\0" * 5000])
@pytest.mark.parametrize("kept", [0, 1, 7, 100, 240])
def test_a_torn_line_alone_is_done_again(kept: int, lost: bytes, tmp_path):
    output = tmp_path / "answers.jsonl"
    rows = records_of(3)
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    output.write_bytes(b"".join(lines[:2]) + lines[2][:kept] + lost)
    with RecordFile(output) as file:
        assert file.done() == {("0", "ocr"): 1, ("1", "ocr"): 1}
        file.append(rows[2:])
        file.append([{**rows[0], "id": 9}])
    assert [row["id"] for row in read_records(output)] == [0, 1, 2, 9]


@pytest.mark.parametrize("content", [bytes(4000), b"\0", b"\0\n"])
def test_a_file_of_zeros_is_no_record_that_was_cut(content: bytes, tmp_path):
    output = tmp_path / "disk.img"
    output.write_bytes(content)
    with pytest.raises(ValueError, match="Line 1 is no record"):
        RecordFile(output)
    assert output.read_bytes() == content


def test_output_that_the_program_prints_to(tmp_path):
    printed = tmp_path / "printed.txt"
    script = (
        "import sys; from pathlib import Path\n"
        "from keras_pg2.tasks.answering.record_file import RecordFile\n"
        "try:\n    RecordFile(Path(sys.argv[1]))\n"
        "except ValueError as error:\n    sys.exit(str(error))"
    )
    with printed.open("w") as file:
        found = subprocess.run(
            [sys.executable, "-c", script, "/dev/stdout"],
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert "which the program prints to" in found.stderr
    assert printed.read_text() == ""


def test_what_was_read_before_a_failure_is_answered(task, tmp_path):
    output = tmp_path / "answers.jsonl"

    def rows():
        for i in range(7):
            yield {"prompts": "ocr", "id": i}
        raise ConnectionError("the data base is gone")

    with pytest.raises(ConnectionError, match="data base"):
        predict(task, rows(), output=output, batch_size=2, **OPTIONS)
    assert sorted(record["id"] for record in read_records(output)) == [*range(7)]
    bad = [{"prompts": "ocr", "id": "a"}, {"prompts": "ocr " * 80}, {"prompts": "ocr"}]
    for wrong, error in ((bad[1], ValueError), (5, TypeError)):
        with pytest.raises(error):
            predict(task, [bad[0], wrong, bad[2]], output=output, **OPTIONS)
        assert read_records(output)[-1]["id"] == "a"
        assert len(read_records(output)) == 8


def test_pictures_that_cannot_be_read_are_told_and_passed_over(task, tmp_path):
    paths = draw_pictures(tmp_path / "pictures", 3)
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    output = tmp_path / "answers.jsonl"
    rows = [*paths, tmp_path / "missing.png"]
    assert predict(task, rows, "ocr", output, **OPTIONS) == ([], 2, 0, 2)
    errors = [record for record in read_records(output) if "error" in record]
    assert {record["image"] for record in errors} == {str(paths[1]), str(rows[3])}
    # They are asked again, and have one record each, whatever became of them.
    assert predict(task, rows, "ocr", output, **OPTIONS) == ([], 0, 2, 2)
    assert len(read_records(output)) == 4
    Image.new("RGB", (20, 20)).save(paths[1])
    assert predict(task, rows, "ocr", output, **OPTIONS) == ([], 1, 2, 1)
    found = {record["image"]: "text" in record for record in read_records(output)}
    assert found == {str(path): path != rows[3] for path in rows}
    assert len(read_records(output)) == 4


def test_failures_make_way_with_half_a_line(tmp_path):
    output = tmp_path / "answers.jsonl"
    lines = [
        {"id": 0, "image": "a.png", "prompt": "ocr", "text": "one"},
        {"id": 1, "image": "b.png", "prompt": "ocr", "error": "damaged"},
        {"id": 2, "image": "c.png", "prompt": "ocr", "text": "two"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    output.write_text(text + '{"id": 3, "ima')
    with RecordFile(output) as file:
        assert sorted(file.done()) == [("0", "ocr"), ("2", "ocr")]
        assert output.read_text().startswith(text)
        file.append([{**lines[1], "error": "still"}])
        with pytest.raises(BlockingIOError):
            RecordFile(output)
        file.append([{**lines[1], "id": 3}])
    found = [(record["id"], record.get("error")) for record in read_records(output)]
    assert found == [(0, None), (2, None), (1, "still"), (3, "damaged")]


def test_constrained_answers(task, tmp_path):
    paths = draw_pictures(tmp_path, 3)
    grammar = Choices(["yes", "no"])
    done = predict(task, paths, "answer en is it blue?", constraint=grammar)
    assert {record["text"] for record in done.records} <= {"yes", "no"}


@pytest.mark.parametrize(
    ("source", "prompts", "error", "message"),
    [
        ("/no/such/folder", "ocr", FileNotFoundError, "folder"),
        ([{"images": None}], None, ValueError, "prompt"),
        (["a.png"], None, ValueError, "prompt"),
        ([3], "ocr", TypeError, "index 0"),
        ({"images": None, "prompts": "ocr"}, None, TypeError, "iterable"),
        ([{"prompts": "ocr " * 80}], None, ValueError, "never cut"),
        ([{"image": "a.png", "prompts": "ocr"}], None, ValueError, "others at index 0"),
        ([{"prompts": "ocr", "id": (1, 2)}], None, TypeError, "whole number"),
        (5, "ocr", TypeError, "iterable"),
        (["a.png"], 5, TypeError, "prompts as a text"),
    ],
)
def test_bad_sources(task, source, prompts, error, message):
    with pytest.raises(error, match=message):
        predict(task, source, prompts)


def test_bad_outputs(task, tmp_path):
    other = tmp_path / "notes.jsonl"
    for content in (
        '{"text": "precious"}',
        # Each begins as a record does.
        '{"id": 7, "title": "settings"}',
        '{"id": 7, "prompt": "ocr", "response": "precious"}',
        '{"id": 7, "image": null, "prompt": ["ocr"], "text": "precious"}',
    ):
        for end in ("\n", ""):
            other.write_text(content + end)
            with pytest.raises(ValueError, match="Line 1 is no record"):
                predict(task, [{"prompts": "ocr"}], output=other)
            assert other.read_text() == content + end
    for name, value in {
        "batch_size": 0,
        "num_workers": -1,
        "max_new_tokens": 0,
    }.items():
        with pytest.raises(ValueError, match=name):
            predict(task, [{"prompts": "ocr"}], **{name: value})
    with pytest.raises(ValueError, match="folder"):
        predict(task, [{"prompts": "ocr"}], output=tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for device in (pipe, "/dev/full"):
        with pytest.raises(ValueError, match="device or a pipe"):
            predict(task, [{"prompts": "ocr"}], output=device)
    with pytest.raises(ValueError, match="found no file"):
        predict(task, tmp_path, "ocr")
    with pytest.raises(ValueError, match="preprocessor"):
        predict(PaliGemma2CausalLM(task.backbone), [{"prompts": "ocr"}])


NUM_PICTURES = int(os.environ.get("KERAS_PG2_KILLED_PICTURES", "150"))


def test_killed_twice_every_picture_is_answered_once(tmp_path):
    folder = tmp_path / "pictures"
    paths = draw_pictures(folder, NUM_PICTURES)
    output = tmp_path / "answers.jsonl"
    script = (
        "import sys, keras_pg2\n"
        "model = keras_pg2.PaliGemma2CausalLM.from_preset('pali_gemma2_nano')\n"
        "keras_pg2.predict(model, sys.argv[1], 'ocr', sys.argv[2], max_new_tokens=4,"
        " batch_size=4)\n"
    )
    command = [sys.executable, "-c", script, str(folder), str(output)]
    root = str(Path(keras_pg2.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    rng = np.random.default_rng(0)
    num_kills = 0
    for part in range(2):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        # Somewhere in its part of the pictures.
        wanted = int(NUM_PICTURES * (part + rng.uniform(0.2, 0.8)) / 3)
        while process.poll() is None:
            if output.exists() and output.read_bytes().count(b"\n") >= wanted:
                process.send_signal(signal.SIGKILL)
                num_kills += process.wait() == -signal.SIGKILL
            time.sleep(0.01)
    # On a busy machine a short run may be over before it is looked at again.
    assert num_kills >= (2 if NUM_PICTURES >= 1000 else 1)
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    counts = Counter(record["image"] for record in read_records(output))
    assert counts == {str(path): 1 for path in paths}
