from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from keras_pg2.metrics.edit_distance import edit_distance

texts = st.text("abcdé 𝄞", max_size=90)


@given(texts, texts)
def test_is_that_of_rapidfuzz(a, b):
    assert edit_distance(a, b) == Levenshtein.distance(a, b)


def test_of_words():
    assert edit_distance(["the", "cat", "sat"], ["the", "dog"]) == 2
    assert edit_distance([], [1, 2]) == edit_distance((1, 2), ()) == 2
    assert edit_distance("kitten", "sitting") == 3
