"""Recipes against numbers typed from the tables of the papers."""

from __future__ import annotations

import dataclasses
import re

import pytest

from keras_pg2 import recipes
from keras_pg2.recipes.record import Settings, Task
from keras_pg2.recipes.transfers import TASKS, read_tasks

# The configurations of big_vision.
# fmt: off
ALL_TASKS = [
    "activitynet_cap", "activitynet_qa", "ai2d", "aokvqa_da", "aokvqa_mc", "chartqa",
    "coco35l", "cococap", "docvqa", "forkme", "gqa", "infovqa", "msrvtt_cap",
    "msrvtt_qa", "msvd_qa", "nlvr2", "ocrvqa", "okvqa", "pope", "refcoco_seg",
    "rsvqa_hr", "rsvqa_lr", "scicap", "science_qa", "screen2words", "stvqa", "tallyqa",
    "textcaps", "textvqa", "vatex_cap", "vertexai_l4", "vizwizvqa", "vqav2",
    "widgetcap",
]
# fmt: on


def test_every_task_is_there():
    assert list(recipes.names()) == ALL_TASKS


# Epochs, batch, rate, decay, dropout, smoothing, frozen vision, as the first paper's
# appendix J has them.
FIRST_PAPER = [
    ("cococap", 448, (5, 256, 1e-5, 1e-6, 0, 0, False)),
    ("coco35l", 224, (25, 256, 1e-5, 1e-6, 0, 0, False)),
    ("screen2words", 224, (10, 256, 1e-5, 0, 0.3, 0.2, False)),
    ("textcaps", 448, (5, 256, 1e-5, 1e-6, 0, 0, False)),
    ("scicap", 448, (80, 256, 3e-5, 0, 0.1, 0.1, False)),
    ("widgetcap", 224, (4, 64, 3e-6, 3e-7, 0.1, 0.1, False)),
    ("vqav2", 224, (10, 256, 1e-5, 1e-6, 0, 0, False)),
    ("vqav2", 448, (10, 256, 1e-5, 0, 0, 0, False)),
    ("okvqa", 224, (10, 128, 5e-6, 0, 0, 0, False)),
    ("aokvqa_mc", 448, (15, 128, 5e-6, 0, 0, 0, False)),
    ("aokvqa_da", 224, (10, 128, 5e-6, 0, 0, 0, False)),
    ("gqa", 224, (1, 256, 1e-5, 0, 0, 0, False)),
    ("gqa", 448, (1, 256, 1e-5, 0, 0, 0, True)),
    ("nlvr2", 224, (3, 256, 1e-5, 1e-6, 0, 0, False)),
    ("nlvr2", 448, (10, 256, 3e-6, 3e-7, 0, 0, False)),
    ("ai2d", 224, (10, 256, 1e-5, 1e-6, 0, 0, False)),
    ("science_qa", 448, (20, 128, 1e-5, 0, 0, 0, True)),
    ("rsvqa_lr", 224, (3, 256, 3e-6, 0, 0, 0.2, False)),
    ("rsvqa_hr", 224, (1, 256, 1e-5, 0, 0, 0, False)),
    ("chartqa", 448, (30, 256, 1e-5, 1e-6, 0.1, 0.2, False)),
    ("vizwizvqa", 448, (10, 256, 1e-5, 0, 0, 0, False)),
    ("tallyqa", 448, (2, 256, 1e-5, 1e-6, 0, 0, False)),
    ("tallyqa", 896, (2, 256, 7e-6, 7e-7, 0, 0, False)),
    ("ocrvqa", 224, (3, 128, 3e-6, 0, 0, 0, False)),
    ("ocrvqa", 896, (3, 128, 1e-5, 0, 0, 0, False)),
    ("textvqa", 224, (5, 256, 3e-6, 0, 0, 0, False)),
    ("textvqa", 448, (10, 256, 3e-6, 3e-7, 0, 0, False)),
    ("textvqa", 896, (10, 256, 3e-6, 0, 0, 0, False)),
    ("docvqa", 896, (10, 256, 1e-5, 1e-6, 0, 0, False)),
    ("infovqa", 224, (3, 256, 1e-5, 1e-6, 0, 0.4, False)),
    ("infovqa", 448, (3, 128, 1e-5, 1e-6, 0, 0.4, False)),
    ("infovqa", 896, (3, 32, 3e-6, 3e-7, 0, 0.4, False)),
    ("stvqa", 896, (3, 32, 3e-6, 3e-7, 0, 0.1, False)),
    ("refcoco_seg", 224, (100, 256, 3e-5, 0, 0.1, 0.3, False)),
    ("refcoco_seg", 448, (100, 256, 1e-5, 0, 0, 0.3, False)),
    ("refcoco_seg", 896, (100, 64, 1e-5, 0, 0, 0.3, False)),
    ("activitynet_qa", 224, (1, 128, 1e-5, 1e-6, 0, 0, False)),
    ("activitynet_cap", 224, (1, 128, 1e-5, 1e-6, 0, 0, True)),
    ("msrvtt_qa", 224, (1, 128, 1e-5, 0, 0, 0, True)),
    ("msrvtt_cap", 224, (20, 128, 1e-5, 0, 0, 0, True)),
    ("msvd_qa", 224, (1, 128, 3e-6, 3e-7, 0, 0, False)),
    ("vatex_cap", 224, (10, 128, 3e-6, 3e-7, 0, 0, False)),
]


