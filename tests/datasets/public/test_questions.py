"""What readers of questions find: answers, kinds, and prompts as big_vision's."""

from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_pg2 import metrics
from keras_pg2.datasets import public
from keras_pg2.datasets.public.examples import Examples
from keras_pg2.datasets.public.questions import tallyqa
from keras_pg2.datasets.public.questions.ai2d import draw_letters
from keras_pg2.datasets.public.rows import asked_rows, rows_of, training_rows
from keras_pg2.recipes.transfers import TASKS
from tests.datasets.public import question_files
from tests.datasets.public.question_files import CASES, case_of
from tests.support.public_files import write_content, write_picture

# Name, and of each example: id, prompt, answers, kind. The prompts are those of
# big_vision's configurations, filled in by hand.
EXPECTED: dict[str, list[tuple[Any, str, tuple[str, ...], str]]] = {
    "vqav2": [
        (
            90,
            "answer en How many {cats}?",
            ("2",) * 7 + ("two", "2 cats", "3"),
            "number",
        ),
        (120, "answer en Is it red?", ("yes",) * 10, "yes/no"),
    ],
    "okvqa": [
        (90, "answer en How many {cats}?", ("2",) * 7 + ("two", "2 cats", "3"), ""),
        (120, "answer en Is it red?", ("yes",) * 10, ""),
    ],
    "aokvqa_da": [
        (
            "22jbM6gDxdaMaunuzgrsBB",
            "answer en What is in the motorcyclist's mouth?",
            ("cigarette",) * 9 + ("toothpick",),
            "not difficult",
        ),
        (
            "2Aq5RiEn7eyfWjEbpuYy4Y",
            "answer en Which number birthday is celebrated?",
            ("ten",) * 10,
            "difficult",
        ),
    ],
    "aokvqa_mc": [
        (
            "22jbM6gDxdaMaunuzgrsBB",
            "answer en  What is in the motorcyclist's mouth? choose from: "
            "toothpick \t food \t popsicle stick \t cigarette",
            ("cigarette",),
            "",
        ),
        (
            "2Aq5RiEn7eyfWjEbpuYy4Y",
            "answer en  Which number birthday is celebrated? choose from: "
            "one \t ten \t nine \t thirty",
            ("ten",),
            "",
        ),
    ],
    "gqa": [
        ("201307251", "answer en Is it overcast?", ("no",), "verify"),
        ("201640614", "answer en Who is wearing the dress?", ("woman",), "query"),
    ],
    "xgqa": [
        ("201307251", "answer en Is it overcast?", ("no",), "verify"),
        ("201640614", "answer en Who is wearing the dress?", ("woman",), "query"),
    ],
    "textvqa": [
        (
            34602,
            "answer en what is the brand?",
            ("dakota",) * 9 + ("dakota digital",),
            "",
        ),
        (34603, "answer en what does it say?", ("Yes",) * 10, ""),
    ],
    "stvqa": [
        (0, "answer en What is the price?", ("$0.63", "0.63"), ""),
        (1, "answer en What is the brand?", ("Yamaha",), ""),
    ],
    "ocrvqa": [
        ("761183272_0", "answer en Who wrote this book?", ("Sandra Boynton",), ""),
        ("761183272_1", "answer en Is this a games related book?", ("No",), ""),
        ("1449460364_0", "answer en What is the title of this book?", ("Doug",), ""),
    ],
    "docvqa": [
        (49153, "What is the 'actual' value per 1000?", ("0.28",), ""),
        (24580, "What is name of university?", ("San Diego", "san diego"), ""),
    ],
    "infovqa": [
        (
            98313,
            "answer en Which are the two colors?",
            ("Red, Blue", "Blue, Red"),
            "",
        ),
        (98314, "answer en How many?", ("6%", "6"), ""),
    ],
    "chartqa": [
        ("human_0", "How many bars?", ("14",), "human"),
        ("human_1", "Is it 2019?", ("Yes",), "human"),
        ("augmented_0", "What was the share?", ("3.2%",), "augmented"),
    ],
    "ai2d": [
        (
            f"{number}-0",
            "answer en  What is the top of the chain? choose from: "
            "fox \t Grass \t rabbit \t hawk",
            ("hawk",),
            "",
        )
        for number in (0, 3)
    ],
    "science_qa": [
        (
            "5",
            "Question: Which of these states is farthest north?\nContext: N/A\n"
            "Options: (A) West Virginia, (B) Louisiana, (C) Arizona, (D) Oklahoma\n"
            "Answer:",
            ("The answer is A.",),
            "social science",
        ),
        (
            "11",
            "Question: What can they trade?\n"
            "Context: Trade happens\nwhen people agree.\n"
            "Options: (A) tomatoes, (B) broccoli\nAnswer:",
            ("The answer is B.",),
            "natural science",
        ),
    ],
    "vizwizvqa": [
        (
            "VizWiz_val_00000000.jpg",
            "answer en Ok. There is another picture I hope it is a better one.",
            (*("unanswerable",) * 9, ""),
            "unanswerable",
        ),
        (
            "VizWiz_val_00000001.jpg",
            "answer en What is this?",
            ("pepsi",) * 10,
            "other",
        ),
    ],
    "tallyqa": [
        (30094067, "answer en How many horses?", ("1",), "simple"),
        (30094068, "answer en How many dogs are asleep?", ("2",), "complex"),
    ],
    "nlvr2": [
        ("test1-0-1-0", "answer en There is an empty glass.", ("False",), ""),
        ("test1-0-1-1", "answer en The left image shows a bottle.", ("True",), ""),
    ],
    "marvl": [
        (
            "id-1",
            "answer en Panci di salah satu foto berada di atas kompor.",
            ("False",),
            "",
        ),
        ("id-2", "answer en Ada dua panci.", ("True",), ""),
    ],
    "rsvqa_lr": [
        (1, "answer en Are there more trees than roads?", ("No",), "comp"),
        (2, "answer en Is a road present?", ("Yes",), "presence"),
    ],
    "rsvqa_hr": [
        (1, "answer en Are there more trees than roads?", ("No",), "comp"),
        (2, "answer en Is a road present?", ("Yes",), "presence"),
    ],
    "pope": [
        (1, "answer en Is there a person in the image?", ("yes",), "random"),
        (2, "answer en Is there a refrigerator in the image?", ("no",), "random"),
    ],
    "vsr": [
        (
            0,
            "answer en The teddy bear is in front of the person.",
            ("True",),
            "in front of",
        ),
        (
            1,
            "answer en The umbrella is far away from the motorcycle.",
            ("False",),
            "far away from",
        ),
    ],
    "mmvp": [
        (
            number,
            "answer en  Are the butterfly's wings open? choose from: Open \t Closed",
            (answer,),
            "",
        )
        for number, answer in ((1, "Open"), (2, "Closed"))
    ],
}


