from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_pg2.datasets.augmentations import (
    RESIZE_VARIANTS,
    JpegJitter,
    LightCrop,
    ResizeJitter,
    augment,
)
from keras_pg2.datasets.moving_boxes import (
    Crop,
    move_answer,
    move_prompt,
    read_instances,
    write_instances,
)

WHOLE = Crop(0, 0, 1, 1)
MASK = "".join(f"<seg{i:03d}>" for i in range(16))


def box(y1, x1, y2, x2):
    return "".join(f"<loc{b:04d}>" for b in (y1, x1, y2, x2))


def picture(height=60, width=80):
    """Rows in red, columns in green, and noise in blue."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width))
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, noise], axis=-1).astype(np.uint8)


def make_row(response="a cat", prompt="caption en", images=None):
    images = picture() if images is None else images
    return {"images": images, "prompts": prompt, "responses": response}


# The crop is the lower right quarter: bin b becomes (b / 1023 - 0.5) * 2 * 1023.
QUARTER = Crop(0.5, 0.5, 1, 1)


@pytest.mark.parametrize(
    ("answer", "min_visible", "expected"),
    [
        # Inside: 600 -> 177, 700 -> 377, 800 -> 577, 1023 -> 1023.
        (f"{box(600, 700, 800, 1023)} cat", 1, f"{box(177, 377, 577, 1023)} cat"),
        # Cut at the upper edge: y 400..800 is visible by (800 - 511.5) / 400 = 0.72.
        (f"{box(400, 700, 800, 900)} cat", 0.72, f"{box(0, 377, 577, 777)} cat"),
        (f"{box(400, 700, 800, 900)} cat", 0.73, None),
        # Outside, the last cat.
        (f"{box(0, 0, 400, 400)} cat", 0.1, None),
        # Outside, but another cat is left; the dog keeps its place.
        (
            f"{box(600, 700, 800, 900)} cat ; {box(0, 0, 9, 9)} cat ; "
            f"{box(512, 512, 1023, 1023)} big dog",
            0.5,
            f"{box(177, 377, 577, 777)} cat ; {box(1, 1, 1023, 1023)} big dog",
        ),
        # A mask goes with its box, and is never cut.
        (f"{box(600, 700, 800, 900)}{MASK}", 0.5, f"{box(177, 377, 577, 777)}{MASK}"),
        (f"{box(400, 700, 800, 900)}{MASK} cat", 0.5, None),
        # A box without height, within and without.
        (f"{box(600, 700, 600, 900)} line", 1, f"{box(177, 377, 177, 777)} line"),
        (f"{box(400, 700, 400, 900)} line", 0.1, None),
        ("no box ; at all", 1, "no box ; at all"),
        ("", 1, ""),
    ],
)
def test_boxes_in_a_quarter(answer, min_visible, expected):
    assert move_answer(answer, QUARTER, min_visible) == expected


def test_boxes_of_a_prompt():
    within, cut = box(600, 700, 800, 900), box(400, 700, 800, 900)
    moved = box(177, 377, 577, 777)
    assert move_prompt(f"caption {within}", QUARTER) == f"caption {moved}"
    assert move_prompt(f"{within}{within} x", QUARTER) == f"{moved}{moved} x"
    assert move_prompt(f"caption {within} {cut}", QUARTER) is None
    assert move_prompt("caption en", QUARTER) == "caption en"


BINS = st.integers(0, 1023)
BOXES = st.tuples(BINS, BINS, BINS, BINS).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
LABELS = st.text("abcäé ;-", max_size=8).map(lambda t: re.sub(";", "", t).strip())
INSTANCES = st.lists(
    st.tuples(BOXES, st.booleans(), LABELS).map(
        lambda i: box(*i[0]) + MASK * i[1] + (f" {i[2]}" if i[2] else "")
    ),
    min_size=1,
    max_size=5,
).map(" ; ".join)
EDGES = st.tuples(st.floats(0, 0.45), st.floats(0.55, 1))


@settings(max_examples=150, deadline=None)
@given(INSTANCES)
def test_the_whole_picture_changes_nothing(text):
    assert write_instances(read_instances(text)) == text
    assert move_answer(text, WHOLE, 1) == text


@settings(max_examples=200, deadline=None)
@given(BOXES, EDGES, EDGES, st.floats(0.05, 1))
def test_moved_boxes_cover_the_same_place(bins, y, x, min_visible):
    crop = Crop(y[0], x[0], y[1], x[1])
    moved = move_answer(f"{box(*bins)} a", crop, min_visible)
    y1, x1, y2, x2 = np.array(bins) / 1023
    shared = [
        (min(y2, y[1]) - max(y1, y[0]), y2 - y1),
        (min(x2, x[1]) - max(x1, x[0]), x2 - x1),
    ]
    if moved is None:
        if all(whole > 0 for _, whole in shared):
            visible = np.prod([max(part, 0) / whole for part, whole in shared])
            assert visible < min_visible + 1e-5
        return
    [found] = read_instances(moved)
    size = np.tile([y[1] - y[0], x[1] - x[0]], 2)
    back = np.array(found.bins) / 1023 * size + np.tile([y[0], x[0]], 2)
    expected = np.clip([y1, x1, y2, x2], [y[0], x[0]] * 2, [y[1], x[1]] * 2)
    # Half a bin of the crop.
    np.testing.assert_array_less(np.abs(back - expected), size / 1023 / 2 + 1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "<loc0001> cat",
        f"{box(1, 2, 3, 4)} cat {box(1, 2, 3, 4)}",
        f"{box(1, 2, 3, 4)}<seg001> cat",
        f"the cat {box(1, 2, 3, 4)}",
        f"{box(1, 2, 3, 1024)} cat",
        f"{box(1, 2, 3, 4)} cat;{box(1, 2, 3, 4)} dog",
    ],
)
def test_boxes_in_another_form_are_refused(text):
    with pytest.raises(ValueError, match=r"Expected four tokens.*leave the crop out"):
        LightCrop()(make_row(text), np.random.default_rng(0))


def test_crops_by_their_pixels():
    answer = f"{box(300, 300, 700, 700)} cat"
    crop = LightCrop(area=(0.5, 0.9))
    original = make_row(answer)
    for seed in range(30):
        row = crop(original, np.random.default_rng(seed))
        image = row["images"]
        height, width = image.shape[:2]
        y, x = image[0, 0, :2]
        np.testing.assert_array_equal(image, picture()[y : y + height, x : x + width])
        area = height * width / (60 * 80)
        assert 0.5 - 0.03 <= area <= 0.9 + 0.03
        # The box, in pixels of the whole picture again.
        [found] = read_instances(row["responses"])
        pixels = np.array(found.bins) / 1023 * [height, width, height, width]
        pixels += [y, x, y, x]
        whole = np.array([300, 300, 700, 700]) / 1023 * [60, 80, 60, 80]
        low, high = [y, x] * 2, [y + height, x + width] * 2
        np.testing.assert_allclose(pixels, np.clip(whole, low, high), atol=0.05)
        again = crop(original, np.random.default_rng(seed))
        np.testing.assert_array_equal(again["images"], image)
        assert again["responses"] == row["responses"]
    assert original["responses"] == answer
    np.testing.assert_array_equal(original["images"], picture())


def test_a_row_stays_whole_where_no_crop_fits():
    corners = f"{box(0, 0, 9, 9)}{MASK} a ; {box(1014, 1014, 1023, 1023)}{MASK} a"
    row = LightCrop(area=(0.3, 0.5))(make_row(corners), np.random.default_rng(1))
    assert row["images"].shape == (60, 80, 3)
    assert row["responses"] == corners
    asked = make_row("a cat", f"caption {box(0, 0, 1023, 1023)}")
    row = LightCrop(area=(0.3, 0.5))(asked, np.random.default_rng(1))
    assert row["images"].shape == (60, 80, 3)


def test_texts_without_boxes_and_several_pictures():
    crop = LightCrop(area=(0.3, 0.5))
    row = crop(make_row("left ; right"), np.random.default_rng(0))
    assert row["images"].shape != (60, 80, 3)
    assert row["responses"] == "left ; right"
    several = make_row(images=[picture(), picture(30, 30)])
    row = crop(several, np.random.default_rng(0))
    assert len(row["images"]) == 2
    with pytest.raises(ValueError, match="one picture in a row with boxes, received 2"):
        crop({**several, "responses": f"{box(1, 2, 3, 4)} a"}, np.random.default_rng(0))
    with pytest.raises(ValueError, match="response_parts: a crop would not fit"):
        crop({**make_row(), "response_parts": ()}, np.random.default_rng(0))


def test_resizing_is_by_every_filter_in_turn(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    found = {}
    for seed in range(80):
        row = ResizeJitter(20)(make_row(images=str(path)), np.random.default_rng(seed))
        assert row["images"].shape == (20, 20, 3)
        found[row["images"].tobytes()] = row["images"]
    assert len(found) == len(RESIZE_VARIANTS)
    box_filter = Image.fromarray(picture()).resize((20, 20), Image.Resampling.BOX)
    assert np.asarray(box_filter).tobytes() in found
    for image in found.values():
        # Columns, four pixels wide, of the middles 1.5, 5.5, ...
        inside = image[5, 2:-2, 1].astype(float)
        np.testing.assert_allclose(inside, np.arange(2, 18) * 4 + 1.5, atol=0.6)


def test_jpeg_quality_and_probability():
    def sizes(jitter):
        rows = [
            jitter(make_row(), np.random.default_rng(s))["images"] for s in range(40)
        ]
        return [float(np.abs(r.astype(int) - picture()).mean()) for r in rows]

    assert set(sizes(JpegJitter(probability=0))) == {0.0}
    worst, best = sizes(JpegJitter(1, (10, 10))), sizes(JpegJitter(1, (95, 95)))
    assert min(worst) > max(best) > 0
    half = sizes(JpegJitter(0.5))
    assert 8 < half.count(0.0) < 32
    row = JpegJitter(1)(
        make_row(images=[picture(), picture(8, 8)]), np.random.default_rng(0)
    )
    assert [image.shape for image in row["images"]] == [(60, 80, 3), (8, 8, 3)]


def test_one_after_the_other():
    chain = [LightCrop(), JpegJitter(1), ResizeJitter(28)]
    row = make_row(f"{box(300, 300, 700, 700)} cat")
    one, two = (augment(row, chain, np.random.default_rng(5)) for _ in range(2))
    assert one["images"].shape == (28, 28, 3)
    np.testing.assert_array_equal(one["images"], two["images"])
    assert one["responses"] == two["responses"] != row["responses"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResizeJitter(0), "image_size >= 1, received 0"),
        (lambda: JpegJitter(1.5), "probability within 0..1.*1.5"),
        (lambda: JpegJitter(1, (0, 95)), "quality within 1..100"),
        (lambda: JpegJitter(1, (95, 75)), "the lower one first"),
        (lambda: LightCrop(area=(0, 1)), "area within 0.001..1"),
        (lambda: LightCrop(area=(0.5, 1.5)), "area within"),
        (lambda: LightCrop(aspect=(2, 1)), "aspect within.*the lower one first"),
        (lambda: LightCrop(min_visible=0), "min_visible within"),
        (lambda: LightCrop(min_visible=float("nan")), "min_visible within"),
        (lambda: LightCrop(num_tries=0), "num_tries >= 1, received 0"),
    ],
)
def test_bad_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()
