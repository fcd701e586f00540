"""JSON lines, tables and question files, whole and broken."""

from __future__ import annotations

import json

import pytest

from keras_pg2.datasets.jsonl import read_jsonl
from keras_pg2.datasets.rows import Rows, check_pictures, columns
from keras_pg2.datasets.tables import read_table
from keras_pg2.preprocessing.examples import normalize_examples
from tests.support.row_files import write_pictures


@pytest.fixture
def folder(tmp_path):
    write_pictures(tmp_path)
    return tmp_path


def line(**changes):
    entry = {"image": "0.png", "prefix": "caption en", "suffix": "a cat", **changes}
    return json.dumps({k: v for k, v in entry.items() if v is not ...})


def write(folder, *lines, name="train.jsonl"):
    path = folder / name
    data = "\n".join(lines)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_lines_by_hand(folder):
    path = folder / "_annotations.train.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf"  # What editors of Windows put first.
        b'{"image": "0.png", "prefix": "detect cat", "suffix": "<loc0001>", "n": 7}\r\n'
        b"\r\n"
        b'{"suffix": "zw\\u00f6lf", "prefix": "", "image": "1.png"}'
    )
    rows = read_jsonl(path)
    assert list(rows) == [
        {
            "images": str(folder / "0.png"),
            "prompts": "detect cat",
            "responses": "<loc0001>",
        },
        {"images": str(folder / "1.png"), "prompts": "", "responses": "zwölf"},
    ]
    assert rows.num_skipped == 0
    normalize_examples(columns(rows))


def test_pictures_elsewhere_and_several(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    path = write(
        elsewhere,
        line(image=["0.png", "1.png"]),
        line(image=str(folder / "2.png")),
    )
    rows = read_jsonl(path, folder)
    assert rows[0]["images"] == [str(folder / "0.png"), str(folder / "1.png")]
    assert rows[1]["images"] == str(folder / "2.png")
    with pytest.raises(FileNotFoundError, match=r"line 1.*0.png"):
        read_jsonl(path)


def test_other_keys_and_one_prompt_for_all(folder):
    path = write(folder, '{"file": "0.png", "text": "a cat", "prefix": "ocr"}')
    [row] = read_jsonl(path, prompt="caption en", image_key="file", response_key="text")
    assert row["prompts"] == "caption en"
    assert row["responses"] == "a cat"


BAD_LINES = [
    (line(image=...), ValueError, "expected the key 'image', received prefix, suffix"),
    (line(suffix=...), ValueError, "'suffix'.*pass the name it has as response_key"),
    (line(prefix=...), ValueError, "'prefix'.*prompt_key"),
    (line(suffix=""), ValueError, "a text under 'suffix', received ''"),
    (line(suffix=" \n"), ValueError, "a text under 'suffix'"),
    (line(suffix=3), ValueError, "'suffix' as text, received int 3"),
    (line(suffix=None), ValueError, "received NoneType"),
    (line(suffix=["a"]), ValueError, "received list"),
    (line(prefix=1.5), ValueError, "'prefix' as text, received float"),
    (line(prefix="<image>caption"), ValueError, "without '<image>'"),
    (line(suffix="a \ud800"), ValueError, "half a character.*index 2"),
    (line(image=""), ValueError, "under 'image'"),
    (line(image=7), ValueError, "'image' as text, received int"),
    (line(image=[]), ValueError, r"under 'image', received \[\]"),
    (line(image=[3]), ValueError, "received int 3"),
    (line(image={}), ValueError, "received dict"),
    (line(image="none.png"), FileNotFoundError, "none.png' does not exist"),
    (line(image="."), ValueError, "is a folder"),
    (line(image="a\0b"), FileNotFoundError, "does not exist"),
    (line(image="http://x.org/a.png"), ValueError, "Download the picture first"),
    ("{", ValueError, "one JSON object on the line"),
    ("[1]", ValueError, "received list"),
    ('"a"', ValueError, "received str"),
    ("null", ValueError, "received NoneType"),
    ("[" * 100_000, ValueError, "one JSON object on the line"),
    ('{"image": "0.png", "suffix": "\xe9'.encode("latin-1"), ValueError, "one JSON"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_LINES)
def test_bad_lines_are_named_or_skipped(folder, bad, error, message):
    path = folder / "train.jsonl"
    bad = bad if isinstance(bad, bytes) else bad.encode()
    path.write_bytes(b"\n".join([line().encode(), b"", bad, line().encode()]))
    with pytest.raises(error, match=message) as raised:
        read_jsonl(path)
    assert f"{path}, line 3: " in str(raised.value)
    assert "on_bad='skip'" in str(raised.value)
    rows = read_jsonl(path, on_bad="skip")
    assert len(rows) == 2
    assert rows.num_skipped == 1
    assert f"{path}, line 3: " in rows.skipped[0]
    normalize_examples(columns(rows))


def test_files_without_a_row(folder):
    with pytest.raises(ValueError, match=r"at least one entry.*0 were skipped"):
        read_jsonl(write(folder, "", ""))
    path = write(folder, "{", line(suffix=""))
    with pytest.raises(ValueError, match=r"2 were skipped.*First problem: .*line 1"):
        read_jsonl(path, on_bad="skip")
    with pytest.raises(ValueError, match="'raise' or 'skip', received 'ignore'"):
        read_jsonl(path, on_bad="ignore")
    with pytest.raises(FileNotFoundError):
        read_jsonl(folder / "none.jsonl")
    with pytest.raises(FileNotFoundError, match="Expected a folder of pictures"):
        read_jsonl(path, folder / "none")


def test_tables_by_hand(folder):
    text = (
        "\ufeffimage,prefix,suffix,note\n"
        '0.png,"a, b","two\nlines",x\n'
        '1.png,,"say ""hi""",\n'
    )
    path = write(folder, text, name="labels.csv")
    expected = [("0.png", "a, b", "two\nlines"), ("1.png", "", 'say "hi"')]
    for rows in (read_table(path), read_table(folder)):
        assert [tuple(row.values()) for row in rows] == [
            (str(folder / image), *texts) for image, *texts in expected
        ]
    tabbed = write(folder, "file_name\ttext\n0.png\ta, b", name="metadata.tsv")
    [row] = read_table(
        tabbed, prompt="caption en", image_column="file_name", response_column="text"
    )
    assert row["responses"] == "a, b"
    assert row["prompts"] == "caption en"
    with pytest.raises(ValueError, match=r"one file of .csv or .tsv.*labels.csv, meta"):
        read_table(folder)


HEADER = "image,prefix,suffix\n"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, "line 1: expected a column 'image', received none"),
        (
            "img,prefix,suffix\n",
            ValueError,
            "received img, prefix, suffix.*image_column",
        ),
        ("image,prefix\n0.png,a\n", ValueError, "'suffix'.*response_column"),
        ("image,suffix\n0.png,a\n", ValueError, "'prefix'.*prompt_column"),
        ("image,image,prefix,suffix\n", ValueError, "every column once"),
        (HEADER, ValueError, "at least one entry"),
        (HEADER + "0.png,a,b\n0.png,a\n", ValueError, "line 3: expected 3.*fewer"),
        (HEADER + "0.png,a,b,c\n", ValueError, "line 2: expected 3 columns.*more"),
        (HEADER + "0.png,a,\n", ValueError, "line 2: expected a text under 'suffix'"),
        (HEADER + "9.png,a,b\n", FileNotFoundError, "line 2: .*9.png"),
        (HEADER + ",a,b\n", ValueError, "line 2: .*'image'"),
        (HEADER + '0.png,a,"b\n', ValueError, "a quote not closed"),
        (HEADER.encode() + b"0.png,a,\xe9\n", ValueError, "expected UTF-8.* byte 28"),
    ],
)
def test_bad_tables(folder, text, error, message):
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=message) as raised:
        read_table(path)
    assert str(path) in str(raised.value)