def read(name: str, folder: Path, **options: Any) -> Examples:
    case = case_of(name)
    return case.read(case.write(folder), **options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.data_set)
def test_examples(case: Any, tmp_path: Path):
    data_set = public.find(case.data_set)
    examples = case.read(case.write(tmp_path))
    asked = asked_rows(examples, data_set.prompt)
    found = [
        (row["id"], row["prompts"], one.truth.answers, one.truth.kind)
        for row, one in zip(asked, examples, strict=True)
    ]
    assert found == EXPECTED[case.data_set]
    # Each is about the pictures of the case, and they are there.
    pictures = {str(tmp_path / name) for name in case.pictures}
    for row in asked:
        images = row["images"] if isinstance(row["images"], list) else [row["images"]]
        assert pictures.issuperset(images)
    # The metric takes what is true, and the first answer is a good one.
    state = metrics.State(metrics.get(data_set.metric))
    answers = [metrics.Answer(one.truth.answers[0]) for one in examples]
    state.update(range(len(examples)), answers, [one.truth for one in examples])
    assert state.result()[data_set.metric] > 0.6
    assert [one.strip() for one in data_set.files.split(",")]


def test_data_sets_are_as_their_recipes():
    for data_set in public.DATA_SETS.values():
        metrics.get(data_set.metric)
        if data_set.recipe is not None:
            task = TASKS[data_set.recipe]
            assert (data_set.prompt, data_set.metric) == (task.prompt, task.metric)
            assert data_set.lower_case == ("in lower case" in task.response)


