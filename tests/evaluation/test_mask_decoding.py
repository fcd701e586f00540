"""RefCOCO's answers, whose mask tokens the model's own codec decodes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_pg2.codecs import Detections, MaskCodec
from keras_pg2.codecs.mask_network import MaskNetwork, MaskNetworkConfig
from keras_pg2.datasets.public.examples import Example
from keras_pg2.evaluation import evaluate
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


def test_a_file_of_answers_needs_a_codec_of_ones_own(example, tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_text(f'{{"id": 0, "text": "{RESPONSE}"}}\n')
    with pytest.raises(ValueError, match=r"MaskIou\(decode_crops=codec.decode_crops\)"):
        run(str(file), example)
    codec = random_codec()
    found = run(str(file), example, MaskIou(decode_crops=codec.decode_crops))
    metric = MaskIou(decode_crops=codec.decode_crops)
    row = metric.statistics(Answer(RESPONSE), example.truth)
    assert row["is_valid"]
    assert found.figures["mask_iou"] == pytest.approx(row["shared"] / row["united"])
