"""Plans: numbers worked out by hand, and rows that do not fit."""

from __future__ import annotations

import dataclasses
import math
import warnings

import keras
import pytest

from keras_pg2 import PaliGemma2CausalLMPreprocessor, PaliGemma2Tokenizer
from keras_pg2.datasets.rows import Rows
from keras_pg2.finetuning import Settings
from keras_pg2.finetuning.lengths import leave_out_long
from keras_pg2.finetuning.plan import find_recipe, make_plan
from keras_pg2.finetuning.settings import differences
from keras_pg2.metrics import Truth
from tests.support.tiny_networks import TEXT_DECODER, VISION_ENCODER
from tests.support.tiny_vocabulary import gemma_like_proto

BOX = "<loc0000><loc0000><loc0512><loc0512> cat"


@pytest.fixture(scope="module")
def preprocessor() -> PaliGemma2CausalLMPreprocessor:
    return PaliGemma2CausalLMPreprocessor(PaliGemma2Tokenizer(gemma_like_proto()))


def architecture_of(image_size: int = 28, hidden_dim: int = 2304) -> dict:
    decoder = {**TEXT_DECODER, "hidden_dim": hidden_dim, "has_post_norms": True}
    return {
        "vision_encoder": {**VISION_ENCODER, "image_size": image_size},
        "text_decoder": decoder,
    }


def rows_of(count: int, prompt: str = "ocr", response: str = "cat") -> Rows:
    row = {"images": "a.png", "prompts": prompt, "responses": response}
    return Rows([row] * count)


def plan(preprocessor, rows, eval_rows=(), is_lora=True, **settings):
    chosen = Settings(**settings)
    return make_plan(chosen, architecture_of(), preprocessor, rows, eval_rows, is_lora)


def test_the_learning_rate_rises_and_falls_as_a_cosine(preprocessor):
    made = plan(preprocessor, rows_of(43), epochs=10, batch_size=2, learning_rate=1e-2)
    # 43 rows are 21 batches of two; 5 % of 210 steps are 10.5, to the even 10.
    assert (made.steps_per_epoch, made.num_steps, made.num_warmup_steps) == (
        21,
        210,
        10,
    )
    schedule = made.schedule()
    rates = [float(keras.ops.convert_to_numpy(schedule(i))) for i in (0, 5, 10, 110)]
    assert rates == pytest.approx([0, 5e-3, 1e-2, 5e-3], rel=1e-5)
    at = float(keras.ops.convert_to_numpy(schedule(60)))
    assert at == pytest.approx(5e-3 * (1 + math.cos(math.pi / 4)), rel=1e-5)


def test_recipes_give_what_is_not_said(preprocessor):
    # arXiv:2407.07726 appendix J: DocVQA is trained 10 epochs in batches of 256.
    made = plan(preprocessor, rows_of(8000), recipe="DocVQA", is_lora=False).settings
    assert (made.epochs, made.batch_size, made.accumulate) == (10, 8, 32)
    assert made.metric == "anls"
    # Table 14 of arXiv:2412.03555: 6e-6 at 3B.
    assert made.learning_rate == pytest.approx(6e-6)
    lora = plan(preprocessor, rows_of(8000), recipe="DocVQA", epochs=3).settings
    assert (lora.epochs, lora.weight_decay) == (3, 0.0)
    assert lora.learning_rate == pytest.approx(6e-5)
    # Few rows: sixteen updates an epoch, not one.
    few = plan(preprocessor, rows_of(300), recipe="docvqa").settings
    assert 300 // (few.batch_size * few.accumulate) >= 16


