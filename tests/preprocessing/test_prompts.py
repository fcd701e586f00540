from __future__ import annotations

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


def test_texts_that_are_no_question():
    with pytest.raises(ValueError, match="empty text"):
        prompts.answer(" ")
    with pytest.raises(ValueError, match="one line"):
        prompts.answer("one\ntwo")
    with pytest.raises(TypeError, match="received int"):
        prompts.question(3)
    with pytest.raises(TypeError, match="received int"):
        prompts.detect(["cat", 3])
