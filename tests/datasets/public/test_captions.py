"""What readers of captions find in files written after the published descriptions."""

from __future__ import annotations

import bz2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_pg2.datasets.public import registry
from keras_pg2.datasets.public.captions.boxed_pictures import BoxedPicture
from keras_pg2.datasets.public.rows import rows_of, training_rows
from keras_pg2.preprocessing.image_sources import source_name
from keras_pg2.preprocessing.images import load_rgb
from tests.datasets.public.picture_files import CASES
from tests.support.public_files import PublicFiles, write_content, write_picture

BY_NAME = {case.data_set: case for case in CASES}


def case_of(name: str) -> PublicFiles:
    return BY_NAME[name]


def read(name: str, folder: Path, **options: Any) -> Any:
    case = case_of(name)
    return case.read(case.write(folder), **options)


def test_cococap(tmp_path):
    first, _ = read("cococap", tmp_path)
    assert first.id == 391895
    assert first.images == str(tmp_path / case_of("cococap").pictures[0])
    assert first.truth.answers == ("A cat.", "One cat.")
    assert (first.truth.kind, first.fields, first.response) == ("", {}, None)


def test_cococap_of_two_splits(tmp_path):
    content = case_of("cococap").content()
    content["images"][0]["split"] = "restval"
    content["images"][1]["split"] = "train"
    case_of("cococap").write(tmp_path)
    write_content(tmp_path / "dataset_coco.json", content)
    assert len(registry.read("cococap", tmp_path, "train+restval")) == 2
    assert [e.id for e in registry.read("cococap", tmp_path, "restval")] == [391895]


def test_the_files_of_coco_itself(tmp_path):
    content = case_of("nocaps").content()
    write_content(tmp_path / "annotations/captions_val2017.json", content)
    for image in content["images"]:
        write_picture(tmp_path / "val2017" / image["file_name"])
    examples = registry.read("cococap", tmp_path, "val2017")
    assert [(e.id, e.truth.answers) for e in examples] == [
        (0, ("caption 0", "caption 2")),
        (1, ("caption 1", "caption 3")),
    ]


def test_nocaps_by_domain(tmp_path):
    assert [(e.id, e.truth.kind) for e in read("nocaps", tmp_path)] == [
        (0, "in-domain"),
        (1, "out-domain"),
    ]


def test_textcaps_are_trained_on_in_lower_case(tmp_path):
    examples = read("textcaps", tmp_path)
    assert examples[0].id == "picture0"
    assert examples[0].truth.answers == ("A sign that says 0.", "A sign that says 2.")
    rows = rows_of(registry.find("textcaps"), examples)
    assert rows[1] == {
        "images": examples[1].images,
        "prompts": "caption en",
        "responses": "a sign that says 1.",
    }


def test_docci_of_one_split(tmp_path):
    content = case_of("docci").content()
    content[0]["split"] = "qual_dev"
    case_of("docci").write(tmp_path)
    write_content(tmp_path / "docci_descriptions.jsonlines", content)
    [example] = registry.read("docci", tmp_path)
    assert example.id == "test_00001"
    assert example.truth.answers == ("An indoor angled down view of a cat.",)


def test_xm3600_in_a_language(tmp_path):
    examples = read("xm3600", tmp_path)
    assert examples[1].id == "00012f_en"
    assert examples[1].truth.answers == ("Picture 00012f", "A picture 00012f")
    assert examples[1].truth.kind == "en"
    [german, _] = registry.read("xm3600", tmp_path, "de")
    assert german.truth.answers == ("Ein Bild 0000b8",)
    rows = training_rows([german], registry.find("xm3600").prompt)
    assert rows[0]["prompts"] == "caption de"


@pytest.mark.parametrize("is_packed", [False, True])
def test_coco35l(tmp_path, is_packed):
    case = case_of("coco35l")
    case.write(tmp_path)
    if is_packed:
        path = tmp_path / case.annotations
        (tmp_path / f"{case.annotations}.bz2").write_bytes(
            bz2.compress(path.read_bytes())
        )
        path.unlink()
    first, _ = case.read(tmp_path)
    assert first.id == "391895_de"
    assert first.images.endswith("images/val2014/COCO_val2014_000000391895.jpg")
    assert first.truth.answers == ("de 0 .", "de 1 .")
    english, _ = registry.read("coco35l", tmp_path, "dev_en")
    assert english.truth.answers == ("A cat 0 .", "A cat 1 .")
    assert english.fields == {"language": "en"}