@pytest.mark.parametrize(
    ("width", "is_second", "is_lora", "rate", "words"),
    [
        # The second paper's most frequent rate for 3B is 3e-6, for 10B 1e-6, the first
        # paper's 1e-5; 3B is 2304 wide (2048 in the first), 10B 3584, nano 160.
        (2304, True, False, 3e-6, "3e-06 of the recipe"),
        (2304, True, True, 3e-5, "3e-06 of the recipe x 10 for LoRA"),
        (3584, True, False, 1e-6, "1e-06 of the recipe"),
        (2048, False, False, 1e-5, "1e-05 of the recipe"),
        (1024, False, False, 2e-5, "1e-05 of the recipe x 2 for a decoder of width"),
        (160, True, False, 4.32e-5, "3e-06 of the recipe x 14.4 for a decoder of"),
        (160, True, True, 4.32e-4, "x 10 for LoRA x 14.4 for a decoder of width 160"),
    ],
)
def test_learning_rates_by_width(preprocessor, width, is_second, is_lora, rate, words):
    architecture = architecture_of(224, width)
    architecture["text_decoder"]["has_post_norms"] = is_second
    made = make_plan(Settings(), architecture, preprocessor, rows_of(20), (), is_lora)
    assert made.settings.learning_rate == pytest.approx(rate)
    assert words in str(made.default_rate)
    said = Settings(learning_rate=0.5)
    made = make_plan(said, architecture, preprocessor, rows_of(20), (), is_lora)
    assert made.settings.learning_rate == 0.5


@pytest.mark.parametrize("width", [2304, 160])
def test_a_step_takes_off_the_recipes_share_of_a_weight(preprocessor, width):
    # arXiv:2407.07726 appendix J: 3e-7 for captions of VATEX.
    arguments = (architecture_of(224, width), preprocessor, rows_of(200), ())
    made = make_plan(Settings(recipe="vatex_cap"), *arguments, False).settings
    assert made.learning_rate * made.weight_decay == pytest.approx(3e-7)
    assert make_plan(Settings(), *arguments, True).settings.weight_decay == 0.0


def test_dropout_is_what_was_said_or_the_networks_or_the_recipes(preprocessor):
    def dropout(own: float | None, **settings) -> float | None:
        architecture = architecture_of()
        if own is not None:
            architecture["text_decoder"]["dropout"] = own
        chosen = Settings(**settings)
        made = make_plan(chosen, architecture, preprocessor, rows_of(20), (), True)
        return made.settings.dropout

    # arXiv:2407.07726 appendix J: 0.3 for Screen2Words.
    assert dropout(None, recipe="screen2words") == 0.3
    assert dropout(0.2, recipe="screen2words") == 0.2
    assert dropout(0.2, recipe="screen2words", dropout=0.0) == 0.0
    assert dropout(None) == 0.0


@pytest.mark.parametrize(
    ("hidden_dim", "image_size", "size", "resolution"),
    [(2304, 448, "3b", 448), (3584, 896, "10b", 448), (4608, 84, "28b", 224)],
)
def test_recipes_are_of_the_networks_size(hidden_dim, image_size, size, resolution):
    found = find_recipe("cococap", architecture_of(image_size, hidden_dim))
    assert (found.size, found.resolution) == (size, resolution)


def test_text_lengths(preprocessor):
    rows = rows_of(20, "answer en what is it?", "cat dog")
    # bos, prompt, newline; the answer; the end token needs no place of its own.
    [prompt] = preprocessor.tokenizer.tokenize(["answer en what is it?"])
    [answer] = preprocessor.tokenizer.tokenize(["cat dog"])
    total = len(prompt) + 2 + len(answer)
    assert plan(preprocessor, rows).settings.text_length == math.ceil(total / 8) * 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan(preprocessor, rows, text_length=total)
    with pytest.warns(UserWarning, match=f"20 longer.*--text-length {total} fits"):
        plan(preprocessor, rows, text_length=total - 1)
    with pytest.raises(ValueError, match=f"20 longer.*--text-length {total} fits"):
        plan(preprocessor, rows, text_length=len(prompt) + 1)
    with pytest.raises(ValueError, match="context of 8192"):
        plan(preprocessor, rows, text_length=8192)
    mixed = Rows([*rows, *rows_of(5, "ocr")])
    kept = leave_out_long(mixed, preprocessor, len(prompt) + 1)
    assert (len(kept), kept.num_skipped) == (5, 20)
    with pytest.raises(ValueError, match="none that fits"):
        leave_out_long(rows, preprocessor, 2)


