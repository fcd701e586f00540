"""Fields of JSON objects, by kind."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from keras_pg2.files.json_fields import Fields
from keras_pg2.files.json_files import load_json, read_json

NOT_INTEGERS = [True, 2.0, "2", None, [2], {}, -1, 2**31, float("nan")]
NOT_NUMBERS = [False, "1.5", None, [1.5], {}, math.nan, math.inf, -math.inf, 10**400]


def fields(text: str) -> Fields:
    return Fields.parse(text.encode(), "config.json")


def holding(value: Any) -> Fields:
    return Fields.parse(json.dumps({"part": {"x": value}}).encode(), "a.json").fields(
        "part"
    )


def test_each_kind_is_read():
    found = fields(
        '{"i": 3, "n": 3, "f": true, "t": "a", "l": [1, 2], "o": {"k": "v"}}'
    )
    assert found.integer("i") == 3
    assert found.number("n") == 3.0
    assert isinstance(found.number("n"), float)
    assert found.flag("f") is True
    assert found.text("t", choices=("a", "b")) == "a"
    assert found.items("l", Fields.integer) == [1, 2]
    assert found.table("o", Fields.text) == {"k": "v"}
    assert found.fields("o").text("k") == "v"
    assert list(found) == ["i", "n", "f", "t", "l", "o"]
    assert "i" in found


@pytest.mark.parametrize("value", NOT_INTEGERS, ids=repr)
def test_other_than_whole_numbers(value: Any):
    with pytest.raises(ValueError, match=r"Expected part\.x in a\.json as a whole"):
        holding(value).integer("x")


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda v: repr(v)[:9])
def test_other_than_finite_numbers(value: Any):
    with pytest.raises(ValueError, match=r"Expected part\.x in a\.json as a finite"):
        holding(value).number("x")


@pytest.mark.parametrize(
    ("bounds", "allowed", "refused"),
    [
        ({"above": 0}, 1e-9, 0),
        ({"at_least": 0}, 0, -1e-9),
        ({"at_most": 1, "at_least": 0}, 1, 1.000001),
        ({"below": 1}, 0.999999, 1),
    ],
)
def test_ranges(bounds: dict[str, float], allowed: float, refused: float):
    assert holding(allowed).number("x", **bounds) == allowed
    with pytest.raises(ValueError, match=r"as a finite number (above|>=|<=|below)"):
        holding(refused).number("x", **bounds)


@pytest.mark.parametrize("read", ["flag", "text", "fields"])
@pytest.mark.parametrize("value", [1, None, [1]], ids=repr)
def test_other_kinds(read: str, value: Any):
    with pytest.raises(ValueError, match=r"Expected part\.x in a\.json as"):
        getattr(holding(value), read)("x")


def test_null_is_none_where_that_is_the_default():
    found = fields('{"x": null}')
    assert found.integer("x", None) is None
    assert found.fields("x", None) is None
    assert found.items("x", Fields.text, None) is None
    with pytest.raises(ValueError, match="Received: null"):
        found.integer("x", 5)
    assert found.integer("y", 5) == 5


def test_fields_that_are_filled():
    found = fields('{"x": null, "y": 2}').filled({"x": 1, "z": 3})
    assert (found.integer("y"), found.integer("z")) == (2, 3)
    with pytest.raises(ValueError, match=r"Expected x in config\.json as"):
        found.integer("x")


def test_a_missing_field_names_a_similar_one():
    with pytest.raises(ValueError, match=r"Expected hidden_size .* 'hiden_size'"):
        fields('{"hiden_size": 3}').integer("hidden_size")


def test_items_and_tables_name_the_wrong_one():
    found = fields('{"a": {"l": ["x", 1], "t": {"k": []}}}').fields("a")
    with pytest.raises(ValueError, match=r"a\.l\.1 in config.json as a text"):
        found.items("l", Fields.text)
    with pytest.raises(ValueError, match=r"a\.t\.k in config.json as a finite"):
        found.table("t", Fields.number)
    with pytest.raises(ValueError, match=r"a\.t in config.json as a list"):
        found.items("t", Fields.text)


def test_long_values_are_shown_in_part():
    with pytest.raises(ValueError, match="Expected part") as error:
        holding("x" * 10_000).integer("x")
    assert len(str(error.value)) < 250


def test_no_value_is_too_deep_to_be_shown():
    value: list[Any] = []
    for _ in range(100_000):  # Deeper than `repr` goes.
        value = [value]
    with pytest.raises(ValueError, match=r"Expected x in a\.json as a text"):
        Fields({"x": value}, "a.json").text("x")


def test_an_empty_table_is_a_dict():
    assert fields('{"t": {}}').table("t", Fields.text) == {}
    assert fields("{}").table("t", Fields.text, {}) == {}
    assert fields("{}").table("t", Fields.text, None) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(OSError, match="Expected a file"):
        load_json(tmp_path / "config.json")


def test_a_configuration_beyond_any_size(tmp_path: Path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(ValueError, match="at most 100 MB"):
        read_json(tmp_path / "config.json")
