"""Pieces of text that are safe to show, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from keras_pg2.tasks.answering.answers import TextStream, as_stop_strings, cut_at


def decode(token_ids: np.ndarray) -> str:
    """Each token is one byte."""
    return bytes(token_ids.tolist()).decode("utf-8", errors="replace")


def pieces_of(text: str, stop_strings: tuple[str, ...] = ()) -> list[str]:
    tokens = np.array(list(text.encode()))
    stream = TextStream(decode, stop_strings)
    pieces = []
    for count in range(1, len(tokens) + 1):
        pieces.append(stream.push(tokens[:count], count == len(tokens)))
        if stream.is_stopped:
            break
    return pieces


def test_bytes_of_a_character_are_held_back():
    assert pieces_of("aé€b") == ["a", "", "é", "", "", "€", "b"]
    assert pieces_of("😀") == ["", "", "", "😀"]


def test_what_stays_incomplete_comes_in_the_end():
    tokens = np.array(list("aé".encode())[:2])
    stream = TextStream(decode, ())
    assert [stream.push(tokens[:1], False), stream.push(tokens, True)] == [
        "a",
        "\ufffd",
    ]


def test_beginnings_of_stop_strings_are_held_back():
    assert pieces_of("a;b; c", ("; ",)) == ["a", "", ";b", "", ""]
    assert "".join(pieces_of("one\n\ntwo", ("\n\n", "two"))) == "one"
    assert "".join(pieces_of("a stop st", ("stop it",))) == "a stop st"


def test_cut_at():
    assert cut_at("a cat ; a dog", (" ; ", " dog")) == "a cat"
    assert cut_at("a cat", ("dog",)) == "a cat"


def test_stop_strings():
    assert as_stop_strings(None) == ()
    assert as_stop_strings("a") == ("a",)
    for bad in ([""], [3], 5, 0):
        with pytest.raises(ValueError, match="stop_strings"):
            as_stop_strings(bad)