def test_which_picture_a_question_is_about(tmp_path: Path):
    left, right = read("nlvr2", tmp_path / "nlvr2")[0].images
    assert left.endswith("images/test1/test1-0-1-img0.png")
    assert right.endswith("images/test1/test1-0-1-img1.png")
    marvl = read("marvl", tmp_path / "marvl")
    assert [Path(str(one)).name for one in marvl[1].images] == ["39-8.jpg", "39-4.jpg"]
    [first, _] = read("tallyqa", tmp_path / "tallyqa")
    assert str(first.images).endswith("VG_100K_2/1.jpg")
    [first, _] = read("rsvqa_lr", tmp_path / "rsvqa")
    assert str(first.images).endswith("Images_LR/1.tif")


def test_training_rows(tmp_path: Path):
    examples = read("vqav2", tmp_path)

    def answers(epochs: range, **options: Any) -> list[str]:
        return [
            training_rows(examples, "{question}", epoch=epoch, **options)[0][
                "responses"
            ]
            for epoch in epochs
        ]

    for cycle in range(2):
        seen = Counter(answers(range(10 * cycle, 10 * cycle + 10)))
        assert seen == {"2": 7, "two": 1, "2 cats": 1, "3": 1}
    assert answers(range(10)) != answers(range(10), seed=1)
    rows = training_rows(examples, "answer en {question}")
    assert rows[1] == {
        "images": str(tmp_path / "val2014/COCO_val2014_000000000012.jpg"),
        "prompts": "answer en Is it red?",
        "responses": "yes",
    }
    assert rows.truths[1] == examples[1].truth
    assert "question 120" in rows.sources[1]
    with pytest.raises(ValueError, match="fields of the row in braces"):
        training_rows(examples, "answer en {sentence}")


def test_answers_in_lower_case_and_several_pictures(tmp_path: Path):
    stvqa = read("stvqa", tmp_path / "stvqa")
    rows = rows_of(public.find("stvqa"), stvqa)
    assert rows[1]["responses"] == "yamaha"
    assert stvqa[1].truth.answers == ("Yamaha",)
    nlvr2 = rows_of(public.find("nlvr2"), read("nlvr2", tmp_path / "nlvr2"))
    assert nlvr2[0]["responses"] == "False"
    assert [Path(path).name for path in nlvr2[0]["images"]] == [
        "test1-0-1-img0.png",
        "test1-0-1-img1.png",
    ]


def test_answers_of_tests_are_kept_back(tmp_path: Path):
    files = case_of("vqav2").files()
    content = files["v2_OpenEnded_mscoco_val2014_questions.json"]
    name = "v2_OpenEnded_mscoco_test-dev2015_questions.json"
    write_content(tmp_path / name, {**content, "data_subtype": "test-dev2015"})
    for number in (9, 12):
        write_picture(tmp_path / f"test2015/COCO_test2015_{number:012d}.jpg")
    examples = public.read("vqav2", tmp_path, "test-dev")
    assert [one.truth.answers for one in examples] == [(), ()]
    with pytest.raises(ValueError, match="question 90: expected an answer to train on"):
        training_rows(examples, "{question}")
    entries = [
        {k: v for k, v in entry.items() if k != "answers"}
        for entry in case_of("docvqa").content()["data"]
    ]
    for entry in entries:
        entry["data_split"] = "test"
        write_picture(tmp_path / "spdocvqa_images" / Path(entry["image"]).name)
    write_content(tmp_path / "spdocvqa_qas/test_v1.0.json", {"data": entries})
    assert public.read("docvqa", tmp_path, "test")[0].truth.answers == ()


