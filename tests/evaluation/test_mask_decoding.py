"""RefCOCO's answers, whose mask tokens the model's own codec decodes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from keras_pg2.cli import app, evaluating_start
from keras_pg2.codecs import Detections, MaskCodec
from keras_pg2.codecs.mask_network import MaskNetwork, MaskNetworkConfig
from keras_pg2.datasets.public.examples import Example
from keras_pg2.evaluation import evaluate, mask_decoding
from keras_pg2.evaluation.asking import make_plan
from keras_pg2.evaluation.mask_decoding import with_mask_decoder
from keras_pg2.metrics import Answer, Truth
from keras_pg2.metrics.things.referring import MaskIou
from tests.support.tiny_models import random_task

pytestmark = pytest.mark.one_backend("which decoder a metric is given")

RESPONSE = "<loc0000><loc0000><loc1023><loc1023>" + "<seg000>" * 16


def random_codec() -> MaskCodec:
    return MaskCodec(MaskNetwork(MaskNetworkConfig(8, 16, (4, 4, 8, 8))))


@pytest.fixture
def example(tmp_path) -> Example:
    path = tmp_path / "0.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path)
    box = np.array([[0, 0, 30, 20]], np.float32)
    things = Detections(("",), box, np.ones((1, 20, 30), bool))
    truth = Truth(things=things, size=(20, 30))
    return Example(
        id=0,
        images=path,
        truth=truth,
        fields={"sentence": "the left cat"},
        response=RESPONSE,
    )


def run(model, example, metric="mask_iou", **options):
    return evaluate(
        model,
        [example],
        metric,
        "{sentence}",
        show_progress=False,
        num_draws=5,
        max_new_tokens=3,
        **options,
    )


def test_the_models_codec_reads_masks(example):
    task = random_task()
    task.mask_codec = random_codec()
    found = run(task, example)
    assert found.metric == "mask_iou"
    # Three tokens are no mask.
    assert found.figures["valid"] == 0


def test_a_file_of_answers_has_the_released_codec_or_ones_own(
    example, tmp_path, monkeypatch
):
    file = tmp_path / "answers.jsonl"
    file.write_text(f'{{"id": 0, "text": "{RESPONSE}"}}\n')
    codec = random_codec()
    metric = MaskIou(decode_crops=codec.decode_crops)
    row = metric.statistics(Answer(RESPONSE), example.truth)
    assert row["is_valid"]
    expected = pytest.approx(row["shared"] / row["united"])
    assert run(str(file), example, metric).figures["mask_iou"] == expected
    monkeypatch.setattr(MaskCodec, "released", lambda: codec)
    assert run(file, example).figures["mask_iou"] == expected


def test_an_exported_model_has_the_codec_it_was_given(example):
    plan = make_plan([example], "mask_iou", "{sentence}")
    runner = SimpleNamespace(manifest={}, generate=None, mask_codec=None)
    with pytest.raises(ValueError, match=r"mask_codec=None. Set it"):
        with_mask_decoder(plan, runner)
    runner.mask_codec = random_codec()
    decode = with_mask_decoder(plan, runner).metric.decode_crops
    assert decode == runner.mask_codec.decode_crops


@pytest.mark.parametrize("preset", [(), ("--preset", "pali_gemma2_nano")])
def test_the_command_decodes_masks_of_a_file(preset, example, tmp_path, monkeypatch):
    """Without --preset by the released codec, with it by that of the preset."""
    used = []

    def plan_with(plan, codec):
        used.append(codec)
        raise ValueError("Expected no more.")

    plan = make_plan([example], "mask_iou", "{sentence}")
    monkeypatch.setattr(evaluating_start, "_make_plan", lambda asking, read: plan)
    released = random_codec()
    monkeypatch.setattr(MaskCodec, "released", lambda: released)
    monkeypatch.setattr(mask_decoding, "with_codec", plan_with)
    file = tmp_path / "answers.jsonl"
    file.write_text(f'{{"id": 0, "text": "{RESPONSE}"}}\n')
    arguments = [
        *("evaluate", "--data-set", "scenes_segment", "--data", str(tmp_path)),
        *(
            "--limit",
            "1",
            "--predictions",
            str(file),
            "--output",
            str(tmp_path / "report"),
            *preset,
        ),
    ]
    result = CliRunner().invoke(app, arguments)
    assert "Expected no more." in result.output
    [codec] = used
    assert (codec is released) == (not preset)
