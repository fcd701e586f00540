"""JSON lines, tables and question files, whole and broken."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_pg2.datasets.jsonl import read_jsonl, write_jsonl
from keras_pg2.datasets.rows import Rows, check_pictures, columns
from keras_pg2.datasets.tables import read_table, write_table
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
    (line(suffix=True), ValueError, "'suffix' as text, received bool True"),
    (line(suffix=None), ValueError, "received NoneType"),
    (line(suffix=["a", "b"]), ValueError, "a list of 2. Write a row for each answer"),
    (line(suffix=float("nan")), ValueError, "'suffix' as text, received float nan"),
    (line(prefix=1.5), ValueError, "'prefix' as text, received float"),
    (line(prefix="<image>caption"), ValueError, "without '<image>'"),
    (line(suffix="a<eos>b"), ValueError, "'suffix' without '<eos>'"),
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


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("3", "3"),
        ("-7", "-7"),
        ("3.20", "3.20"),
        ("1e3", "1e3"),
        ("1E-3", "1E-3"),
        ("1e400", "1e400"),
        ('{"total": 3.2, "näher": [1, null]}', '{"total": 3.2, "näher": [1, null]}'),
    ],
)
def test_numbers_and_objects_as_answers(folder, written, expected):
    path = write(folder, f'{{"image": "0.png", "prefix": "ocr", "suffix": {written}}}')
    assert [row["responses"] for row in read_jsonl(path)] == [expected]


def test_a_list_of_rows_in_one_file(folder):
    entries = [json.loads(line()), {**json.loads(line()), "image": "1.png"}]
    path = write(folder, json.dumps(entries, indent=1), name="rows.json")
    rows = read_jsonl(path)
    assert [row["images"][-5:] for row in rows] == ["0.png", "1.png"]
    assert rows.sources[1] == f"{path}, entry 1"
    path = write(folder, json.dumps([entries[0], 7]), name="rows.json")
    with pytest.raises(ValueError, match=r"rows.json, entry 1: .*received int 7"):
        read_jsonl(path)


def test_lists_in_lists_without_end_are_told_in_plain_words(folder):
    path = folder / "rows.jsonl"
    deep = "[" * 100_000 + "]" * 100_000
    path.write_text(f'{{"image": "a.png", "prefix": {deep}}}\n')
    with pytest.raises(ValueError, match=r"line 1: .*lists in lists beyond") as error:
        read_jsonl(path)
    assert "recursion" not in str(error.value)


def test_lines_in_utf16(folder):
    path = folder / "train.jsonl"
    text = line(suffix="zwölf") + "\r\n" + line(image="1.png")
    path.write_bytes(text.encode("utf-16"))
    assert [row["responses"] for row in read_jsonl(path)] == ["zwölf", "a cat"]
    path.write_bytes(b"\xff\xfe\x00\xd8")  # Half a character of UTF-16.
    with pytest.raises(ValueError, match="expected UTF-16"):
        read_jsonl(path)


def test_prompts_of_rows_that_have_none(folder):
    """Missing, null and blank ones are filled in; the others stay."""
    path = write(
        folder,
        line(prefix=..., question="how {many}?"),
        line(prefix=None, question="where"),
        line(prefix=" ", question=7),
        line(prefix="ocr {question}"),
    )
    rows = read_jsonl(path, default_prompt="answer en {question} {{x}}")
    assert [row["prompts"] for row in rows] == [
        "answer en how {many}? {x}",
        "answer en where {x}",
        "answer en 7 {x}",
        "ocr {question}",
    ]
    rows = read_jsonl(path, default_prompt="caption en")
    assert [row["prompts"] for row in rows] == ["caption en"] * 3 + ["ocr {question}"]
    for prompt in ("answer en {answer}", "{}", "{question!r}", "{question:>9}"):
        with pytest.raises(ValueError, match=r"line 1: expected fields of the row"):
            read_jsonl(path, default_prompt=prompt)
    with pytest.raises(ValueError, match=r"names of fields in braces.*\{\{ and \}\}"):
        read_jsonl(path, prompt="answer {")
    with pytest.raises(ValueError, match=r"line 1: .*a prompt for what has none"):
        read_jsonl(path)
    table = "image,suffix,question,prefix_id\n0.png,a,why?,4\n"
    path = write(folder, table, name="t.csv")
    [row] = read_table(path, default_prompt="answer en {question}")
    assert row["prompts"] == "answer en why?"


@pytest.mark.parametrize("prefix", ["detect cat ; dog", "segment cat", "detect"])
def test_nothing_may_be_the_answer_to_detect(folder, prefix):
    path = write(folder, line(prefix=prefix, suffix=""))
    assert [row["responses"] for row in read_jsonl(path)] == [""]
    path = write(folder, f"image,prefix,suffix\n0.png,{prefix},\n", name="t.csv")
    assert [row["responses"] for row in read_table(path)] == [""]
    for other in ("caption en", "detector"):
        with pytest.raises(ValueError, match="a text under 'suffix'"):
            read_jsonl(write(folder, line(prefix=other, suffix="")))


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
        ("image,image,prefix,suffix\n", ValueError, "'image' 2 times"),
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


ROW = {"prompts": "caption en", "responses": "zwölf; 3"}


@pytest.mark.parametrize(
    "content",
    [
        'image;prefix;suffix\r\n0.png;caption en;"zwölf; 3"\r\n;;\r\n'.encode(),
        'image\tprefix\tsuffix\r\n0.png\tcaption en\t"zwölf; 3"\r\n'.encode("utf-16"),
        'image, prefix, suffix\n0.png, caption en, "zwölf; 3"\n'.encode(),
        "image,prefix,suffix\n0.png , caption en ,\tzwölf; 3 \n , ,\n".encode(),
        "sep=|\r\nimage|prefix|suffix\r\n0.png|caption en|zwölf; 3\r\n".encode(),
        "image,prefix,suffix,,\n0.png,caption en,zwölf; 3,,\n".encode(),
    ],
    ids=["semicolons", "utf-16", "blanks", "blanks in cells", "sep", "trailing"],
)
def test_tables_of_spreadsheets(folder, content):
    (folder / "t.csv").write_bytes(content)
    (folder / "._t.csv").write_bytes(b"\x00\x05\x16\x07")
    [row] = read_table(folder)
    assert row == {"images": str(folder / "0.png"), **ROW}


def test_tables_in_other_encodings_and_with_long_fields(folder):
    path = folder / "t.csv"
    path.write_bytes((HEADER + "0.png,caption en,zwölf; 3\n").encode("cp1252"))
    with pytest.raises(ValueError, match=r"Excel: .*--encoding cp1252"):
        read_table(path)
    [row] = read_table(path, encoding="cp1252")
    assert row["responses"] == ROW["responses"]
    with pytest.raises(ValueError, match="an encoding that Python knows"):
        read_table(path, encoding="cp1253x")
    limit = csv.field_size_limit()
    path.write_text(HEADER + f"0.png,ocr,{'a' * 200_000}\n")
    [row] = read_table(path)
    assert len(row["responses"]) == 200_000
    assert csv.field_size_limit() == limit


def test_an_error_names_a_few_of_many_columns_and_keys(folder):
    names = [f"column_{i}" for i in range(20_000)]
    keys = r"column_0, .*column_9 and 19,99[01] more\."
    many, line, rows = folder / "many.csv", folder / "many.jsonl", folder / "rows.jsonl"
    many.write_text(",".join(names) + "\n")
    line.write_text(json.dumps(dict.fromkeys(names, 0)))
    rows.write_text(json.dumps({**dict.fromkeys(names, 0), "image": "0.png"}))
    for read in (
        lambda: read_table(many),
        lambda: read_jsonl(line),
        lambda: read_jsonl(rows, prompt="answer en {question}"),
    ):
        with pytest.raises(ValueError, match=keys) as error:
            read()
        assert len(str(error.value)) < 1000
    many.write_text(",".join([*names, "twice", "twice"]) + "\n")
    with pytest.raises(ValueError, match=r"received 'twice' 2 times\."):
        read_table(many)
    many.write_text("a" * 5000)
    with pytest.raises(ValueError, match=r"received a{80}\.\.\.\. Are"):
        read_table(many)


def test_near_names_of_columns_and_keys(folder):
    path = write(folder, "Image,prefix,suffix\n0.png,a,b\n", name="t.csv")
    with pytest.raises(ValueError, match=r"mean 'Image'\?.*image_column \(--image-key"):
        read_table(path)
    path = write(folder, line(suffix=..., sufix="a"))
    with pytest.raises(ValueError, match=r"mean 'sufix'\?.*key \(--response-key\)"):
        read_jsonl(path)


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff"),
    min_size=1,
    max_size=12,
).filter(str.strip)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, texts):
    folder = tmp_path_factory.getbasetemp() / "written"
    if not folder.exists():
        folder.mkdir()
        write_pictures(folder)
    rows = [
        {"images": str(folder / "0.png"), "prompts": prompt, "responses": response}
        for prompt, response in texts
    ]
    write_jsonl(rows, folder / "rows.jsonl")
    assert list(read_jsonl(folder / "rows.jsonl")) == rows
    bare = [{key: text.strip() for key, text in row.items()} for row in rows]
    for name in ("rows.csv", "rows.tsv"):
        write_table(rows, folder / name)
        assert list(read_table(folder / name)) == bare


def test_rows_of_several_pictures_are_no_table(folder):
    paths = [str(folder / "0.png"), str(folder / "1.png")]
    rows = [{"images": paths, "prompts": "ocr", "responses": "a"}]
    write_jsonl(rows, folder / "rows.jsonl")
    assert list(read_jsonl(folder / "rows.jsonl")) == rows
    with pytest.raises(ValueError, match=r"one picture a row.*write_jsonl"):
        write_table(rows, folder / "rows.csv")


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