@pytest.mark.parametrize(("task", "resolution", "numbers"), FIRST_PAPER)
def test_settings_of_the_first_paper(task, resolution, numbers):
    found = recipes.get(task, resolution=resolution, version=1)
    assert numbers == (
        found.epochs,
        found.batch_size,
        found.learning_rate,
        found.weight_decay,
        found.dropout,
        found.label_smoothing,
        found.freezes_vision,
    )
    later = recipes.get(task, resolution=resolution)
    assert (later.epochs, later.batch_size) == (found.epochs, found.batch_size)


@pytest.mark.parametrize(
    ("task", "rates"),
    [
        ("ai2d", (6e-6, 1e-6, 3e-6)),
        ("docvqa", (6e-6, 3e-6, 3e-6)),
        ("aokvqa_mc", (3e-6, 3e-7, 1e-6)),
        ("coco35l", (3e-6, 6e-7, 3e-7)),
        ("infovqa", (3e-6, 6e-7, 3e-7)),
        ("scicap", (3e-5, 3e-5, 3e-5)),
        ("tallyqa", (1e-5, 3e-6, 3e-6)),
        ("textvqa", (3e-6, 6e-7, 1e-6)),
        ("vizwizvqa", (1e-5, 3e-6, 3e-6)),
        ("widgetcap", (3e-6, 1e-6, 6e-7)),
        # Of several that are as good the smallest.
        ("gqa", (3e-6, 1e-6, 3e-6)),
        ("textcaps", (1e-6, 1e-6, 3e-7)),
        # Most often named for its three data sets, where one is.
        ("refcoco_seg", (1e-5, 3e-6, 6e-7)),
        # Half and a quarter of the first paper's 3e-6.
        ("rsvqa_lr", (1.5e-6, 7.5e-7, 7.5e-7)),
    ],
)
def test_learning_rates_of_the_second_paper(task, rates):
    found = [recipes.get(task, size) for size in recipes.SIZES]
    assert [one.learning_rate for one in found] == pytest.approx(list(rates))
    for one in found:
        assert one.learning_rate in one.learning_rates
        expected = "derived" if task == "rsvqa_lr" else "table 14"
        assert expected in one.learning_rate_source