def test_minival_is_the_end_of_val(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    case = case_of("vqav2")
    case.write(tmp_path)
    assert len(public.read("vqav2", tmp_path)) == 2
    module = "keras_pg2.datasets.public.questions.vqav2.NUM_MINIVAL"
    monkeypatch.setattr(module, 1)
    assert [one.id for one in public.read("vqav2", tmp_path)] == [120]
    assert len(public.read("vqav2", tmp_path, "val")) == 2


def test_numbers_of_rsvqa_are_ranges(tmp_path: Path):
    lr = read("rsvqa_lr", tmp_path / "lr", with_numbers=True)
    assert [one.truth.answers[0] for one in lr] == [
        "No",
        "Yes",
        "between 11 and 100",
        "53m2",
    ]
    hr = read("rsvqa_hr", tmp_path / "hr", with_numbers=True)
    assert [one.truth.answers[0] for one in hr[2:]] == [
        "12",
        "between 11 m2 and 100 m2",
    ]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (1, "between 1 and 10"),
        (10, "between 1 and 10"),
        (11, "between 11 and 100"),
        (1000, "between 101 and 1000"),
        (1001, "more than 1000"),
    ],
)
def test_names_of_ranges(number: int, words: str, tmp_path: Path):
    case = case_of("rsvqa_lr")
    content = case.content()
    content["answers"][3]["answer"] = str(number)
    case.write(tmp_path)
    write_content(tmp_path / case.annotations, content)
    assert case.read(tmp_path, with_numbers=True)[2].truth.answers == (words,)


def test_options_of_science_qa_are_shuffled(tmp_path: Path):
    data_set = public.find("science_qa")
    examples = read("science_qa", tmp_path)
    orders = set()
    for epoch in range(30):
        rows = rows_of(data_set, examples, epoch=epoch)
        row, truth = rows[0], rows.truths[0]
        options = row["prompts"].split("Options: ")[1].split("\n")[0]
        letter = row["responses"].removeprefix("The answer is ")[0]
        assert f"({letter}) West Virginia" in options
        assert truth.answers == (row["responses"],)
        assert sorted(option[4:] for option in options.split(", ")) == [
            "Arizona",
            "Louisiana",
            "Oklahoma",
            "West Virginia",
        ]
        orders.add(options)
    assert len(orders) > 10
    again = rows_of(data_set, examples, epoch=29)
    assert list(again) == list(rows)
    whole = public.read("science_qa", tmp_path, with_text_only=True)
    assert [one.images == () for one in whole] == [False, False, True]


def test_letters_are_drawn_over_the_texts_of_ai2d(tmp_path: Path):
    for name, content in question_files._ai2d_files().items():
        write_content(tmp_path / name, content)
    for name in ("0.png", "1.png", "2.png"):
        path = tmp_path / "ai2d/images" / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (200, 0, 0)).save(path)
    texts = {"T0": {"rectangle": [[5, 5], [30, 30]], "replacementText": "A"}}
    write_content(tmp_path / "ai2d/annotations/2.png.json", {"text": texts})
    with pytest.raises(ValueError, match=r"letters drawn.*draw_letters\("):
        public.read("ai2d", tmp_path)
    folder = draw_letters(tmp_path)
    first, second = public.read("ai2d", tmp_path)
    assert first.images == str(tmp_path / "ai2d/images/0.png")
    assert second.images == str(folder / "2.png")
    drawn = np.asarray(Image.open(second.images).convert("RGB")).astype(int)
    assert (drawn[0] == [200, 0, 0]).all()
    inside = drawn[5:31, 5:31]
    assert (inside[..., 0] == inside[..., 1]).all()  # White, with a black letter.
    assert 0.02 < (inside < 128).mean() < 0.6
    write_content(tmp_path / "ai2d/annotations/2.png.json", {"text": {"T0": {}}})
    with pytest.raises(ValueError, match=r"2\.png\.json: Expected text\.T0\.rectangle"):
        draw_letters(tmp_path)


def test_large_pictures_of_coco_are_preferred_for_stvqa(tmp_path: Path):
    case_of("stvqa").write(tmp_path)
    large = tmp_path / "train2014/COCO_train2014_000000000009.jpg"
    write_picture(large)
    assert public.read("stvqa", tmp_path)[0].images == str(large)


