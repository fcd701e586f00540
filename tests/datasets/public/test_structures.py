"""What readers of boxes and structured texts find in files written by hand."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_pg2.codecs.parsing import parse_detections
from keras_pg2.datasets.public import registry
from keras_pg2.datasets.public.structures.music import kern_text
from keras_pg2.datasets.public.structures.tables import SquarePicture
from keras_pg2.preprocessing.images import load_rgb
from tests.datasets.public.picture_files import BEKERN, table_html
from tests.datasets.public.test_captions import case_of, read
from tests.support.public_files import write_content, write_picture

SEGMENT = "".join(f"<seg{i:03d}>" for i in range(16))


def with_crowd(folder: Path) -> None:
    case = case_of("coco_detection")
    content = case.content()
    crowd = {**content["annotations"][0], "id": 99, "iscrowd": 1, "category_id": 2}
    content["annotations"] += [crowd]
    content["annotations"][1]["image_id"] = 7
    case.write(folder)
    write_content(folder / case.annotations, content)


def test_coco_detection(tmp_path):
    with_crowd(tmp_path)
    # Nothing is in picture 8, so there is nothing to ask for.
    [example] = registry.read("coco_detection", tmp_path)
    truth = example.truth
    assert (example.id, truth.size) == (7, (4, 6))
    assert truth.things.labels == ("cat", "cat")
    assert truth.things.boxes_xyxy.tolist() == [[1, 1, 4, 3]] * 2
    assert truth.details["crowds"].labels == ("dog",)
    assert truth.details["areas"] == [6.0, 6.0]
    assert example.fields == {"names": "cat"}
    # 1 / 4, 1 / 6 (170.5, rounded up), 3 / 4 and 4 / 6 of 1023.
    box = "<loc0256><loc0171><loc0767><loc0682> cat"
    assert example.response == f"{box} ; {box}"


@pytest.mark.parametrize(
    ("asked", "names"), [("all", "cat ; dog"), ("all classes", "all classes")]
)
def test_all_labels_are_asked_for(tmp_path, asked, names):
    with_crowd(tmp_path)
    examples = registry.read("coco_detection", tmp_path, asked=asked)
    assert [e.fields["names"] for e in examples] == [names] * 2
    assert (examples[1].response, len(examples[1].truth.things)) == ("", 0)
    with pytest.raises(ValueError, match="present, all, all classes, received 'some'"):
        registry.read("coco_detection", tmp_path, asked="some")


def test_pictures_of_which_a_thing_is_lost_are_left_out(tmp_path):
    case = case_of("coco")
    content = case.content()
    content["annotations"][0]["bbox"] = [1, 1, 0, 2]
    case.write(tmp_path)
    write_content(tmp_path / case.annotations, content)
    examples = case.read(tmp_path, on_bad="skip")
    assert [e.id for e in examples] == [8]
    assert len(examples.skipped) == 2
    assert examples.skipped[1].endswith("of which some cannot be used.")


def test_refcoco(tmp_path):
    examples = read("refcoco", tmp_path)
    assert [(e.id, e.fields["expression"]) for e in examples] == [
        ("refcoco/7/0", "left cat"),
        ("refcoco/8/0", "right cat"),
        ("refcoco/8/1", "other cat"),
    ]
    truth = examples[0].truth
    assert truth.size == (4, 6)
    assert truth.things.boxes_xyxy.tolist() == [[1, 1, 4, 3]]
    expected = np.zeros((4, 6), bool)
    expected[1:3, 1:4] = True
    assert (truth.things.masks[0] == expected).all()
    assert examples[1].truth is examples[2].truth
    assert examples[0].response is None


def test_refcoco_to_train_on(tmp_path):
    case = case_of("refcoco")
    case.write(tmp_path)
    for name, content in case.other_split().items():
        write_content(tmp_path / name, content)
    seen = []

    def encode_mask(mask: np.ndarray, box: np.ndarray) -> str:
        seen.append((mask.sum(), box.tolist()))
        return SEGMENT

    examples = registry.read("refcoco", tmp_path, "train", encode_mask=encode_mask)
    assert examples[0].response == "<loc0256><loc0171><loc0767><loc0682>" + SEGMENT
    assert examples[0].truth.things.masks is None
    assert seen == [(6, [1, 1, 4, 3])] * 2


def test_refcoco_joined_leaves_pictures_of_other_splits_out_of_training(tmp_path):
    case, other = case_of("refcoco_seg"), case_of("refcoco").other_split()
    case.write(tmp_path)
    write_content(tmp_path / "refcoco/refs(unc).p", other["refcoco/refs(unc).p"])
    with pytest.raises(ValueError, match=r"refcoco: .* split train, received those"):
        registry.read("refcoco_seg", tmp_path, "train")
    for name in ("refcoco+/refs(unc).p", "refcocog/refs(umd).p"):
        write_content(tmp_path / name, other["refcoco/refs(unc).p"])
    assert len(registry.read("refcoco_seg", tmp_path, "train")) == 9
    test = case_of("refcoco").files()["refcoco/refs(unc).p"]
    write_content(tmp_path / "refcocog/refs(umd).p", test)
    # Of RefCOCOg, both pictures are in a test split.
    with pytest.raises(ValueError, match="split train, received those of none"):
        registry.read("refcoco_seg", tmp_path, "train")


def test_icdar15(tmp_path):
    first, second = read("icdar15", tmp_path)
    assert (first.id, second.id) == ("img_1", "img_2")
    truth = first.truth
    assert truth.things.labels == ("a,b", "###", "c")
    assert truth.details["ignored"] == [False, True, False]
    assert truth.details["polygons"][1] == [[2, 1], [4, 1], [4, 3], [2, 3]]
    assert truth.size == (4, 6)
    found = parse_detections(first.response, 6, 4)
    assert found.labels == ("a,b", "c")
    np.testing.assert_allclose(found.boxes_xyxy[1], [4, 1, 6, 3], atol=0.01)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,1,4,1,4,3,1,word", "line 1: expected eight coordinates and a text"),
        ("1,1,4,1,4,3,1,3", "line 1: expected eight coordinates and a text"),
        ("1,1,4,1,4,3,1,inf,word", "finite coordinates"),
        ("1,1,4,1,4,3,1,3, ", "expected a text under 'text of line 1'"),
        ("1,1,4,1,4,3,1,3,<eos>", "without '<eos>'"),
    ],
)
def test_bad_words_of_icdar15(tmp_path, line, message):
    case = case_of("icdar15")
    case.write(tmp_path)
    write_content(tmp_path / case.annotations, line)
    with pytest.raises(ValueError, match=message) as caught:
        case.read(tmp_path)
    assert "gt_img_2.txt" in str(caught.value)
    assert [e.id for e in case.read(tmp_path, on_bad="skip")] == ["img_1"]


def test_total_text(tmp_path):
    first, _ = read("totaltext", tmp_path)
    assert first.truth.things.labels == ("it's", "#")
    assert first.truth.details["ignored"] == [False, True]
    assert first.truth.details["polygons"][0] == [[0, 1], [2, 1], [2, 3], [0, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: [[1 4 4]], y: [[1 1]], ornt: [u'c'], transcriptions: [u'a']", "as many x"),
        ("x: [[1 4]], y: [[1 1]], ornt: [u'c'], transcriptions: [u'a']", "three or mo"),
        ("x: [[1 b 4]], y: [[1 1 2]], ornt: [u'c'], transcriptions: [u'a']", "word 0"),
        ("x: [[1 4 4]], y: [[1 1 2]], ornt: [u'c']", "expected words as x: .*received"),
    ],
)
def test_bad_words_of_total_text(tmp_path, text, message):
    case = case_of("totaltext")
    case.write(tmp_path)
    write_content(tmp_path / case.annotations, text)
    with pytest.raises(ValueError, match=message):
        case.read(tmp_path)


@pytest.mark.parametrize("is_packed", [False, True])
def test_hiertext(tmp_path, is_packed):
    case = case_of("hiertext")
    case.write(tmp_path)
    path = tmp_path / case.annotations
    if is_packed:
        packed = gzip.compress(path.read_bytes())
        path.unlink()
        path.with_name(f"{path.name}.gz").write_bytes(packed)
    first, _ = case.read(tmp_path)
    assert (first.id, first.truth.size) == ("a1", (4, 6))
    assert first.truth.things.labels == ("STOP", "")
    assert first.truth.details["ignored"] == [False, True]
    assert first.response.endswith("> STOP")


def test_a_polygon_of_two_points(tmp_path):
    case = case_of("hiertext")
    content = case.content()
    line = content["annotations"][1]["paragraphs"][0]["lines"][0]
    line["words"][0]["vertices"] = [[1, 1], [4, 1]]
    case.write(tmp_path)
    write_content(tmp_path / case.annotations, content)
    with pytest.raises(
        ValueError, match="entry 1: expected a polygon of three or more"
    ):
        case.read(tmp_path)


PLAIN = (
    '<html><body><table><thead><tr><td colspan="2"><b>a&amp;</b></td></tr></thead>'
    "<tbody><tr><td></td><td>1&lt;</td></tr></tbody></table></body></html>"
)


@pytest.mark.parametrize("cells", ["cells", "cell"])
def test_pubtabnet(tmp_path, cells):
    case = case_of("pubtabnet")
    content = case.content()
    for entry in content:
        entry["html"] = table_html(cells)
    case.write(tmp_path)
    write_content(tmp_path / case.annotations, content)
    first, _ = case.read(tmp_path)
    assert (first.id, first.truth.answers) == (0, (PLAIN,))
    # Of a square of 6 pixels: 0, 0, 6, 2 and 3, 2, 6, 4.
    assert first.response == PLAIN.replace(
        '<td colspan="2">',
        '<td coords="<loc0000><loc0000><loc1023><loc0341>" colspan="2">',
    ).replace("<td>1", '<td coords="<loc0512><loc0341><loc1023><loc0682>">1')


def test_tables_are_in_a_white_square(tmp_path):
    write_picture(tmp_path / "a.png", 3)
    levels = load_rgb(SquarePicture(str(tmp_path / "a.png")))
    assert levels.shape == (6, 6, 3)
    assert (levels[:4] == (120, 0, 0)).all()
    assert (levels[4:] == 255).all()


def test_fintabnet(tmp_path):
    first, _ = read("fintabnet", tmp_path)
    assert first.id == 7
    # Points from the lower left corner of the page, where the table is at 100, 200: the
    # cells are the upper half, and the right half of the lower one.
    assert '<td coords="<loc0000><loc0000><loc1023><loc0341>" colspan' in first.response
    assert '<td coords="<loc0512><loc0341><loc1023><loc0682>">1' in first.response


@pytest.mark.parametrize("box", [[100, 200, 100, 204], [1, 2, 3], [4, 3, 2, 1]])
def test_bad_boxes_of_tables(tmp_path, box):
    case = case_of("fintabnet")
    content = case.content()
    content[0]["bbox"] = box
    case.write(tmp_path)
    write_content(tmp_path / case.annotations, content)
    with pytest.raises(ValueError, match=r"line 1.*bbox.* as x1, y1, x2, y2"):
        case.read(tmp_path)


def test_grandstaff(tmp_path):
    first, _ = read("grandstaff", tmp_path)
    assert first.id == "grandstaff_dataset/chopin/mazurkas/mazurka06-1/original_m-1"
    assert first.images.endswith("original_m-1.jpg")
    expected = "**kern\t**kern\n*clefF4\t*clefG2\n=\t=\n8CL\t4e 4g\n*-\t*-"
    assert first.truth.answers == (expected,)


def test_texts_of_music():
    # Worked by the steps of SMT's `prepare_data`: numbers after "=" go, but not others.
    plain = "**kern\t**kern\n=1-\t=1-\n4c#\t16dd\n==\t==\n*-\t*-\n"
    assert kern_text(plain) == "**kern\t**kern\n=-\t=-\n4c#\t16dd\n==\t==\n*-\t*-"
    assert kern_text(BEKERN.replace("\n", "\r\n")) == kern_text(BEKERN)
    with pytest.raises(ValueError, match=r"begins with \*\*kern, received '\*\*dynam"):
        kern_text("**dynam\nf\n")


def test_molecules(tmp_path):
    first, second = read("molecules", tmp_path)
    assert (first.id, first.truth.answers) == ("0", ("CC(=O)O",))
    assert second.images.endswith("synthetic/chemdraw/1.png")


def test_a_table_of_ones_own_molecules(tmp_path):
    write_content(tmp_path / "test.tsv", "image_id\tSMILES\na\tCCO\nb.png\tC\n")
    for name in ("test/a.png", "b.png"):
        write_picture(tmp_path / name)
    examples = registry.read("molecules", tmp_path, "test")
    assert [(e.id, e.truth.answers[0]) for e in examples] == [
        ("a", "CCO"),
        ("b.png", "C"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,smiles\na,C\n", r"test\.csv: expected a column 'SMILES', .*smiles"),
        ("image_id,SMILES\na\n", r"test\.csv, line 2: expected 2 columns, received 1"),
        ("image_id,SMILES\na,\n", r"test\.csv, line 2: expected a text under 'SMILES'"),
        ('image_id,SMILES\na,"C\n', r"test\.csv, line 2: expected a table with colum"),
        ("", r"test\.csv: expected a column 'SMILES', received none"),
        ("SMILES\nC\n", "image_id in the entry, which is not there"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    write_content(tmp_path / "test.csv", text)
    write_picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match=message):
        registry.read("molecules", tmp_path, "test")


def test_mimic_cxr(tmp_path):
    first, second = read("mimic_cxr", tmp_path)
    assert (first.id, second.id) == ("d0", "d1")
    assert first.truth.answers == (
        "FINDINGS: The lungs are clear. No effusion. IMPRESSION: No pneumonia.",
    )
    assert first.fields == {"indication": "___ year old with cough."}
    [alone, _] = read("mimic_cxr", tmp_path, sections=["impression"])
    assert alone.truth.answers == ("No pneumonia.",)
    with pytest.raises(ValueError, match=r"sections of findings, impression, .*'all'"):
        read("mimic_cxr", tmp_path, sections=["all"])


def test_views_and_reports_that_lack_a_section(tmp_path):
    case = case_of("mimic_cxr")
    case.write(tmp_path)
    write_content(
        tmp_path / "mimic-cxr-2.0.0-metadata.csv",
        "dicom_id,ViewPosition\nd0,LATERAL\nd1,PA\n",
    )
    assert [e.id for e in case.read(tmp_path, views=("AP", "PA"))] == ["d1"]
    report = tmp_path / "files/p10/p10000032/s50414260.txt"
    report.write_text(" HISTORY: Fall.\n\n IMPRESSION: Clear.\n")
    examples = case.read(tmp_path)
    assert [e.id for e in examples] == ["d1"]
    assert examples.skipped[0].endswith("line 2: the report has no findings.")
    first, _ = case.read(tmp_path, sections=("impression",))
    assert first.fields["indication"] == "Fall."
    report.write_text(" IMPRESSION: Clear.\n")
    first, _ = case.read(tmp_path, sections=("impression",))
    assert first.fields["indication"] == "not given"


def test_packed_tables_of_mimic_cxr(tmp_path):
    case = case_of("mimic_cxr")
    case.write(tmp_path)
    path = tmp_path / case.annotations
    packed: Any = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_name(f"{path.name}.gz").write_bytes(packed)
    assert len(case.read(tmp_path)) == 2
    path.with_name(f"{path.name}.gz").write_bytes(packed[:-12])
    with pytest.raises(ValueError, match=r"packed as .*split\.csv\.gz"):
        case.read(tmp_path)
