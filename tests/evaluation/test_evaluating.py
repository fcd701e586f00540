"""`evaluate` on a tiny model: what is asked, how it goes on, how parts become one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_pg2 import BeamSearch, PaliGemma2CausalLM, ResponseLoss, evaluation, recipes
from keras_pg2.codecs import Detections
from keras_pg2.datasets.public.examples import Example
from keras_pg2.deploy import ONNXModel, export_onnx
from keras_pg2.evaluation import Evaluation, evaluate
from keras_pg2.metrics import Truth
from tests.support.tiny_models import random_task

OF_ANY_LENGTH = {"show_progress": False, "num_draws": 20}
QUIET = {**OF_ANY_LENGTH, "max_new_tokens": 4}
PROMPT = "answer en {question}"


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task()


@pytest.fixture(scope="module")
def examples(task, tmp_path_factory) -> list[Example]:
    """Eleven questions about pictures, of which the model is right in seven."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    made = []
    for i in range(11):
        path = folder / f"{i}.png"
        pixels = rng.integers(0, 256, (30 + i, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        question = "what is it? " * (1 + i % 2)
        prompt = f"answer en {question}"
        said = task.generate(
            {"images": path, "prompts": prompt}, max_new_tokens=4, strip_prompt=True
        )
        answers = (said if i < 7 else "no such answer", "another")
        truth = Truth(answers=answers, kind="odd" if i % 2 else "even")
        made.append(
            Example(id=f"e{i}", images=path, truth=truth, fields={"question": question})
        )
    return made


def same(a: Evaluation, b: Evaluation, folder: Path) -> None:
    """Assert that all is the same, to the bit, except the seconds."""
    for field in dataclasses.fields(Evaluation):
        if field.name not in ("seconds", "outcomes"):
            assert getattr(a, field.name) == getattr(b, field.name), field.name
    lines = []
    for found in (a, b):
        evaluation.write_evaluation(found, folder)
        lines.append((folder / "predictions.jsonl").read_bytes())
    assert lines[0] == lines[1]


def test_figures_and_outcomes(task, examples):
    found = evaluate(task, examples, "exact_match", PROMPT, **QUIET)
    # Of 0, 2, 4, 6, 8 and 10 four are right, of the others three.
    expected = {"exact_match": 7 / 11, "even": 4 / 6, "odd": 3 / 5}
    assert found.figures == pytest.approx(expected)
    low, high = found.intervals["exact_match"]
    assert 0 <= low <= 7 / 11 <= high <= 1
    assert [one.id for one in found.outcomes] == [one.id for one in examples]
    assert [one.score for one in found.outcomes] == [1.0] * 7 + [0.0] * 4
    first = found.outcomes[0]
    assert first.image == str(examples[0].images)
    assert first.prompt == "answer en what is it? "
    assert first.answer.num_tokens == 4
    settings = found.settings
    assert (settings["mode"], settings["num_beams"], settings["resolution"]) == (
        "answer",
        1,
        28,
    )
    # A network of no paper's size.
    assert found.published is None


def test_a_killed_evaluation_gives_the_same_report(task, examples, tmp_path):
    options = {"batch_size": 3, "name": "tiny", **QUIET}
    whole = evaluate(
        task, examples, "exact_match", PROMPT, output=tmp_path / "a", **options
    )
    answers = tmp_path / "a" / "answers.jsonl"
    lines = answers.read_text().splitlines(keepends=True)
    # As a process leaves it that is killed in the middle of a batch and of a line.
    answers.write_text("".join(lines[:5]) + lines[5][:20])
    again = evaluate(
        task, examples, "exact_match", PROMPT, output=tmp_path / "a", **options
    )
    same(whole, again, tmp_path / "same")
    assert sorted(answers.read_text().splitlines()) == sorted(map(str.strip, lines))
    assert again.seconds > whole.seconds - 1e-3
    # Nothing is asked anew for another metric.
    task_that_fails = random_task()
    task_that_fails.make_generate_function = None
    other = evaluate(
        task_that_fails, examples, "anls", PROMPT, output=tmp_path / "a", **options
    )
    assert other.metric == "anls"
    assert [one.answer.text for one in other.outcomes] == [
        one.answer.text for one in whole.outcomes
    ]


def test_answers_of_something_else_are_not_gone_on_with(task, examples, tmp_path):
    evaluate(task, examples[:2], "exact_match", PROMPT, output=tmp_path, **QUIET)
    for change, message in (
        ({"model": random_task(seed=1)}, "weights changed"),
        ({"num_beams": 2}, "num_beams changed"),
        ({"name": "mine"}, "model changed"),
    ):
        options = {"model": task, "output": tmp_path, **QUIET, **change}
        with pytest.raises(ValueError, match=message):
            evaluate(
                examples=examples[:2], metric="exact_match", prompt=PROMPT, **options
            )


def test_answers_about_other_pictures_are_not_gone_on_with(task, examples, tmp_path):
    other = dataclasses.replace(examples[0], images=examples[1].images)
    options = {"metric": "exact_match", "prompt": PROMPT, **QUIET}
    evaluate(task, examples[:2], output=tmp_path / "a", **options)
    with pytest.raises(ValueError, match=r"'e0' about '.*0\.png', .* now '.*1\.png'"):
        evaluate(task, [other, examples[1]], output=tmp_path / "a", **options)
    path = write_predictions(
        tmp_path / "answers.jsonl",
        [{"id": "e0", "text": "", "image": str(examples[0].images)}],
    )
    with pytest.raises(ValueError, match=r"line 1: expected an answer .* '.*1\.png'"):
        evaluate(path, [other], **options)
    write_predictions(path, [{"id": "e0", "text": "x", "image": "elsewhere/1.png"}])
    assert evaluate(path, [other], **options).figures["exact_match"] == 0


def test_answers_of_nobody_knows_what_are_not_gone_on_with(task, examples, tmp_path):
    evaluate(task, examples[:2], "exact_match", PROMPT, output=tmp_path, **QUIET)
    (tmp_path / "answers.json").unlink()
    with pytest.raises(ValueError, match=r"backend, .*more changed"):
        evaluate(task, examples[:2], "exact_match", PROMPT, output=tmp_path, **QUIET)


def test_parts_make_the_whole(task, examples, tmp_path):
    whole = evaluate(task, examples, "exact_match", PROMPT, **QUIET)
    parts = []
    for index in (2, 0, 1):
        part = evaluate(
            task, examples, "exact_match", PROMPT, shard=(index, 3), **QUIET
        )
        evaluation.write_evaluation(part, tmp_path / str(index))
        parts.append(evaluation.read_report(tmp_path / str(index)))
    merged = evaluation.merge(parts)
    for name in ("figures", "intervals", "settings", "failures"):
        assert getattr(merged, name) == getattr(whole, name)
    for one, other in zip(whole.outcomes, merged.outcomes, strict=True):
        # In other batches the last digit of a probability may be another one.
        assert (one.id, one.answer.text, one.truth, one.score) == (
            other.id,
            other.answer.text,
            other.truth,
            other.score,
        )
    with pytest.raises(ValueError, match="received 0/3, 2/3"):
        evaluation.merge([parts[0], parts[1]])
    with pytest.raises(ValueError, match="received 0/3, 1/3, 2/3, 2/3"):
        evaluation.merge([*parts, parts[0]])
    changed = dataclasses.replace(parts[0], model="another")
    with pytest.raises(ValueError, match=r"model differ between shard 0 and 2"):
        evaluation.merge([changed, *parts[1:]])
    with pytest.raises(ValueError, match="one of all of"):
        evaluation.merge([whole])
    with pytest.raises(ValueError, match="shard of 0 to 2 of 3"):
        evaluate(task, examples, "exact_match", PROMPT, shard=(3, 3), **QUIET)


def test_a_picture_that_cannot_be_read_is_told_and_not_counted(
    task, examples, tmp_path
):
    (tmp_path / "bad.png").write_bytes(Path(examples[0].images).read_bytes()[:60])
    bad = dataclasses.replace(examples[0], id="bad", images=tmp_path / "bad.png")
    found = evaluate(task, [bad, *examples[:3]], "exact_match", PROMPT, **QUIET)
    assert found.figures["exact_match"] == 1.0
    [failure] = found.failures
    assert failure.id == "bad"
    assert "bad.png" in failure.error
    with pytest.raises(ValueError, match="all 1 examples failed"):
        evaluate(task, [bad], "exact_match", PROMPT, **QUIET)
    missing = dataclasses.replace(bad, images=tmp_path / "none.png")
    with pytest.raises(FileNotFoundError, match=r"Example 'bad'.*none\.png"):
        evaluate(task, [missing], "exact_match", PROMPT, **QUIET)


def test_beams_and_antialias_are_the_recipes_for_a_while(task, examples):
    recipe = dataclasses.replace(
        recipes.get("cococap"), prompt=PROMPT, metric="exact_match"
    )
    converter = task.preprocessor.image_converter
    seen = []
    sampler, make = task.sampler, task.make_generate_function

    def watched(*arguments, **options):
        seen.append((task.sampler, converter.antialias))
        return make(*arguments, **options)

    task.make_generate_function = watched
    try:
        found = evaluate(task, examples[:2], recipe=recipe, **QUIET)
    finally:
        del task.make_generate_function
    assert set(seen) == {(BeamSearch(2), False)}
    assert (task.sampler, converter.antialias) == (sampler, True)
    assert (found.settings["num_beams"], found.settings["antialias"]) == (2, False)
    inputs = {"images": examples[0].images, "prompts": found.outcomes[0].prompt}
    task.compile(sampler=BeamSearch(2))
    converter.antialias = False
    try:
        said = task.generate(inputs, max_new_tokens=4, strip_prompt=True)
    finally:
        converter.antialias = True
        task.compile()
    assert found.outcomes[0].answer.text == said


@pytest.mark.every_backend
@pytest.mark.eager
def test_perplexity_is_the_loss_of_the_right_answers(examples):
    task = random_task()
    found = evaluate(
        task, examples[:5], "perplexity", PROMPT, batch_size=2, **OF_ANY_LENGTH
    )
    task.compile(loss=ResponseLoss(), weighted_metrics=[])
    rows = {
        "images": [str(one.images) for one in examples[:5]],
        "prompts": [one.prompt for one in found.outcomes],
        "responses": [one.truth.answers[0] for one in examples[:5]],
    }
    loss = task.evaluate(rows, batch_size=5, verbose=0, return_dict=True)["loss"]
    assert found.figures["perplexity"] == pytest.approx(float(loss), abs=2e-4)


@pytest.mark.every_backend
def test_figures_are_in_the_history_of_fit(examples):
    task = random_task()
    rows = {
        "images": [str(one.images) for one in examples[:2]],
        "prompts": ["answer en what is it?"] * 2,
        "responses": ["a cat"] * 2,
    }
    callback = evaluation.EvaluationCallback(
        examples[:2], "exact_match", PROMPT, every=2, max_new_tokens=2
    )
    task.compile(optimizer="sgd", loss=ResponseLoss(), weighted_metrics=[])
    history = task.fit(rows, batch_size=2, epochs=3, verbose=0, callbacks=[callback])
    # After the second epoch and after the last.
    assert [epoch for epoch, _ in callback.evaluations] == [1, 2]
    figures = [found.figures["exact_match"] for _, found in callback.evaluations]
    assert history.history["val_exact_match"] == figures


def test_things_are_found_as_detect_finds_them(task, examples):
    box = np.array([[1, 2, 20, 25]], np.float32)
    truth = Truth(things=Detections(("cat",), box), size=(30, 40))
    asked = [
        dataclasses.replace(one, truth=truth, fields={"prompt": "detect cat ; dog"})
        for one in examples[:3]
    ]
    found = evaluate(task, asked, "ap50", max_detections=2, show_progress=False)
    assert found.settings["mode"] == "detect"
    expected = task.detect(
        [one.images for one in asked], ["cat", "dog"], max_detections=2, min_score=0.0
    )
    for one, things in zip(found.outcomes, expected, strict=True):
        assert one.answer.things.labels == things.labels
        np.testing.assert_allclose(
            one.answer.things.boxes_xyxy, things.boxes_xyxy, atol=1e-3
        )
        np.testing.assert_allclose(one.answer.things.scores, things.scores, atol=1e-5)
    for other, told in (({"num_beams": 2}, "beam"), ({"max_new_tokens": 3}, "length")):
        with pytest.raises(ValueError, match=f"{told}.* to detect things"):
            evaluate(task, asked, "ap50", **other, **OF_ANY_LENGTH)


@pytest.fixture(scope="module")
def exported(task, tmp_path_factory) -> ONNXModel:
    path = tmp_path_factory.mktemp("exported") / "onnx"
    export_onnx(task, path)
    return ONNXModel(path)


def test_an_exported_model_gives_the_models_report(task, exported, examples, tmp_path):
    own = evaluate(task, examples[:4], "exact_match", PROMPT, **QUIET)
    found = evaluate(
        exported, examples[:4], "exact_match", PROMPT, output=tmp_path, **QUIET
    )
    assert (found.model, found.settings["backend"]) == ("ONNXModel", "ONNXModel")
    table = evaluation.side_by_side([own, found]).splitlines()
    assert table[0].endswith("| ONNXModel |")
    assert table[2] == "| exact\\_match | 1.0000 | 1.0000 |"
    assert table[-2].endswith("| 4 | 4 |")
    part = dataclasses.replace(found, outcomes=found.outcomes[:3])
    with pytest.raises(ValueError, match="3 of 4 examples"):
        evaluation.side_by_side([own, part])
    assert (found.figures, found.intervals) == (own.figures, own.intervals)
    for one, other in zip(own.outcomes, found.outcomes, strict=True):
        assert one.answer.text == other.answer.text
        assert one.answer.num_tokens == other.answer.num_tokens
        assert one.answer.log_probability == pytest.approx(
            other.answer.log_probability, abs=1e-3
        )
    things = Truth(
        things=Detections(("cat",), np.array([[1, 2, 20, 25]], np.float32)),
        size=(30, 40),
    )
    asked = [
        dataclasses.replace(one, truth=things, fields={"prompt": "detect cat"})
        for one in examples[:2]
    ]
    options = {"max_detections": 1, "show_progress": False, "num_draws": 0}
    for one, other in zip(
        evaluate(task, asked, "ap50", **options).outcomes,
        evaluate(exported, asked, "ap50", max_new_tokens=12, **options).outcomes,
    ):
        np.testing.assert_allclose(
            one.answer.things.boxes_xyxy, other.answer.things.boxes_xyxy[:1], atol=1e-3
        )
        np.testing.assert_allclose(
            one.answer.things.scores, other.answer.things.scores[:1], atol=1e-4
        )
    for options, message in (
        ({"num_beams": 2}, "num_beams=1 for an exported"),
        (
            {"metric": "perplexity", "max_new_tokens": None},
            "no probabilities of given answers",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(
                exported,
                examples[:1],
                **{"metric": "exact_match", "prompt": PROMPT, **QUIET, **options},
            )


def write_predictions(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_file_of_predictions(task, examples, tmp_path):
    own = evaluate(task, examples, "exact_match", PROMPT, **QUIET)
    records = [{"id": one.id, "text": one.answer.text} for one in own.outcomes]
    path = write_predictions(tmp_path / "answers.jsonl", records[::-1])
    found = evaluate(path, examples, "exact_match", PROMPT, **QUIET)
    assert (found.figures, found.model) == (own.figures, str(path))
    for broken, message in (
        (records[:10], "1 of 11, as 'e10'"),
        ([*records, records[0]], "line 12: expected every id once"),
        ([{"id": "e0", "text": 3}], "Expected text in .*line 1 as a text"),
    ):
        write_predictions(path, broken)
        asked = examples[: 1 if len(broken) == 1 else None]
        with pytest.raises(ValueError, match=message):
            evaluate(path, asked, "exact_match", PROMPT, **QUIET)
    write_predictions(path, records)
    with pytest.warns(UserWarning, match="1 others"):
        evaluate(path, examples[:10], "exact_match", PROMPT, **QUIET)
    with pytest.raises(FileNotFoundError, match="a file of predictions"):
        evaluate(tmp_path / "none.jsonl", examples, "exact_match", PROMPT, **QUIET)
    with pytest.raises(TypeError, match="received int"):
        evaluate(3, examples, "exact_match", PROMPT, **QUIET)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "neither"),
        ({"metric": "exact_matsch"}, "Did you mean exact_match"),
        ({"metric": "exact_match", "prompt": "{text}"}, r"'e0' \(0\).*'text'"),
        ({"recipe": "vqav2"}, "Example 'e0': expected the answers of at least 4"),
        ({"recipe": "nlvr2", "prompt": PROMPT}, "2 pictures of each.*received 1"),
        ({"recipe": "msvd_qa", "prompt": PROMPT}, "8 frames of each.*received 1"),
        (
            {"metric": "exact_match", "prompt": PROMPT, "mode": "ask"},
            "mode as one of auto, answer",
        ),
        (
            {"metric": "exact_match", "prompt": PROMPT, "mode": "likelihood"},
            "perplexity",
        ),
        ({"metric": "exact_match", "max_new_tokens": 0}, "max_new_tokens as a whole"),
    ],
)
def test_what_cannot_be_is_told_before_a_model_is_needed(examples, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(object(), examples, **options)
    with pytest.raises(ValueError, match="received none"):
        evaluate(object(), [], "exact_match")
    with pytest.raises(ValueError, match="received 'e0' twice"):
        evaluate(object(), [examples[0]] * 2, "exact_match", PROMPT)
