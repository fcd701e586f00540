"""Data files found out, split and known again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_pg2 import recipes
from keras_pg2.cli.finetuning_choices import Files
from keras_pg2.datasets.rows import Rows
from keras_pg2.finetuning import read_rows
from keras_pg2.finetuning.data_files import fingerprint
from keras_pg2.finetuning.file_formats import find_format
from keras_pg2.finetuning.public_rows import recipe_of_format
from tests.datasets.public.picture_files import CASES as PICTURE_CASES
from tests.datasets.public.question_files import case_of
from tests.support.public_files import PublicFiles, write_content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(tmp_path / name)
    return tmp_path


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 10]}],
}
QUESTIONS = {
    "data_subtype": "train2014",
    "questions": [{"question_id": 1, "image_id": 9, "question": "what?"}],
}
ANSWERS = {
    "annotations": [
        {
            "question_id": 1,
            "image_id": 9,
            "answer_type": "other",
            "answers": [{"answer": "cat"}],
        }
    ]
}


def test_every_format_is_found_out(folder: Path):
    line = json.dumps({"image": "a.png", "prefix": "caption en", "suffix": "a cat"})
    jsonl = write(folder / "rows.jsonl", line)
    expected = {
        "images": str(folder / "a.png"),
        "prompts": "caption en",
        "responses": "a cat",
    }
    assert list(read_rows(jsonl)) == [expected]
    table = write(folder / "t.tsv", "image\tprefix\tsuffix\na.png\tcaption en\ta cat")
    assert list(read_rows(table)) == [expected]
    coco = write(folder / "coco.json", COCO)
    [row] = read_rows(coco)
    # 10 of 20 pixels are the middle: round(0.5 * 1023) = 512.
    assert row["prompts"] == "detect cat"
    assert row["responses"] == "<loc0000><loc0000><loc0512><loc0512> cat"
    questions = write(folder / "v2_OpenEnded_train_questions.json", QUESTIONS)
    write(folder / "v2_train_annotations.json", ANSWERS)
    (folder / "a.png").rename(folder / "COCO_train2014_000000000009.jpg")
    [row] = read_rows(questions, prompt="say {question}")
    assert (row["prompts"], row["responses"]) == ("say what?", "cat")


def test_rows_without_prompts_take_the_given_one(folder: Path):
    line = {"image": "a.png", "suffix": "a cat"}
    path = write(folder / "rows.jsonl", line)
    [row] = read_rows(path, prompt="caption en")
    assert row["prompts"] == "caption en"
    write(path, {**line, "prefix": "ocr"})
    [row] = read_rows(path, prompt="caption en")
    assert row["prompts"] == "ocr"


def test_only_rows_without_a_prompt_take_the_given_one(folder: Path):
    """Whichever comes first, and by a recipe too."""
    own = {"image": "a.png", "suffix": "a cat", "prefix": "ocr"}
    none = {"image": "b.png", "suffix": "2", "question": "how many?"}
    for lines in ([own, none], [none, own]):
        path = write(folder / "rows.jsonl", "\n".join(map(json.dumps, lines)))
        expected = {"a.png": "ocr", "b.png": "answer en how many?"}
        for options in (
            {"prompt": "answer en {question}"},
            {"recipe": recipes.get("vqav2")},
        ):
            rows = read_rows(path, **options)
            got = {Path(row["images"]).name: row["prompts"] for row in rows}
            assert got == expected
            filled = "Rows without a prompt, given 'answer en {question}': 1."
            assert rows.notes == (filled,)
        with pytest.raises(ValueError, match=r"expected fields of the row.*'query'"):
            read_rows(path, prompt="answer en {query}")
        with pytest.raises(ValueError, match=r"the key 'prefix'.*\(--prompt\)"):
            read_rows(path)
    path = write(folder / "rows.jsonl", own)
    [note] = read_rows(path, prompt="caption en").notes
    assert note.startswith("The prompt that was given is not used")
    assert read_rows(path, recipe=recipes.get("vqav2")).notes == ()
    table = write(folder / "t.csv", "image,prefix_id,suffix\na.png,3,x\n")
    assert read_rows(table, prompt="caption en")[0]["prompts"] == "caption en"


def test_keys_by_other_names(folder: Path):
    path = write(folder / "rows.jsonl", {"file": "a.png", "ask": "ocr", "say": 7})
    names = {"image_key": "file", "prompt_key": "ask", "response_key": "say"}
    [row] = read_rows(path, **names)
    assert (row["prompts"], row["responses"]) == ("ocr", "7")
    table = write(folder / "t.csv", "file;ask;say\na.png;ocr;7\n")
    assert list(read_rows(table, **names)) == [row]


def test_options_that_a_format_has_no_use_for(folder: Path):
    coco = write(folder / "coco.json", COCO)
    line = {"image": "a.png", "prefix": "ocr", "suffix": "a"}
    jsonl = write(folder / "rows.jsonl", line)
    for path, options in (
        (coco, {"prompt": "caption en"}),
        (coco, {"image_key": "file"}),
        (jsonl, {"annotations": "a.json"}),
        (jsonl, {"encoding": "cp1252"}),
        (jsonl, {"absent_share": 0.5}),
        (jsonl, {"max_overhang": 3}),
    ):
        option = "--" + next(iter(options)).replace("_", "-")
        with pytest.raises(ValueError, match=f"{option}.*{path.name}, which is"):
            read_rows(path, **options)
    questions = write(folder / "v2_OpenEnded_train_questions.json", QUESTIONS)
    write(folder / "v2_train_annotations.json", ANSWERS)
    (folder / "a.png").rename(folder / "COCO_train2014_000000000009.jpg")
    with pytest.raises(ValueError, match=r"a prompt with \{question\} in it"):
        read_rows(questions, prompt="answer en")
    with pytest.raises(ValueError, match=r"received 'lang' in the prompt"):
        read_rows(questions, prompt="answer {lang} {question}")
    # A recipe of captions says nothing of questions.
    [row] = read_rows(questions, recipe=recipes.get("cococap"))
    assert row["prompts"] == "answer en what?"


def test_how_often_labels_are_asked_for_that_are_not_there(folder: Path):
    content = {**COCO, "categories": [{"id": i, "name": f"{i}"} for i in (1, 2)]}
    content["images"] = [
        {"id": i, "file_name": f"{name}.png", "width": 40, "height": 20}
        for i, name in enumerate("abc")
    ]
    content["annotations"] = [
        {"id": i, "image_id": i, "category_id": i + 1, "bbox": [0, 0, 9, 9]}
        for i in (0, 1)
    ]
    path = write(folder / "coco.json", content)
    rows = read_rows(path)
    assert len(rows) == 3
    assert rows[2]["responses"] == ""
    assert rows.notes[-1].startswith("Rows with an empty answer")
    assert rows.notes[-1].endswith(": 1 of 3.")
    assert len(read_rows(path, absent_share=0)) == 2
    # What a referring expression names is always there.
    assert len(read_rows(path, recipe=recipes.get("refcoco_seg"))) == 2
    every = read_rows(path, absent_share=1)
    assert [row["prompts"] for row in every[:2]] == ["detect 1 ; 2"] * 2


def test_annotations_that_are_skipped_are_counted(folder: Path):
    content = json.loads(json.dumps(COCO))
    content["annotations"][0]["segmentation"] = [[1, 2, 3]]
    content["images"].append(
        {"id": 2, "file_name": "gone.png", "width": 4, "height": 4}
    )
    path = write(folder / "coco.json", content)
    with pytest.raises(FileNotFoundError, match=r"image 2: .*gone\.png.*--skip-bad"):
        read_rows(path)
    rows = read_rows(path, on_bad="skip")
    # Boxes have no use for polygons, so a bad one is no matter.
    assert [row["prompts"] for row in rows] == ["detect cat"]
    assert rows.num_skipped == 1
    assert rows.sources == (f"{path}: image 1",)


def test_questions_without_an_answer_are_skipped(folder: Path):
    asked = [*QUESTIONS["questions"], {**QUESTIONS["questions"][0], "question_id": 2}]
    path = write(folder / "v2_questions.json", {**QUESTIONS, "questions": asked})
    second = {**ANSWERS["annotations"][0], "question_id": 2.0, "answers": []}
    answers = {"annotations": [*ANSWERS["annotations"], second]}
    (folder / "v2_annotations.json").write_text(json.dumps(answers), "utf-8-sig")
    (folder / "a.png").rename(folder / "COCO_train2014_000000000009.jpg")
    with pytest.raises(ValueError, match=r"Question 2 about .*: expected an answer"):
        read_rows(path)
    rows = read_rows(path, on_bad="skip")
    assert (len(rows), rows.num_skipped) == (1, 1)


def test_folders(folder: Path):
    for name, content in (("x.json", {}), ("_annotations.coco.json", COCO)):
        path = write(folder / name, content)
        with pytest.raises(ValueError, match="Pass the path of the file") as error:
            find_format(folder)
        assert name in str(error.value)
        path.unlink()
    write(folder / "a.json", {"shapes": [], "imagePath": "a.png"})
    assert find_format(folder) == find_format(folder / "a.json") == "labelme"
    # The first one is damaged, which is told by its name when it is read.
    write(folder / "0.json", '{"shapes": [')
    assert find_format(folder) == "labelme"
    shapes = [{"label": "cat", "points": [[0, 0], [9, 9]], "shape_type": "rectangle"}]
    write(folder / "a.json", {"shapes": shapes, "imagePath": "a.png"})
    rows = read_rows(folder, on_bad="skip")
    assert len(rows) == 1
    assert "0.json" in rows.skipped[0]
    write(folder / "t.csv", "image\n")
    assert find_format(folder) == "table"
    write(folder / "data.yaml", "names: [a]")
    assert find_format(folder) == find_format(folder / "data.yaml") == "yolo"
    assert find_format(write(folder / "rows.json", [])) == "jsonl"


def test_a_folder_of_yolo_without_its_file(folder: Path):
    for name in ("images", "labels"):
        (folder / "yolo" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"data\.yaml.*yolo' with images, labels\."):
        find_format(folder / "yolo")


@pytest.mark.parametrize("name", ["rows.parquet", "rows.XLSX"])
def test_tables_that_other_libraries_read(folder: Path, name: str):
    """No --format reads them, so none is advised."""
    with pytest.raises(ValueError, match=r"read_records") as error:
        find_format(write(folder / name, "?"))
    assert "--format" not in str(error.value)


def test_files_that_tell_nothing(folder: Path):
    with pytest.raises(FileNotFoundError, match=r"missing\.jsonl"):
        read_rows(folder / "missing.jsonl")
    with pytest.raises(ValueError, match="Pass its format"):
        find_format(write(folder / "rows.txt", "?"))
    with pytest.raises(ValueError, match="Pass its format"):
        find_format(write(folder / "rows.json", {"rows": []}))
    with pytest.raises(ValueError, match="format of jsonl"):
        read_rows(folder / "rows.json", format="parquet")
    with pytest.raises(FileNotFoundError, match="file of annotations"):
        read_rows(write(folder / "questions.json", QUESTIONS))


def rows_of(names: list[str], responses: str = "x") -> Rows:
    return Rows(
        {"images": n, "prompts": str(i), "responses": responses}
        for i, n in enumerate(names)
    )


def test_a_fingerprint_is_of_what_rows_say():
    rows = rows_of(["x/a.png", "x/b.png"])
    assert fingerprint(rows) == fingerprint(rows_of(["y/a.png", "y/b.png"]))
    others = [
        rows_of(["x/a.png", "x/c.png"]),
        rows_of(["x/a.png", "x/b.png"], "y"),
        rows_of(["x/a.png"]),
        rows_of(["x/b.png", "x/a.png"]),
    ]
    prints = {fingerprint(each) for each in [rows, *others]}
    assert len(prints) == 5
    pixels = [np.full((2, 2, 3), value, np.uint8) for value in (0, 1)]
    arrays = [[{**rows[0], "images": image}] for image in pixels]
    assert fingerprint(arrays[0]) != fingerprint(arrays[1])


def test_public_data_sets_are_formats(tmp_path: Path):
    case_of("docvqa").write(tmp_path)
    rows = read_rows(tmp_path, format="docvqa", split="val")
    assert rows[0] == {
        "images": str(tmp_path / "spdocvqa_images/pybv0228_81.png"),
        "prompts": "What is the 'actual' value per 1000?",
        "responses": "0.28",
    }
    assert rows.truths[1].answers == ("San Diego", "san diego")
    asked = read_rows(tmp_path, format="docvqa", split="val", prompt="ocr: {question}")
    assert asked[1]["prompts"] == "ocr: What is name of university?"
    # A recipe that asks for fields of the data set.
    recipe = recipes.get("textvqa")
    asked = read_rows(tmp_path, format="docvqa", split="val", recipe=recipe)
    assert asked[1]["prompts"] == "answer en What is name of university?"
    recipe = recipes.get("nlvr2")
    asked = read_rows(tmp_path, format="docvqa", split="val", recipe=recipe)
    assert asked[1]["prompts"] == "What is name of university?"
    with pytest.raises(FileNotFoundError, match=r"train_v1\.0_withQT\.json"):
        read_rows(tmp_path, format="docvqa")
    with pytest.raises(ValueError, match="a split of docvqa"):
        read_rows(tmp_path, format="docvqa", split="valid")
    with pytest.raises(ValueError, match=r"image_key .*which is docvqa"):
        read_rows(tmp_path, format="docvqa", image_key="picture")
    with pytest.raises(ValueError, match=r"below its directory.*--image-folder"):
        read_rows(tmp_path, tmp_path, format="docvqa")
    with pytest.raises(ValueError, match="name of a public data set and its directory"):
        read_rows(tmp_path, format="docvqas")


def test_splits_of_public_data_sets(tmp_path: Path):
    pope = case_of("pope").write(tmp_path / "pope")
    with pytest.raises(ValueError, match=r"pope to train on .*random, popular"):
        read_rows(pope, format="pope")
    # The one to evaluate on, where none is called val.
    assert read_rows(pope, format="pope", split="val")[1]["responses"] == "no"
    gqa = case_of("gqa").write(tmp_path / "gqa")
    name = "testdev_balanced_questions.json"
    (gqa / name).rename(gqa / "train_balanced_questions.json")
    assert len(read_rows(gqa, format="gqa")) == 2
    # One file of VQAv2's is read as before.
    vqav2 = case_of("vqav2").write(tmp_path / "vqav2")
    assert len(read_rows(vqav2, format="vqav2", split="val")) == 2
    questions = vqav2 / "v2_OpenEnded_mscoco_val2014_questions.json"
    rows = read_rows(questions, vqav2 / "val2014", format="vqav2")
    assert len(rows) == 2


def test_recipes_of_public_data_sets(tmp_path: Path):
    assert recipe_of_format("countbenchqa", tmp_path) == "tallyqa"
    assert recipe_of_format("pope", tmp_path) is None  # The papers only evaluate it.
    assert recipe_of_format("vsr", tmp_path) is None
    assert recipe_of_format("coco", tmp_path) is None
    assert recipe_of_format("docvqa", tmp_path / "file.json") is None


def test_splits_on_the_command_line(tmp_path: Path):
    case_of("docvqa").write(tmp_path)
    (tmp_path / "val_v1.0_withQT.json").rename(tmp_path / "train_v1.0_withQT.json")
    content = case_of("docvqa").content()
    content["data"].pop()
    for entry in content["data"]:
        del entry["data_split"]
    write(tmp_path / "val_v1.0_withQT.json", content)
    path = tmp_path / "train_v1.0_withQT.json"
    path.write_text(path.read_text().replace('"data_split": "val"', '"x": 0'))
    files = Files(data=tmp_path, format="docvqa", eval_split="val")
    rows, eval_rows = files.read(recipes.get("docvqa"), 0, lambda: None)
    assert (len(rows), len(eval_rows)) == (2, 1)
    files = Files(data=tmp_path, format="docvqa", split="val", eval_data=tmp_path)
    rows, eval_rows = files.read(recipes.get("docvqa"), 0, lambda: None)
    assert (len(rows), len(eval_rows)) == (1, 1)
    with pytest.raises(ValueError, match="--eval-share or rows apart"):
        Files(data=tmp_path, eval_share=0.1, eval_split="val").read(
            recipes.get("docvqa"), 0, lambda: None
        )
    table = write(tmp_path / "t.csv", "image,prefix,suffix")
    with pytest.raises(ValueError, match="--split with a YOLO folder"):
        Files(data=table, split="val").read(recipes.get("docvqa"), 0, lambda: None)


def picture_case_of(name: str) -> PublicFiles:
    return next(case for case in PICTURE_CASES if case.data_set == name)


def test_masks_of_referring_expressions(tmp_path: Path):
    case = picture_case_of("refcoco")
    case.write(tmp_path)
    for name, content in case.other_split().items():
        write_content(tmp_path / name, content)
    tokens = "".join(f"<seg{i:03d}>" for i in range(16))
    rows = read_rows(
        tmp_path, format="refcoco", encode_mask=lambda: lambda mask, box: tokens
    )
    assert rows[0]["prompts"] == "left cat"
    assert rows[0]["responses"].endswith(tokens)
    with pytest.raises(ValueError, match="an answer"):
        read_rows(tmp_path, format="refcoco")


@pytest.mark.parametrize("name", ["msvd_qa", "widgetcap"])
def test_rows_of_pictures_that_are_made_when_read_are_known_again(name, tmp_path: Path):
    case = picture_case_of(name)
    rows = [
        read_rows(case.write(tmp_path / folder), format=name, split="test")
        for folder in ("a", "b")
    ]
    assert fingerprint(rows[0]) == fingerprint(rows[1])
    other = [{**row, "images": rows[0][0]["images"]} for row in rows[0]]
    assert fingerprint(other) != fingerprint(rows[0])