def test_rows_of_one_and_of_two_pictures(preprocessor):
    rows = rows_of(20)
    two = {**rows[0], "images": ["a.png", "b.png"]}
    for mixed in ((Rows([*rows, two]), []), (rows, Rows([two, *rows]))):
        with pytest.raises(ValueError, match=r"Row \d+: expected as many pictures"):
            plan(preprocessor, mixed[0], mixed[1], batch_size=4)
        plan(preprocessor, mixed[0], mixed[1], batch_size=1)


def test_metrics_are_chosen_by_rows_and_recipe(preprocessor):
    boxes = rows_of(20, "detect cat", BOX)
    assert plan(preprocessor, boxes).settings.metric == "ap50"
    assert plan(preprocessor, rows_of(20)).settings.metric == "exact_match"
    captions = plan(preprocessor, rows_of(20), recipe="cococap")
    assert captions.settings.metric == "perplexity"
    with pytest.warns(UserWarning, match="with <loc.*'refcoco_seg'.*without"):
        plan(preprocessor, rows_of(20), recipe="refcoco_seg")
    with pytest.warns(UserWarning, match="without <loc.*'docvqa'.*with them"):
        plan(preprocessor, boxes, recipe="docvqa")
    with pytest.raises(ValueError, match=r"name of a metric.*'beauty'"):
        plan(preprocessor, boxes, metric="beauty")
    with pytest.raises(ValueError, match="ap50"):
        plan(preprocessor, rows_of(20), metric="ap50")


def test_a_metric_that_needs_more_than_rows_have_is_told(preprocessor):
    # VQAv2's ten answers; a row of image, prefix and suffix has one.
    with pytest.warns(UserWarning, match="at least 4 people.*not the\\s+paper's"):
        made = plan(preprocessor, rows_of(20), recipe="vqav2")
    assert made.settings.metric == "exact_match"
    with pytest.raises(ValueError, match="Row 0: expected the answers of at least 4"):
        plan(preprocessor, rows_of(20), rows_of(4), metric="vqav2_accuracy")
    ten = Truth(answers=("cat",) * 6 + ("dog",) * 4)
    rows = Rows(rows_of(20), truths=[ten] * 20)
    made = plan(preprocessor, rows, rows[:4], recipe="vqav2", batch_size=4)
    assert made.settings.metric == "vqav2_accuracy"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "docvqb"}, "Did you mean 'docvqa'"),
        ({"recipe": "pope"}, "only evaluate"),
        ({"batch_size": 21}, "batch of 21.*20 rows"),
        ({"epochs": 1, "batch_size": 20, "accumulate": 2}, "one update"),
    ],
)
def test_plans_that_cannot_be(preprocessor, settings, message):
    with pytest.raises(ValueError, match=message):
        plan(preprocessor, rows_of(20), **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"label_smoothing": 1.0},
        {"dropout": 1.0},
        {"seed": -1},
        {"checkpoint_minutes": 0},
    ],
)
def test_settings_out_of_range(settings):
    [name] = settings
    with pytest.raises(ValueError, match=name):
        Settings(**settings)


def test_what_differs_is_named_but_for_what_changes_no_number():
    before = Settings(epochs=2, patience=1)
    now = dataclasses.replace(before, epochs=3, patience=2, checkpoint_minutes=1)
    found = differences(before.as_record(), now.as_record())
    assert found == ["epochs was 2 and is 3"]


def test_a_setting_that_a_record_lacks_counts_as_its_default():
    now = Settings(epochs=2, dropout=0.0).as_record()
    before = dict(now)
    # Runs were begun before there were these.
    for name in ("augment", "dropout", "cache_features"):
        del before[name]
    assert differences(before, now) == []
    other = {**now, "augment": True, "dropout": 0.25}
    assert sorted(differences(before, other)) == [
        "augment was False and is True",
        "dropout was 0.0 and is 0.25",
    ]
    # What was said is compared as ever, and parts without settings have no defaults.
    assert differences({**before, "epochs": None}, now) == ["epochs was None and is 2"]
    assert differences({"rows": 3}, {"rows": 3}) == []
    assert differences({}, {"rows": 3}) == ["rows was None and is 3"]
