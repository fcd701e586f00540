"""`detect` and `segment` on random weights: form, places, scores, errors."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from keras_pg2 import BeamSearch, LocationGrammar, PaliGemma2CausalLM
from keras_pg2.catalogue.names import bundled_names
from keras_pg2.codecs import Detections, parse_detections
from keras_pg2.codecs.detection_scores import ScoreCalibration
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.mask_network import MaskNetwork, MaskNetworkConfig
from keras_pg2.codecs.searching import DetectionOptions, Search
from keras_pg2.generation.recording.recording import set_recording
from keras_pg2.tasks.deciding.model_files import ModelFiles
from tests.support.tiny_models import random_task

LABELS = ["red circle", "star"]
CONFIG = MaskNetworkConfig(8, 16, (4, 4, 8, 8))


@pytest.fixture(scope="module", autouse=True)
def no_recording():
    """PyTorch records for longer than these answers take."""
    set_recording(False)
    yield
    set_recording(True)


@pytest.fixture(scope="module")
def model() -> PaliGemma2CausalLM:
    model = random_task()
    model.mask_codec = MaskCodec(MaskNetwork(CONFIG))
    return model


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(levels.astype(np.uint8))


@pytest.mark.one_backend("the text of generate")
def test_every_answer_is_read_whole(model):
    sizes = [(40, 300), (300, 40), (64, 64), (1, 1), (200, 120)]
    pictures = [picture(*size) for size in sizes]
    found = model.segment(pictures, LABELS, max_detections=3, batch_size=2)
    assert all(len(each) <= 3 for each in found)
    assert sum(len(each) for each in found) > 2
    for each, (width, height) in zip(found, sizes):
        assert each.unread == ()
        assert set(each.labels) <= set(LABELS)
        assert (each.boxes_xyxy >= 0).all()
        assert (each.boxes_xyxy <= [width, height, width, height]).all()
        assert each.masks.shape == (len(each), height, width)
        assert ((each.scores >= 0) & (each.scores <= 1)).all()
        for tokens in each.tokens:
            assert re.fullmatch(r"(<loc\d{4}>){4}(<seg\d{3}>){16}", tokens)


def test_masks_stay_within_their_boxes(model):
    found = model.segment(picture(90, 60), LABELS, max_detections=3)
    ys, xs = np.mgrid[:60, :90]
    for mask, (x1, y1, x2, y2) in zip(found.masks, found.boxes_xyxy):
        is_near = (xs >= x1 - 1.5) & (xs <= x2 + 0.5) & (ys >= y1 - 1.5)
        assert (mask <= (is_near & (ys <= y2 + 0.5))).all()


def test_detect_has_no_masks(model):
    found = model.detect(picture(30, 30), LABELS, max_detections=3)
    assert found.masks is None
    assert all("<seg" not in tokens for tokens in found.tokens)


def test_boxes_are_of_the_upright_picture(model, tmp_path):
    upright = picture(60, 40)
    turned = upright.transpose(Image.Transpose.ROTATE_90)  # EXIF 6 turns it back.
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    expected = model.detect(upright, LABELS, max_detections=3)
    found = model.detect(str(tmp_path / "turned.png"), LABELS, max_detections=3)
    assert found.tokens == expected.tokens
    np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)


def test_each_picture_may_have_labels_of_its_own(model):
    pictures = [picture(20, 20, seed) for seed in range(4)]
    rows = [["star"], ["red circle"], ["star"], ["star", "red circle"]]
    found = model.detect(pictures, rows, max_detections=3)
    for each, labels in zip(found, rows):
        assert set(each.labels) <= set(labels)


@pytest.mark.every_backend
def test_scores_are_the_geometric_mean_of_locations_and_label(model):
    image = picture(50, 50)
    [answer] = model.generate(
        {"images": [image], "prompts": ["detect star"]},
        constraint=LocationGrammar(["star"], "never"),
        max_new_tokens=60,
        return_scores=True,
    )
    found = model.detect(image, ["star"], max_detections=3)
    instances = parse_detections(answer.text, 50, 50)
    count = min(len(found), len(instances))
    assert count > 0
    assert found.tokens[: count - 1] == instances.tokens[: count - 1]
    tokens = [
        model.preprocessor.tokenizer.id_to_token(i) for i in answer.token_ids.tolist()
    ]
    starts = [i for i, token in enumerate(tokens) if token.startswith("<loc")][::4]
    start, end = starts[0], [*starts, len(tokens)][1]
    own = answer.token_log_probabilities[start:end].astype(float)
    is_end = np.array([token == "<eos>" for token in tokens[start:end]])
    # Four locations, and the label as one more.
    expected = np.exp((own[:4].sum() + own[4:][~is_end[4:]].sum()) / 5)
    assert found.scores[0] == pytest.approx(expected, rel=1e-3)


def test_a_calibration_changes_scores_and_is_kept(model, tmp_path):
    calibration = ScoreCalibration(0.5, (0.3, 0.2, 0.1), "a test")
    image = picture(50, 50)
    before = model.detect(image, LABELS, max_detections=3)
    model.score_calibration = calibration
    after = model.detect(image, LABELS, max_detections=3, min_score=0)
    assert after.tokens == before.tokens
    assert not np.allclose(after.scores, before.scores)
    model.save_to_preset(tmp_path / "preset")
    loaded = PaliGemma2CausalLM.from_preset(str(tmp_path / "preset"))
    assert loaded.score_calibration == calibration
    again = loaded.segment(image, LABELS, max_detections=3, min_score=0)
    expected = model.segment(image, LABELS, max_detections=3, min_score=0)
    np.testing.assert_allclose(again.scores, expected.scores, rtol=1e-3)
    np.testing.assert_array_equal(again.masks, expected.masks)
    model.score_calibration = None


@pytest.mark.parametrize(
    ("is_calibrated", "min_score", "kept"),
    [
        (False, None, [0.2, 0.5, 0.9, 0.49]),
        (True, None, [0.5, 0.9]),
        (True, 0, [0.2, 0.5, 0.9, 0.49]),
        (True, 0.6, [0.9]),
        (False, 0.6, [0.9]),
        (False, 1.0, []),
    ],
)
def test_the_least_score(is_calibrated, min_score, kept):
    """Rather right than wrong where scores are probabilities, else all."""
    calibration = ScoreCalibration(0.0, (1.0, 1.0, 1.0)) if is_calibrated else None
    options = DetectionOptions("detect", min_score=min_score)
    boxes = np.array([[0, 0, 9, 9]] * 4, np.float32)
    scores = np.array([0.2, 0.5, 0.9, 0.49], np.float32)
    found = Detections(("a", "b", "c", "d"), boxes, scores=scores)
    sure = Search(None, options, calibration, None)._sure(found)
    np.testing.assert_allclose(sure.scores, kept)


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_an_iterator_of_pictures_gives_one_of_detections(model, task):
    """Pictures are opened a batch at a time, and not before they are asked for."""
    opened = []

    def pictures():
        for seed in range(3):
            opened.append(seed)
            yield picture(30 + seed, 20, seed)

    look = getattr(model, task)
    found = look(pictures(), LABELS, max_detections=1, batch_size=2)
    assert opened == []
    first = next(found)
    assert opened == [0, 1]
    expected = look(list(pictures()), LABELS, max_detections=1, batch_size=2)
    for one, other in zip([first, *found], expected, strict=True):
        assert one.tokens == other.tokens
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
        if task == "segment":
            np.testing.assert_array_equal(one.masks, other.masks)
    with pytest.raises(ValueError, match="none"):
        look(pictures(), [])
    with pytest.raises(TypeError, match="Labels"):
        look(pictures(), [["star"], ["star"]])
    bad = iter([picture(9, 9), np.zeros(2)])
    with pytest.raises(ValueError, match="image 1"):
        list(look(bad, LABELS, max_detections=1, batch_size=1))


def test_pictures_as_one_array(model):
    pictures = np.stack([np.asarray(picture(40, 30, seed)) for seed in range(2)])
    expected = model.detect(list(pictures), LABELS, max_detections=1)
    found = model.detect(pictures, LABELS, max_detections=1)
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert isinstance(model.detect(pictures[0], LABELS, max_detections=1), Detections)


def test_labels_with_commas_are_told(model):
    with pytest.warns(UserWarning, match=r"Pass \['star', 'circle'\]"):
        found = model.detect(picture(9, 9), ["star, circle"], max_detections=1)
    assert set(found.labels) <= {"star, circle"}


def test_labels_asked_one_by_one_and_in_both_ways(model):
    """The surest of what calls with one label find, and of these and one with all."""
    image = picture(50, 50)
    alone = [model.detect(image, [label], max_detections=3) for label in LABELS]
    together = model.detect(image, LABELS, max_detections=3)
    assert sum(map(len, alone)) > 3
    for asked, parts, max_overlap in (
        ("each", alone, 1.0),
        ("both", [together, *alone], 0.5),
    ):
        union = Detections.concatenate(parts).without_duplicates(max_overlap)
        expected = union.take(np.argsort(-union.scores)[:3])
        found = model.detect(image, LABELS, max_detections=3, asked=asked)
        assert sorted(found.tokens) == sorted(expected.tokens)
        np.testing.assert_allclose(
            sorted(found.scores), sorted(expected.scores), rtol=1e-4
        )
    masks = model.segment(image, LABELS[:1], max_detections=2, asked="both")
    assert len(masks.masks) == len(masks)


def test_duplicates_are_dropped_on_request(model):
    image = picture(50, 50)
    found = model.detect(image, ["star"], max_detections=3, max_overlap=0.0)
    assert len(found) == len(found.without_duplicates(0.0))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([], ValueError, "Received: none"),
        ("star", TypeError, "list of texts"),
        ([""], ValueError, "empty"),
        (["a ; b"], ValueError, "separates labels"),
        (["a\nb"], ValueError, "on one line"),
        (["\ud800"], ValueError, "surrogate"),
        (["a", "a"], ValueError, "each label once"),
        (["<loc0001>"], ValueError, "plain words"),
        ([3], ValueError, "one for each of 2"),
        ([["a"], ["b"], ["c"]], ValueError, "one for each of 2"),
        ([["a"], []], ValueError, "of picture 1"),
        ([["a"], ["b", "b"]], ValueError, "of picture 1"),
    ],
)
def test_bad_labels_are_told_before_anything_is_computed(
    model, labels, error, message, monkeypatch
):
    monkeypatch.setattr(PaliGemma2CausalLM, "make_generate_function", None)
    with pytest.raises(error, match=message):
        model.detect([picture(9, 9)] * 2, labels)


def test_bad_numbers_and_models_are_told(model, tmp_path):
    image = picture(9, 9)
    with pytest.raises(ValueError, match="max_detections"):
        model.detect(image, LABELS, max_detections=0)
    with pytest.raises(ValueError, match="batch_size"):
        model.detect(image, LABELS, batch_size=0.5)
    with pytest.raises(ValueError, match="max_overlap"):
        model.detect(image, LABELS, max_overlap=2)
    for share in (-0.1, 1.5, "a", float("nan")):
        with pytest.raises(ValueError, match="min_score in"):
            model.detect(image, LABELS, min_score=share)
    with pytest.raises(ValueError, match="asked to be one of together, each, both"):
        model.detect(image, LABELS, asked="all")
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        model.detect([image, str(tmp_path / "none.png")], LABELS)
    model.compile(sampler=BeamSearch(2))
    with pytest.raises(ValueError, match="without beams"):
        model.detect(image, LABELS)
    model.compile(sampler="greedy")
    with pytest.raises(ValueError, match="preprocessor"):
        PaliGemma2CausalLM(model.backbone).detect(image, LABELS)


def test_no_pictures_are_no_detections(model):
    assert model.detect([], LABELS) == []


def test_a_model_without_a_codec_asks_for_the_released_one(monkeypatch):
    asked = []

    def released() -> MaskCodec:
        asked.append(True)
        return MaskCodec(MaskNetwork(CONFIG))

    monkeypatch.setattr(MaskCodec, "released", released)
    model = random_task()
    assert model.mask_codec is None
    model.detect(picture(9, 9), LABELS, max_detections=3)
    assert asked == []
    model.segment(picture(9, 9), LABELS, max_detections=3)
    assert asked == [True]


def test_the_note_of_a_preset_is_told_once(tmp_path, caplog):
    (tmp_path / "metadata.json").write_text('{"note": "It knows nothing."}')
    for _ in range(2):
        ModelFiles.of_preset(tmp_path)
    assert caplog.messages == [f"{tmp_path.name}: It knows nothing."]


def test_the_bundled_preset_says_that_it_does_not_know_photographs(caplog):
    ModelFiles.of_preset("pali_gemma2_nano")
    ModelFiles.of_preset("pali_gemma2_nano_84")
    # Another test of this process may have loaded it before.
    assert len(caplog.messages) <= 1
    metadata = bundled_names()["pali_gemma2_nano"] / "metadata.json"
    assert "photographs" in metadata.read_text()