def test_train_all_of_gqa_is_several_files(tmp_path: Path):
    case = case_of("gqa")
    case.write(tmp_path)
    first, second = case.content().items()
    folder = "questions1.2/train_all_questions/train_all_questions_"
    write_content(tmp_path / f"{folder}0.json", dict([first]))
    write_content(tmp_path / f"{folder}1.json", dict([second]))
    found = public.read("gqa", tmp_path, "train_all")
    assert [one.id for one in found] == ["201307251", "201640614"]
    write_content(tmp_path / f"{folder}1.json", dict([first]))
    with pytest.raises(ValueError, match=r"questions_1\.json, entry 201307251.*twice"):
        public.read("gqa", tmp_path, "train_all")


def test_earlier_layout_of_docvqa(tmp_path: Path):
    case = case_of("docvqa")
    write_content(tmp_path / "val/val_v1.0.json", case.content())
    for entry in case.content()["data"]:
        write_picture(tmp_path / "val" / entry["image"])
    for example in public.read("docvqa", tmp_path):
        assert Path(str(example.images)).parent.name == "documents"


def test_long_lists_of_infovqa_keep_their_order(tmp_path: Path):
    case = case_of("infovqa")
    content = case.content()
    content["data"][0]["answers"] = ["a, b, c", ", ".join("abcdefghi")]
    case.write(tmp_path)
    write_content(tmp_path / case.annotations, content)
    answers = public.read("infovqa", tmp_path)[0].truth.answers
    assert sorted(answers[:6]) == [
        "a, b, c",
        "a, c, b",
        "b, a, c",
        "b, c, a",
        "c, a, b",
        "c, b, a",
    ]
    assert answers[6:] == ("a, b, c, d, e, f, g, h, i",)


def encoded(mode: str) -> dict[str, Any]:
    content = io.BytesIO()
    Image.new(mode, (6, 4)).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def test_a_parquet_file_needs_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-pg2\[parquet\]'"):
        tallyqa.read_parquet(tmp_path)


def test_a_parquet_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a small one in the place of pyarrow, which no other test needs."""

    class ArrowError(Exception):
        pass

    def read_table(path: Path) -> Any:
        if path.read_bytes() != b"PAR1":
            raise ArrowError("no magic bytes")
        return SimpleNamespace(to_pylist=lambda: [{"number": 2}])

    arrow = ModuleType("pyarrow")
    parquet = ModuleType("pyarrow.parquet")
    vars(arrow)["ArrowException"] = ArrowError
    vars(parquet)["read_table"] = read_table
    monkeypatch.setitem(sys.modules, "pyarrow", arrow)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    assert tallyqa.read_parquet(path) == [{"number": 2}]
    path.write_bytes(b"PAR")
    with pytest.raises(ValueError, match=r"a\.parquet: expected a parquet file"):
        tallyqa.read_parquet(path)


def test_countbenchqa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = [
        {"image": encoded("RGB"), "text": "Two headsets", "number": 2},
        {"image": None, "text": "Three", "number": 3},
        {"image": encoded("L"), "text": "Four", "number": 4},
        {"image": encoded("P"), "text": "Five", "number": 5},
        {"image": encoded("RGB"), "text": "Ten girls", "number": 10},
    ]
    monkeypatch.setattr(tallyqa, "read_parquet", lambda path: rows)
    questions = [{"question": f"How many {i}?"} for i in range(5)]
    write_content(tmp_path / "countbench_paired_questions.json", questions)
    parquet = tmp_path / "data/train-00000-of-00001-cf54c241ba947306.parquet"
    with pytest.raises(FileNotFoundError, match=parquet.name):
        public.read("countbenchqa", tmp_path)
    write_content(parquet, b"PAR1")
    first, last = public.read("countbenchqa", tmp_path)
    assert (first.id, last.id) == (0, 4)
    assert last.truth.answers == ("10",)
    assert last.images == rows[4]["image"]
    assert asked_rows([last], public.find("countbenchqa").prompt)[0]["prompts"] == (
        "answer en How many 4?"
    )
    write_content(tmp_path / "countbench_paired_questions.json", questions[:3])
    with pytest.raises(ValueError, match=r"3 questions and 5 pictures.*version"):
        public.read("countbenchqa", tmp_path)
