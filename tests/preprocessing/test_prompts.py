from __future__ import annotations

import numpy as np
import pytest

from keras_pg2.preprocessing import prompts


def test_prompts_as_the_papers_write_them():
    assert prompts.short_caption() == "cap en"
    assert prompts.caption() == "caption en"
    assert prompts.caption("de") == "caption de"
    assert prompts.describe("iw") == "describe iw"
    assert prompts.ocr() == "ocr"
    assert prompts.answer("What is this?") == "answer en What is this?"
    assert prompts.answer("Was?", language="de") == "answer de Was?"
    assert prompts.question("two dogs", "fr") == "question fr two dogs"
    assert prompts.detect("cat") == "detect cat"
    assert prompts.detect("cat", "red bus") == "detect cat ; red bus"
    assert prompts.detect(["cat", " dog "]) == "detect cat ; dog"
    assert prompts.segment(name for name in ("a", "b")) == "segment a ; b"


def test_languages_are_those_of_crossmodal_3600():
    assert len(set(prompts.LANGUAGES)) == 36
    assert {"en", "quz", "fil", "iw", "mi"} <= set(prompts.LANGUAGES)


@pytest.mark.parametrize("language", ["", "EN", "english", None, "xx"])
def test_unknown_language(language):
    with pytest.raises(ValueError, match="Expected a language code"):
        prompts.caption(language)


def test_old_code_of_hebrew_is_suggested():
    with pytest.raises(ValueError, match="Write 'iw'"):
        prompts.answer("?", "he")


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a;b", "separates labels"),
        ("a\nb", "one line"),
        ("<loc0001> cat", "<loc"),
        ("cat <seg001>", "<seg"),
        ("cat<eos>", "<eos>"),
    ],
)
def test_bad_labels(label, reason):
    for make in (prompts.detect, prompts.segment):
        with pytest.raises(ValueError, match=reason):
            make("dog", label)


def test_no_label_and_a_label_twice():
    with pytest.raises(ValueError, match="received none"):
        prompts.detect()
    with pytest.raises(ValueError, match="received none"):
        prompts.detect([])
    with pytest.raises(ValueError, match="'cat' 2 times"):
        prompts.detect("cat", "dog", "cat ")


class Compared(str):
    """A text that counts how often one is compared with another."""

    count = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        Compared.count += 1
        return str.__eq__(self, other)

    def strip(self, *chars):
        return self


def test_labels_are_not_compared_each_with_each():
    labels = [Compared(f"thing {i}") for i in range(500)]
    assert prompts.detect(labels) == f"detect {' ; '.join(labels)}"
    assert Compared.count < 20 * len(labels)


def test_texts_that_are_no_question():
    with pytest.raises(ValueError, match="empty text"):
        prompts.answer(" ")
    with pytest.raises(ValueError, match="one line"):
        prompts.answer("one\ntwo")
    with pytest.raises(TypeError, match="received int"):
        prompts.question(3)
    with pytest.raises(TypeError, match="received int"):
        prompts.detect(["cat", 3])


@pytest.mark.parametrize("separator", [",", ", ", " , "])
def test_a_comma_in_a_label_is_told(separator):
    label = f"star{separator}circle"
    with pytest.warns(UserWarning, match=r"Pass \['star', 'circle'\]"):
        assert prompts.detect(label) == f"detect {label}"


def test_the_caption_of_a_region():
    """(25, 50, 75, 100) of 100 x 200 pixels is y 0.25..0.5, x 0.25..0.75."""
    expected = "caption <loc0256><loc0256><loc0512><loc0767>"
    assert prompts.caption(region=(25, 50, 75, 100), size=(100, 200)) == expected
    shares = np.array([0.25, 0.25, 0.75, 0.5], np.float32)
    assert prompts.caption(region=shares, size=(1, 1)) == expected
    whole = prompts.caption(region=(0, 0, 100, 200), size=(100, 200))
    assert whole == "caption <loc0000><loc0000><loc1023><loc1023>"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": (0, 0, 1, 1)}, "region and size together"),
        ({"size": (9, 9)}, "region and size together"),
        ({"region": (0, 0, 9, 9), "size": (9, 8)}, "picture of 9 x 8"),
        ({"region": (3, 0, 1, 1), "size": (9, 8)}, "x1 <= x2"),
        ({"region": (-1, 0, 1, 1), "size": (9, 8)}, "in pixels"),
        ({"region": (0, 0, float("nan"), 1), "size": (9, 8)}, "in pixels"),
        ({"region": (0, 0, 1), "size": (9, 8)}, "x1, y1, x2, y2"),
        ({"region": [(0, 0, 1, 1)], "size": (9, 8)}, "x1, y1, x2, y2"),
        ({"region": (0, 0, 0, 0), "size": (0, 0)}, "picture of 0 x 0"),
        ({"region": (0, 0, 1, 1), "size": (9, 8), "language": "de"}, "has none"),
    ],
)
def test_bad_regions(options, message):
    with pytest.raises(ValueError, match=message):
        prompts.caption(**options)
