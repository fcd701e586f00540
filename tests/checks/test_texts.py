"""Texts from outside in a terminal, in JSON, in Markdown and in Python's source."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from keras_pg2.checks.texts import (
    LINES_AND_JOINERS,
    markdown_text,
    printable,
    printable_json,
    python_text,
)
from tests.support.hostile_texts import HOSTILE, has_invisible

MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a cat", "a cat"),
        ("é 猫 \u00a0🐱\u3000", "é 猫 \u00a0🐱\u3000"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("\x7f", "\\x7f"),
        ("a\r\nb\t", "a\\r\\nb\\t"),
        ("gnp\u202e.exe", "gnp\\u202e.exe"),
        ("\u2028\u2029\ufeff", "\\u2028\\u2029\\ufeff"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_is_printable(text, shown) -> None:
    assert printable(text) == shown


def test_an_answer_keeps_its_lines_and_joiners() -> None:
    text = "\u0915\u094d\u200c\u0937\n\U0001f469\u200d\U0001f692\t\x1b"
    assert printable(text, LINES_AND_JOINERS) == text.replace("\x1b", "\\x1b")


def test_what_is_no_text_is_shown_as_one() -> None:
    assert printable(3) == "3"
    assert printable(None) == "None"


@given(ANY_TEXT)
def test_nothing_invisible_is_printed(text) -> None:
    shown = printable(text)
    assert not has_invisible(shown)
    assert printable(shown) == shown


@given(st.recursive(ANY_TEXT, lambda inside: st.dictionaries(ANY_TEXT, inside)))
def test_json_is_what_it_was(value) -> None:
    document = json.dumps(value, indent=2, ensure_ascii=False)
    shown = printable_json(document)
    assert not has_invisible(shown.replace("\n", ""))
    # Halves of a character, one after the other, are read as the whole one.
    assert json.loads(shown) == json.loads(json.dumps(value))


@given(ANY_TEXT)
def test_python_reads_what_was_written(text) -> None:
    source = python_text(text)
    assert not has_invisible(source)
    assert ast.literal_eval(source) == text


@given(ANY_TEXT)
def test_markdown_shows_the_text(text) -> None:
    assert_markdown_shows(text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_markdown_shows_hostile_texts(text) -> None:
    assert_markdown_shows(text)


def assert_markdown_shows(text: str) -> None:
    """Render a cell of a table, and compare with the text that it stands for."""
    page = f"| title |\n| --- |\n| a {markdown_text(text)} b |\n"
    cell = MARKDOWN.parse(page)[-5]
    kinds = {child.type for child in cell.children or ()}
    assert kinds <= {"text", "text_special"}
    shown = "".join(child.content for child in cell.children or ())
    assert shown == f"a {printable(text)} b"