@pytest.mark.parametrize(
    ("task", "prompt", "text_length", "metric"),
    [
        ("cococap", "caption en", 32, "cider"),
        ("coco35l", "caption {language}", 32, "cider"),
        ("screen2words", "caption en", 24, "cider"),
        ("scicap", "caption en", 96, "cider"),
        ("docvqa", "{question}", 32, "anls"),
        ("chartqa", "{question}", 48, "relaxed_accuracy"),
        ("infovqa", "answer en {question}", 48, "anls"),
        ("textvqa", "answer en {question}", 32, "vqav2_accuracy"),
        ("gqa", "answer en {question}", 32, "vqa_accuracy"),
        ("nlvr2", "answer en {sentence}", 64, "vqa_accuracy"),
        ("refcoco_seg", "{expression}", 48, "mask_iou"),
        ("vatex_cap", "caption en", 64, "cider"),
    ],
)
def test_prompts_lengths_and_metrics(task, prompt, text_length, metric):
    found = recipes.get(task)
    assert (found.prompt, found.text_length, found.metric) == (
        prompt,
        text_length,
        metric,
    )


def test_what_only_some_tasks_have():
    assert recipes.get("cococap").num_beams == 2
    assert recipes.get("textcaps").num_beams == 3
    assert recipes.get("docvqa").num_beams == 1
    assert recipes.get("nlvr2").num_images == 2
    frames = recipes.get("msvd_qa")
    assert (frames.num_images, frames.frame_stride) == (8, 26)
    assert recipes.get("ai2d").antialias == (True, False)
    # Two blanks, as the code has them.
    assert recipes.get("ai2d").prompt.startswith("answer en  {question} choose from: ")
    own = recipes.get("forkme", size="10b")
    assert (own.epochs, own.batch_size, own.learning_rate) == (15, 32, 1e-5)
    assert own.weight_decay == 3e-7


def test_tasks_that_are_only_evaluated():
    pope = recipes.get("pope", resolution=896)
    assert not pope.is_trained
    assert (pope.epochs, pope.learning_rate, pope.learning_rates) == (None, None, ())
    assert pope.settings_source == "not trained"


@pytest.mark.parametrize("name", ALL_TASKS)
def test_types_and_ranges(name):
    task = TASKS[name]
    for resolution in task.settings or recipes.RESOLUTIONS:
        for version, sizes in ((1, ("3b",)), (2, recipes.SIZES)):
            for size in sizes:
                found = recipes.get(name, size, resolution, version)
                assert (found.task, found.size, found.version) == (name, size, version)
                assert found.resolution == resolution
                assert found.resolution in recipes.RESOLUTIONS
                assert found.metric in recipes.METRICS
                assert found.prompt == found.prompt.strip()
                assert re.match(r"[a-zQ{]", found.prompt)
                assert 24 <= found.text_length <= 512
                assert found.num_images >= 1
                assert found.num_beams >= 1
                assert 0 <= found.dropout < 1
                assert 0 <= found.label_smoothing < 1
                assert found.text_source
                assert found.settings_source
                assert found.learning_rate_source
                if found.is_trained:
                    assert type(found.epochs) is int
                    assert found.epochs >= 1
                    assert found.batch_size >= 1
                    assert 0 <= found.weight_decay <= 1e-6
                    assert 1e-7 < found.learning_rate <= 0.1


def test_every_metric_is_of_a_task():
    assert {task.metric for task in TASKS.values()} == set(recipes.METRICS)


def test_defaults():
    first = recipes.default()
    assert (first.task, first.epochs, first.batch_size) == ("default", 10, 256)
    assert first.learning_rate == 1e-5
    assert (first.dropout, first.label_smoothing, first.weight_decay) == (0, 0, 0)
    assert not first.freezes_vision
    assert first.text_length == 128
    assert recipes.default(resolution=448).text_length == 512
    rates = [recipes.default(size, version=2).learning_rate for size in recipes.SIZES]
    assert rates == [3e-6, 1e-6, 3e-6]
    assert recipes.get("docvqa") == recipes.get("docvqa", "3b", 224, 2)


