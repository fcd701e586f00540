"""CHAIR by hand, with rules of the original's code as cases."""

import math

import pytest

from keras_pg2 import metrics
from keras_pg2.metrics.captions.chair import Vocabulary, read_synonyms, singular
from keras_pg2.metrics.metric import Answer, Truth

SYNONYMS = """\
person, man, woman, child, baby
bear, panda
teddy bear, teddybear
toilet, commode
chair, seat
train, locomotive
dining table, table
hot dog
dog, puppy
skis, ski
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("chair") / "synonyms.txt"
    path.write_text(SYNONYMS)
    return read_synonyms(path)


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("Two men and children.", ["person", "person"]),
        ("a teddy bear near BEARS", ["teddy bear", "bear"]),
        ("a baby bear eats a hot dog", ["bear", "hot dog"]),
        ("a toilet seat", ["toilet"]),
        ("a passenger train on a train track", ["train"]),
        ("a dining table, tables", ["dining table", "dining table"]),
        ("a skier on his skis; a puppy's ball", ["skis"]),
        ("nothing at all", []),
        ("", []),
    ],
)
def test_objects_that_a_caption_names(words, text, objects):
    assert Vocabulary(words).find(text) == objects


@pytest.mark.parametrize(
    ("plural", "single"),
    [
        ("buses", "bus"),
        ("benches", "bench"),
        ("women", "woman"),
        ("policemen", "policeman"),
        ("ponies", "pony"),
        ("glasses", "glass"),
        ("horses", "horse"),
        ("potatoes", "potato"),
        ("shoes", "shoe"),
        ("knives", "knife"),
        ("bus", "bus"),
        ("tennis", "tennis"),
    ],
)
def test_singular(plural, single):
    assert singular(plural) == single


def test_by_hand(words):
    metric = metrics.get("chair")

    def row(text, *objects):
        details = {"objects": objects, "all_objects": words}
        return metric.statistics(Answer(text), Truth(details=details))

    rows = [
        row("a man with a dog and another dog", "person", "bear"),
        row("a bear", "bear"),
        row("a sunny day", "person"),
    ]
    # Named: man, dog, dog and bear, two of four wrong; in one of three captions; found
    # man and bear of four that are there.
    assert metric.result(rows) == {
        "chair": 2 / 4,
        "chair_s": 1 / 3,
        "recall": 2 / 4,
    }
    assert metric.scores(rows).tolist() == [2 / 3, 0.0, 0.0]
    assert rows[0]["wrong"] == ["dog", "dog"]
    assert math.isnan(metric.result(rows[2:])["chair"])


def test_what_is_refused(words, tmp_path):
    metric = metrics.get("chair")
    with pytest.raises(ValueError, match="expected all_objects in the truth's details"):
        metric.statistics(Answer("a dog"), Truth(details={"objects": ["dog"]}))
    details = {"objects": ["wolf"], "all_objects": words}
    with pytest.raises(ValueError, match="among all_objects, received \\['wolf'\\]"):
        metric.statistics(Answer("a dog"), Truth(details=details))
    with pytest.raises(ValueError, match="one object, received 'cat'"):
        Vocabulary({"dog": ("cat",), "cat": ()})
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="a line of words"):
        read_synonyms(tmp_path / "empty.txt")