def test_bad_lines_of_a_table_can_be_skipped(folder):
    path = write(
        folder, HEADER + "0.png,a,\n9.png,a,b\n0.png,a\n1.png,a,b", name="t.csv"
    )
    rows = read_table(path, on_bad="skip")
    assert [row["images"] for row in rows] == [str(folder / "1.png")]
    assert [f"line {n}: " in text for n, text in zip((2, 3, 4), rows.skipped)] == [
        True
    ] * 3
    with pytest.raises(ValueError, match=r"received none. Pass the path of the table"):
        read_table(folder.parent)


def test_damaged_pictures_are_found_before_training(folder):
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:60])
    (folder / "4.png").write_bytes(b"no picture")
    path = write(
        folder, line(suffix=""), *(line(image=f"{i}.png") for i in range(5)), line()
    )
    rows = read_jsonl(path, on_bad="skip")
    with pytest.raises(ValueError, match=r"train.jsonl, line 5: .*3.png"):
        check_pictures(rows)
    left = check_pictures(rows, on_bad="skip")
    assert [row["images"][-5] for row in left] == ["0", "1", "2", "0"]
    assert [text.split(":")[0] for text in left.skipped[1:]] == [
        f"{path}, line {line}" for line in (5, 6)
    ]
    assert left.num_skipped == 3
    with pytest.raises(ValueError, match="at least one entry"):
        check_pictures(rows[3:5], on_bad="skip")


def test_rows_are_a_sequence():
    given = [{"prompts": str(i)} for i in range(4)]
    rows = Rows(given, ["bad"])
    assert len(rows[1:3]) == 2
    assert rows[1:3].skipped == ("bad",)
    assert rows[-1] == {"prompts": "3"}
    rows[0]["prompts"] = "changed"
    assert rows[0] == {"prompts": "0"}
    assert repr(rows) == "Rows(4 rows, 1 skipped)"
    assert columns(rows) == {"prompts": ["0", "1", "2", "3"]}
    with pytest.raises(ValueError, match=r"the keys prompts in every row.*row 1"):
        columns([*given[:1], {"images": 1}])
    with pytest.raises(ValueError, match="received none"):
        columns([])
