"""The papers' figures, by what their tables print."""

from __future__ import annotations

import pytest

from keras_pg2 import recipes
from keras_pg2.recipes.published import REPORTED, read_reported

BY_NAME = {one.name: one for one in REPORTED}


@pytest.mark.parametrize(
    ("name", "key", "figure", "deviation"),
    [
        # arXiv:2412.03555, table 13.
        ("ai2d", (2, "3b", 224), 74.7, 0.5),
        ("docvqa", (2, "3b", 448), 73.6, 0.3),
        ("docvqa", (2, "28b", 224), 44.9, 0.4),
        ("scicap", (2, "28b", 448), 172.7, 1.5),
        ("textcaps", (2, "10b", 448), 157.7, 0.7),
        ("xgqa", (2, "28b", 448), 62.1, 0.3),
        ("vatex_cap", (2, "10b", 224), 82.7, 0.5),
        ("refcocog_test", (2, "10b", 448), 74.8, 0.1),
        ("tallyqa_complex", (2, "3b", 224), 70.3, 0.3),
        # Table 15.
        ("docvqa", (1, "3b", 448), 74.1, None),
        ("vqav2", (1, "3b", 224), 82.1, None),
        # arXiv:2407.07726, table 1.
        ("textvqa_test", (1, "3b", 896), 76.5, None),
        # arXiv:2412.03555, tables 2 to 8 and 11.
        ("icdar15_f1", (2, "3b", 896), 75.9, None),
        ("pubtabnet_teds", (2, "3b", 896), 97.3, None),
        ("molecules", (2, "10b", 448), 94.8, None),
        ("grandstaff_ler", (2, "3b", 896), 6.7, None),
        ("mimic_cxr_radgraph_f1", (2, "10b", 896), 29.5, None),
        ("coco_detection", (2, "10b", 896), 43.6, None),
    ],
)
def test_figures_are_those_of_the_tables(name, key, figure, deviation):
    found, spread = BY_NAME[name].figures[key]
    assert found == pytest.approx(figure / 100)
    assert spread == (None if deviation is None else pytest.approx(deviation / 100))


def test_every_task_has_figures():
    own = {"forkme", "vertexai_l4"}  # For data of one's own.
    assert {one.recipe for one in REPORTED} - {None} == {*recipes.names()} - own
    table_13 = [one for one in REPORTED if one.source[2] == "[P2] table 13"]
    assert len(table_13) == 48
    # Videos are at 224 px, and of two sizes.
    assert sum(len(one.figures) for one in table_13) == 42 * (6 + 2) + 6 * (2 + 1) + 6


def test_figures_are_in_range():
    for one in REPORTED:
        for (version, size, resolution), (figure, deviation) in one.figures.items():
            assert size in recipes.SIZES
            assert resolution in recipes.RESOLUTIONS
            assert version == 2 or size == "3b"
            is_count = one.figure in ("characters", "sentences")
            assert 0 < figure < (600 if is_count else 2)
            assert deviation is None or 0 <= deviation < 0.02
        assert set(one.source) == {1, 2}


def test_an_unknown_key_is_named(tmp_path):
    path = tmp_path / "published.toml"
    path.write_text('[ai2d]\ntitle = "AI2D"\ndata_set = "ai2d"\nsplits = "test"\n')
    with pytest.raises(ValueError, match="'ai2d', received splits"):
        read_reported(path)