def test_records_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipes.get("docvqa").epochs = 3


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("DocVQA", "docvqa"),
        ("COCO-35L", "coco35l"),
        ("ScienceQA", "science_qa"),
        ("RefCOCO", "refcoco_seg"),
        ("VizWiz", "vizwizvqa"),
        ("VATEX", "vatex_cap"),
    ],
)
def test_names_of_the_papers(given, name):
    assert recipes.get(given).task == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("docvqaa",), r"received 'docvqaa'\. Did you mean 'docvqa'"),
        (("text vqa2",), "Did you mean 'textvqa'"),
        (("xyzzy",), r"received 'xyzzy'\. For a task of your own.*default"),
        (("",), "received ''"),
        (("docvqa", "7b"), "size of 3b, 10b, 28b for version 2, received '7b'"),
        (("docvqa", "10b", 224, 1), "size of 3b for version 1, received '10b'"),
        (("docvqa", "3b", 224, 3), "version 1 or 2, received 3"),
        (("docvqa", "3b", 336), "224, 448, 896.*'docvqa'.*received 336"),
        (("cococap", "3b", 896), "224, 448, which are those.*received 896"),
        (("vatex", "3b", 448), "of 224, which are those that 'vatex_cap'"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        recipes.get(*arguments)


def test_errors_of_defaults_and_types():
    with pytest.raises(TypeError, match="received NoneType"):
        recipes.get(None)
    with pytest.raises(ValueError, match="224, 448, 896; received 300"):
        recipes.default(resolution=300)
    with pytest.raises(ValueError, match="larger models are version 2"):
        recipes.default("10b")


TASK = """
[reading]
dataset = "signs"
prompt = "{question}"
response = "the answer"
text_length = 32
metric = "anls"
settings."224, 448" = { epochs = 3, batch_size = 8, learning_rate = 1e-5 }
settings.896 = { epochs = 4, batch_size = 8, learning_rate = 1e-5, dropout = 0.1 }
learning_rates = { 3b = [3e-6], 28b = [3e-7, 6e-7] }
antialias = [true, false]
"""


def _read(text, tmp_path):
    path = tmp_path / "transfers.toml"
    path.write_text(text, "utf-8")
    return read_tasks(path)


def test_a_task_is_read_from_toml(tmp_path):
    low = Settings(epochs=3, batch_size=8, learning_rate=1e-5)
    high = Settings(epochs=4, batch_size=8, learning_rate=1e-5, dropout=0.1)
    assert _read(TASK, tmp_path) == {
        "reading": Task(
            name="reading",
            dataset="signs",
            prompt="{question}",
            response="the answer",
            text_length=32,
            metric="anls",
            settings={224: low, 448: low, 896: high},
            learning_rates={"3b": (3e-6,), "28b": (3e-7, 6e-7)},
            antialias=(True, False),
        )
    }


@pytest.mark.parametrize(
    ("line", "other", "message"),
    [
        ('metric = "anls"', 'metric = "anl"', "metric .* from anls, .* received anl"),
        ('metric = "anls"', "", "keys in task 'reading' with metric; received"),
        ("prompt", "promt", "from dataset, prompt, .*; received promt"),
        ("dataset", 'name = "x"\ndataset', "received name"),
        ("epochs = 3, ", "", "settings at 224, 448 in .* with epochs; received batch"),
        ("dropout", "drop", "from epochs, .*; received drop"),
        ("224, 448", "224, 338", "resolutions .* from 224, 448, 896; received 338"),
        ("28b", "27b", "from 3b, 10b, 28b; received 27b"),
    ],
)
def test_what_is_wrong_in_toml_is_named_with_its_task(tmp_path, line, other, message):
    with pytest.raises(ValueError, match=message) as raised:
        _read(TASK.replace(line, other), tmp_path)
    assert "in task 'reading'" in str(raised.value)