def test_a_packed_file_that_is_cut_off(tmp_path):
    case = case_of("coco35l")
    case.write(tmp_path)
    path = tmp_path / case.annotations
    packed = bz2.compress(path.read_bytes())
    path.unlink()
    for content in (packed[:-20], b"not packed at all"):
        (tmp_path / f"{case.annotations}.bz2").write_bytes(content)
        with pytest.raises(ValueError, match=r"packed.*coco_mt_dev\.jsonl\.bz2"):
            case.read(tmp_path)


def test_scicap(tmp_path):
    examples = read("scicap", tmp_path)
    assert [e.id for e in examples] == [
        "1001.0025v1-Figure2-1",
        "1001.0025v1-Figure3-1",
    ]
    assert examples[0].truth.answers == ("impact of it .",)


def test_screen2words(tmp_path):
    first, second = read("screen2words", tmp_path)
    assert (first.id, second.id) == ("1", "2")
    assert first.truth.answers == ("page of a, calendar", "dates, in months")


def test_widgets_have_a_box(tmp_path):
    first, second = read("widgetcap", tmp_path)
    assert (first.id, first.truth.answers) == ("1_0.1.0", ("go back", "return"))
    # The first child of the second one, and the first child, are the lower half of
    # RICO's screen of 1440 x 2560; the picture of 6 x 4 is scaled by its height, to
    # which 1440 is 2.25 pixels.
    for example in (first, second):
        assert example.images.box_yxyx == pytest.approx((0.5, 0, 1, 2.25 / 6))
    assert source_name(first.images) == f"{tmp_path}/combined/1.jpg#0.1.0"
    levels = load_rgb(first.images)
    red = (levels == (255, 0, 0)).all(-1)
    # floor(0.5 * 3) = 1 to 3, and floor(0) to floor(0.375 * 5) = 1.
    assert red.astype(int).tolist() == [[0] * 6] + [[1, 1, 0, 0, 0, 0]] * 3
    assert not (load_rgb(first.images.path) == (255, 0, 0)).all(-1).any()


def test_widgets_in_pictures_of_the_models_size(tmp_path):
    first, _ = read("widgetcap", tmp_path, image_size=8)
    red = (load_rgb(first.images) == (255, 0, 0)).all(-1)
    assert red.shape == (8, 8)
    # floor(0.5 * 7) = 3 to 7, 0 to floor(0.375 * 7) = 2.
    inner = np.zeros((8, 8), bool)
    inner[3:8, :3] = True
    inner[4:7, 1] = False
    assert (red == inner).all()
    with pytest.raises(ValueError, match="image_size >= 1, received 0"):
        read("widgetcap", tmp_path, image_size=0)


def test_lines_are_as_wide_as_a_pixel_of_224(tmp_path):
    Image.new("RGB", (448, 672)).save(tmp_path / "a.png")
    picture = BoxedPicture(str(tmp_path / "a.png"), "0", (0.25, 0.25, 0.75, 0.75))
    red = (load_rgb(picture) == (255, 0, 0)).all(-1)
    assert red[:, 224].sum() == 2 * 3
    assert red[300].sum() == 2 * 2


def test_boxes_are_those_of_tensorflow(tf, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 250, (32, 32, 3), np.uint8)).save(
        tmp_path / "a.png"
    )
    plain = load_rgb(tmp_path / "a.png")
    for _ in range(40):
        low, high = rng.uniform(-0.2, 0.6, 2), rng.uniform(0.6, 1.2, 2)
        box = (*low.tolist(), *high.tolist())
        picture = BoxedPicture(str(tmp_path / "a.png"), "0", box, image_size=32)
        drawn = tf.image.draw_bounding_boxes(
            tf.cast(plain[None], tf.float32),
            tf.constant([[box]], tf.float32),
            tf.constant([[255.0, 0, 0]]),
        )
        np.testing.assert_array_equal(load_rgb(picture), drawn[0].numpy())
