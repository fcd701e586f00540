"""Round trips, and what supervision and pycocotools read of what is written."""

from __future__ import annotations

import json
import sys

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from keras_pg2.codecs import (
    AnnotatedPicture,
    Detections,
    from_coco_dataset,
    from_coco_results,
    from_labelme,
    from_supervision,
    from_yolo,
    to_coco_annotations,
    to_coco_dataset,
    to_coco_results,
    to_labelme,
    to_supervision,
    to_yolo,
    write_json,
    write_text,
)
from keras_pg2.codecs.exchange.packages import import_supervision
from keras_pg2.codecs.exchange.polygons import edge_polygons, pixel_polygons, rasterize

sv = import_supervision()

WIDTH, HEIGHT = 24, 16
NAMES = ["cat", "dog", "a thing; or two"]
IDS = {"cat": 3, "dog": 1, "a thing; or two": 90}
BY_ID = {number: name for name, number in IDS.items()}

some_names = st.sampled_from(NAMES)
masks_of_one = hnp.arrays(bool, (HEIGHT, WIDTH))


@st.composite
def instances(draw, labels=some_names):
    count = draw(st.integers(0, 4))
    corners = draw(
        hnp.arrays(np.float32, (count, 2, 2), elements=st.floats(0, 1, width=32))
    )
    boxes = np.sort(corners, axis=1).reshape(count, 4) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    scores = hnp.arrays(np.float32, count, elements=st.floats(0, 1, width=32))
    masks = hnp.arrays(bool, (count, HEIGHT, WIDTH))
    return Detections(
        tuple(draw(st.lists(labels, min_size=count, max_size=count))),
        boxes.astype(np.float32),
        draw(st.none() | masks),
        draw(st.none() | scores),
    )


def two() -> Detections:
    """A rectangle of a cat with a mask, and a dog without one."""
    masks = np.zeros((2, HEIGHT, WIDTH), bool)
    masks[0, 2:8, 3:13] = True
    boxes = np.array([[3, 2, 13, 8], [12, 4, 24, 16]], np.float32)
    return Detections(("cat", "dog"), boxes, masks, np.array([0.75, 0.5], np.float32))


def boxes_only(found: Detections) -> Detections:
    return Detections(found.labels, found.boxes_xyxy)


def filled(mask: np.ndarray) -> np.ndarray:
    """Without holes, by walking over the background from outside the picture."""
    ground = np.zeros((HEIGHT + 2, WIDTH + 2), bool)
    ground[0] = True
    free = np.pad(~mask, 1, constant_values=True)
    while True:
        grown = ground.copy()
        grown[1:] |= ground[:-1]
        grown[:-1] |= ground[1:]
        grown[:, 1:] |= ground[:, :-1]
        grown[:, :-1] |= ground[:, 1:]
        grown &= free
        if (grown == ground).all():
            return ~ground[1:-1, 1:-1]
        ground = grown


def assert_same(first: Detections, second: Detections, atol: float = 0) -> None:
    assert first.labels == second.labels
    np.testing.assert_allclose(first.boxes_xyxy, second.boxes_xyxy, rtol=0, atol=atol)
    assert first.boxes_xyxy.dtype == second.boxes_xyxy.dtype == np.float32
    for a, b in [(first.masks, second.masks), (first.scores, second.scores)]:
        if a is None or b is None:
            assert a is b
        else:
            np.testing.assert_array_equal(a, b)


class TestSupervision:
    @given(instances(st.text(st.characters(exclude_characters="\0"), max_size=5)))
    @settings(max_examples=40, deadline=None)
    def test_round_trip_is_whole(self, found):
        assert_same(from_supervision(to_supervision(found)), found)

    def test_tokens_and_unread_pieces_stay(self):
        boxes = np.array([[1, 2, 3, 4]], np.float32)
        found = Detections(("cat",), boxes, tokens=("<loc0001>",), unread=("a", "b"))
        again = from_supervision(to_supervision(found))
        assert (again.tokens, again.unread) == (found.tokens, found.unread)

    def test_fields(self):
        value = to_supervision(two(), class_names=NAMES[::-1])
        assert value.class_id.tolist() == [2, 1]
        assert value["class_name"].tolist() == ["cat", "dog"]
        assert value.confidence.tolist() == [0.75, 0.5]
        assert value.area.tolist() == [60, 0]
        assert value[value.confidence > 0.6].xyxy.tolist() == [[3, 2, 13, 8]]
        assert to_supervision(two()).class_id.tolist() == [0, 1]

    def test_nothing_found(self):
        assert len(from_supervision(sv.Detections.empty())) == 0
        assert len(to_supervision(Detections((), np.zeros((0, 4), np.float32)))) == 0
        masks = np.zeros((0, 4, 5), bool)
        found = Detections((), np.zeros((0, 4), np.float32), masks, np.zeros(0))
        again = from_supervision(to_supervision(found))
        assert again.masks.shape == (0, 4, 5)
        assert again.scores.shape == (0,)

    def test_names_of_class_numbers(self):
        boxes = np.array([[0, 0, 1, 1]])
        value = sv.Detections(boxes, class_id=np.array([1]))
        assert from_supervision(value, ["cat", "dog"]).labels == ("dog",)
        with pytest.raises(ValueError, match="Pass class_names"):
            from_supervision(value)
        with pytest.raises(ValueError, match=r"received the class 1 .*names of 0\."):
            from_supervision(value, ["cat"])
        assert from_supervision(sv.Detections(boxes)).labels == ("",)
        with pytest.raises(ValueError, match="received the label 'dog'"):
            to_supervision(two(), ["cat"])

    def test_compact_masks(self):
        value = to_supervision(two())
        value.mask = sv.CompactMask.from_dense(value.mask, value.xyxy, (HEIGHT, WIDTH))
        assert_same(from_supervision(value), two())


class TestCoco:
    @given(instances())
    @settings(max_examples=40, deadline=None)
    def test_round_trip_of_results(self, found):
        records = json.loads(json.dumps(to_coco_results(found, 7, IDS)))
        again = from_coco_results(records, BY_ID, WIDTH, HEIGHT)
        assert again.labels == found.labels
        np.testing.assert_array_equal(again.boxes_xyxy, found.boxes_xyxy)
        if len(found):
            expected = np.ones(len(found)) if found.scores is None else found.scores
            np.testing.assert_array_equal(again.scores, expected)
        if found.masks is not None and len(found):
            np.testing.assert_array_equal(again.masks, found.masks)
        else:
            assert again.masks is None

    @given(instances())
    @settings(max_examples=30, deadline=None)
    def test_round_trip_of_a_dataset(self, found):
        pictures = [
            AnnotatedPicture("a.png", WIDTH, HEIGHT, found),
            AnnotatedPicture("b.png", WIDTH, HEIGHT, boxes_only(two())),
        ]
        dataset = json.loads(json.dumps(to_coco_dataset(pictures)))
        first, second = from_coco_dataset(dataset)
        assert (first.file_name, first.width, first.height) == ("a.png", WIDTH, HEIGHT)
        assert_same(second.detections, boxes_only(two()))
        has_masks = found.masks is not None and found.masks.any()
        expected = Detections(
            found.labels,
            found.boxes_xyxy,
            found.masks if has_masks else None,
            found.scores if len(found) else None,
        )
        assert_same(first.detections, expected)

    def test_records_by_hand(self):
        first, second = to_coco_results(two(), 7, IDS)
        assert first["bbox"] == [3.0, 2.0, 10.0, 6.0]
        assert (first["image_id"], first["category_id"], first["score"]) == (7, 3, 0.75)
        assert second["category_id"] == 1
        first, second = to_coco_annotations(two(), 7, IDS, first_id=5)
        assert (first["id"], first["area"], first["iscrowd"]) == (5, 60.0, 0)
        assert (second["id"], second["area"], second["segmentation"]) == (6, 144.0, [])
        assert to_coco_results(boxes_only(two()), 7, IDS)[0]["score"] == 1.0

    def test_pycocotools_reads_results(self, tmp_path, capsys):
        picture = AnnotatedPicture("a.png", WIDTH, HEIGHT, boxes_only(two()))
        write_json(to_coco_dataset([picture], IDS), tmp_path / "truth.json")
        truth = COCO(tmp_path / "truth.json")
        write_json(to_coco_results(two(), 1, IDS), tmp_path / "results.json")
        results = truth.loadRes(str(tmp_path / "results.json"))
        records = results.loadAnns(results.getAnnIds(imgIds=1))
        assert [r["bbox"] for r in records] == [[3, 2, 10, 6], [12, 4, 12, 12]]
        read = np.stack([results.annToMask(r) for r in records])
        np.testing.assert_array_equal(read, two().masks)
        names = [c["name"] for c in truth.loadCats([r["category_id"] for r in records])]
        assert names == ["cat", "dog"]

    @pytest.mark.parametrize("polygons", [False, True])
    def test_readers_of_datasets(self, tmp_path, capsys, polygons):
        picture = AnnotatedPicture("a.png", WIDTH, HEIGHT, two())
        content = to_coco_dataset([picture], polygons=polygons)
        write_json(content, tmp_path / "instances.json")
        coco = COCO(tmp_path / "instances.json")
        mask = coco.annToMask(coco.loadAnns(1)[0])
        np.testing.assert_array_equal(mask, two().masks[0])
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
        dataset = sv.DetectionDataset.from_coco(
            str(tmp_path), str(tmp_path / "instances.json")
        )
        _, _, value = next(iter(dataset))
        again = from_supervision(value, dataset.classes)
        assert again.labels == ("cat", "dog")
        np.testing.assert_array_equal(again.boxes_xyxy, two().boxes_xyxy)
        if not polygons:
            np.testing.assert_array_equal(again.masks, two().masks)

    @given(masks_of_one)
    @settings(max_examples=60, deadline=None)
    def test_edge_polygons_keep_all_but_holes(self, mask):
        found = Detections(("cat",), np.zeros((1, 4), np.float32), mask[None])
        records = to_coco_annotations(found, 1, IDS, polygons=True)
        again = from_coco_results(records, BY_ID, WIDTH, HEIGHT)
        read = np.zeros_like(mask) if again.masks is None else again.masks[0]
        np.testing.assert_array_equal(read, filled(mask))

    def test_uncompressed_rle(self):
        rle = {"size": [2, 3], "counts": [1, 2, 3]}  # Column by column.
        record = {"category_id": 1, "bbox": [0, 0, 2, 2], "segmentation": rle}
        again = from_coco_results([record], BY_ID, 3, 2)
        assert again.masks.tolist() == [[[False, True, False], [True, False, False]]]
        with pytest.raises(ValueError, match=r"of 4 x 2 pixels .* one of 3 x 2"):
            from_coco_results([record], BY_ID, 4, 2)

    def test_crowds_are_left_out(self):
        picture = AnnotatedPicture("a.png", WIDTH, HEIGHT, two())
        dataset = to_coco_dataset([picture])
        dataset["annotations"][0]["iscrowd"] = 1
        assert from_coco_dataset(dataset)[0].detections.labels == ("dog",)

    def test_errors(self):
        with pytest.raises(ValueError, match="received the label 'dog'"):
            to_coco_results(two(), 1, {"cat": 1})
        with pytest.raises(ValueError, match="received the class 3"):
            from_coco_results(to_coco_results(two(), 1, IDS), {1: "dog"}, 24, 16)
        with pytest.raises(ValueError, match="first_id"):
            to_coco_annotations(two(), 1, IDS, first_id=0)
        records = to_coco_results(two(), 1, IDS)
        records[1]["image_id"] = 2
        with pytest.raises(ValueError, match="one image_id at a time"):
            from_coco_results(records, BY_ID, WIDTH, HEIGHT)
        records = to_coco_results(two(), 1, IDS)
        del records[0]["score"]
        with pytest.raises(ValueError, match="Expected a score for all"):
            from_coco_results(records, BY_ID, WIDTH, HEIGHT)
        picture = AnnotatedPicture("a.png", WIDTH, HEIGHT, two())
        with pytest.raises(ValueError, match=r"file names, received 'a.png' twice"):
            to_coco_dataset([picture, picture])
        with pytest.raises(ValueError, match="category ids, received 1 twice"):
            to_coco_dataset([picture], {"cat": 1, "dog": 1})


class TestLabelMe:
    @given(instances(st.text(max_size=5)), st.booleans())
    @settings(max_examples=40, deadline=None)
    def test_round_trip(self, found, polygons):
        content = to_labelme(found, "a.png", WIDTH, HEIGHT, polygons)
        again = from_labelme(json.loads(json.dumps(content)))
        assert again.labels == found.labels
        if len(found):
            np.testing.assert_array_equal(again.scores, found.scores)
        for i in range(len(found)):
            mask = None if found.masks is None else found.masks[i]
            if mask is None or not mask.any():
                expected = found.boxes_xyxy[i]
                assert again.masks is None or not again.masks[i].any()
            else:
                kept = filled(mask) if polygons else mask
                np.testing.assert_array_equal(again.masks[i], kept)
                rows, columns = np.nonzero(mask)
                low, high = (columns.min(), rows.min()), (columns.max(), rows.max())
                expected = [*low, *(v + 1 for v in high)]
            np.testing.assert_array_equal(again.boxes_xyxy[i], expected)

    def test_content_by_hand(self):
        content = to_labelme(two(), "../a.png", WIDTH, HEIGHT)
        assert content["imagePath"] == "../a.png"
        assert (content["imageWidth"], content["imageHeight"]) == (WIDTH, HEIGHT)
        assert content["imageData"] is None
        polygon, rectangle = content["shapes"]
        assert polygon["shape_type"] == "polygon"
        corners = {tuple(point) for point in polygon["points"]}
        assert corners == {(3, 2), (12, 2), (12, 7), (3, 7)}
        assert rectangle["shape_type"] == "rectangle"
        assert rectangle["points"] == [[12, 4], [24, 16]]
        assert (polygon["label"], polygon["score"]) == ("cat", 0.75)
        # All that LabelMe 5 asks of a shape.
        assert {"label", "points", "shape_type", "flags", "group_id"} <= set(polygon)

    def test_supervision_reads_it(self, tmp_path):
        found = two()
        found.masks[0, 12:15, 2:5] = True  # A second part.
        found.masks[0, 4, 6] = False  # A hole.
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
        write_json(to_labelme(found, "a.png", WIDTH, HEIGHT), tmp_path / "a.json")
        dataset = sv.DetectionDataset.from_labelme(str(tmp_path), str(tmp_path))
        _, _, value = next(iter(dataset))
        again = from_supervision(value, dataset.classes)
        assert again.labels == ("cat", "dog")
        np.testing.assert_array_equal(again.masks[0], filled(found.masks[0]))
        np.testing.assert_array_equal(again.boxes_xyxy[1], found.boxes_xyxy[1])

    def test_what_people_draw(self):
        shape = {"label": "x", "shape_type": "rectangle", "points": [[9, 20], [2, 3]]}
        content = {"imageWidth": WIDTH, "imageHeight": HEIGHT, "shapes": [shape]}
        assert from_labelme(content).boxes_xyxy.tolist() == [[2, 3, 9, 16]]
        shape["shape_type"] = "circle"
        with pytest.raises(ValueError, match="received 'circle' of the label 'x'"):
            from_labelme(content)
        with pytest.raises(ValueError, match=r"of 16 x 24 .* received 24 x 16"):
            to_labelme(two(), "a.png", HEIGHT, WIDTH)


class TestYolo:
    @given(instances())
    @settings(max_examples=40, deadline=None)
    def test_round_trip(self, found):
        has_scores = found.scores is not None
        text = to_yolo(found, NAMES, WIDTH, HEIGHT, with_scores=has_scores)
        again = from_yolo(text, NAMES, WIDTH, HEIGHT)
        assert again.labels == found.labels
        if has_scores and len(found):
            np.testing.assert_allclose(again.scores, found.scores, atol=1e-8)
        for i in range(len(found)):
            if found.masks is None:
                assert again.masks is None
                box = again.boxes_xyxy[i]
                np.testing.assert_allclose(box, found.boxes_xyxy[i], atol=1e-5)
            elif found.masks[i].any():
                assert again.masks[i][found.masks[i]].all()
                if len(pixel_polygons(found.masks[i])) == 1:
                    expected = filled(found.masks[i])
                    np.testing.assert_array_equal(again.masks[i], expected)

    def test_text_by_hand(self):
        found = boxes_only(two())
        text = to_yolo(found, ["dog", "cat"], WIDTH, HEIGHT)
        assert text == "1 0.333333333 0.3125 0.416666667 0.375\n0 0.75 0.625 0.5 0.75\n"
        text = to_yolo(two(), ["dog", "cat"], WIDTH, HEIGHT, with_scores=True)
        assert text.splitlines()[1] == "0 0.5 0.25 1 0.25 1 1 0.5 1 0.5"
        nothing = Detections((), np.zeros((0, 4), np.float32))
        assert to_yolo(nothing, NAMES, WIDTH, HEIGHT) == ""
        assert len(from_yolo("\n", NAMES, WIDTH, HEIGHT)) == 0

    def test_boxes_are_cut_at_the_border(self):
        found = Detections(("cat",), np.array([[-6, 4, 12, 20]], np.float32))
        assert to_yolo(found, NAMES, WIDTH, HEIGHT) == "0 0.25 0.625 0.5 0.75\n"

    def test_parts_are_joined_by_a_seam(self):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[2:6, 2:6] = mask[2:6, 10:14] = mask[12:14, 2:6] = True
        found = Detections(("cat",), np.zeros((1, 4), np.float32), mask[None])
        text = to_yolo(found, NAMES, WIDTH, HEIGHT)
        assert len(text.splitlines()) == 1
        read = from_yolo(text, NAMES, WIDTH, HEIGHT).masks[0]
        assert read[mask].all()
        assert (read & ~mask).sum() == 4 + 6  # One pixel wide.

    @pytest.mark.parametrize("with_masks", [False, True])
    def test_supervision_reads_it(self, tmp_path, with_masks):
        found = two() if with_masks else boxes_only(two())
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
        write_text(to_yolo(found, NAMES, WIDTH, HEIGHT), tmp_path / "a.txt")
        write_text(f"nc: 3\nnames: {json.dumps(NAMES)}\n", tmp_path / "data.yaml")
        dataset = sv.DetectionDataset.from_yolo(
            str(tmp_path), str(tmp_path), str(tmp_path / "data.yaml")
        )
        _, _, value = next(iter(dataset))
        again = from_supervision(value, dataset.classes)
        assert again.labels == ("cat", "dog")
        if with_masks:
            np.testing.assert_array_equal(again.masks[0], found.masks[0])
        else:
            np.testing.assert_allclose(again.boxes_xyxy, found.boxes_xyxy, atol=1e-5)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("0 0.1 0.2 0.3", "a box of four numbers"),
            ("0.5 0.1 0.2 0.3 0.4", "a box of four numbers"),
            ("0 0.1 0.2 nan 0.4", "a box of four numbers"),
            ("cat 0.1 0.2 0.3 0.4", "Expected numbers"),
            ("3 0.1 0.2 0.3 0.4", "received the class 3"),
            ("0 0.1 0.2 0.3 0.4 1\n0 0.1 0.2 0.3 0.4", "a score for all"),
        ],
    )
    def test_lines_that_are_none(self, text, message):
        with pytest.raises(ValueError, match=message):
            from_yolo(text, NAMES, WIDTH, HEIGHT)

    def test_errors(self):
        with pytest.raises(ValueError, match="received the label 'dog'"):
            to_yolo(two(), ["cat"], WIDTH, HEIGHT)
        with pytest.raises(ValueError, match="received 'cat' twice"):
            to_yolo(two(), ["cat", "dog", "cat"], WIDTH, HEIGHT)
        with pytest.raises(ValueError, match="Expected detections with scores"):
            to_yolo(boxes_only(two()), NAMES, WIDTH, HEIGHT, with_scores=True)
        with pytest.raises(ValueError, match=r"of 16 x 24 .* received 24 x 16"):
            to_yolo(two(), NAMES, HEIGHT, WIDTH)
        with pytest.raises(TypeError, match="Expected a list of class names"):
            to_yolo(two(), "cat", WIDTH, HEIGHT)


class TestPolygons:
    @given(masks_of_one)
    @settings(max_examples=60, deadline=None)
    def test_pixel_polygons_keep_all_but_holes(self, mask):
        polygons = pixel_polygons(mask)
        np.testing.assert_array_equal(rasterize(polygons, WIDTH, HEIGHT), filled(mask))
        by_supervision = np.zeros_like(mask)
        for polygon in polygons:
            by_supervision |= sv.polygon_to_mask(polygon, (WIDTH, HEIGHT)).astype(bool)
        np.testing.assert_array_equal(by_supervision, filled(mask))

    def test_the_largest_part_is_first(self):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[0:3, 0:3] = mask[5:12, 5:12] = True
        assert pixel_polygons(mask)[0].min() == 5
        assert edge_polygons(mask)[0].min() == 5.25
        assert edge_polygons(mask)[0].max() == 11.75


class TestFiles:
    def test_a_failure_leaves_what_was_there(self, tmp_path):
        target = tmp_path / "a.json"
        write_json({"cats": ["Müsli"]}, target)
        assert json.loads(target.read_text("utf-8")) == {"cats": ["Müsli"]}
        with pytest.raises(ValueError, match="nan"):
            write_json({"cats": float("nan")}, target)
        with pytest.raises(UnicodeEncodeError):
            write_text("\ud800", target)
        assert json.loads(target.read_text("utf-8")) == {"cats": ["Müsli"]}
        assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("package", "write"),
    [
        ("supervision", to_supervision),
        ("supervision", lambda found: to_yolo(found, NAMES, WIDTH, HEIGHT)),
        ("pycocotools", lambda found: to_coco_results(found, 1, IDS)),
    ],
)
def test_a_package_that_is_missing_is_named(monkeypatch, package, write):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "pycocotools.mask", raising=False)
    with pytest.raises(ImportError, match=rf"{package}.*keras-pg2\[detection\]"):
        write(two())


@pytest.mark.parametrize("package", ["supervision", "pycocotools"])
def test_boxes_alone_need_no_package(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    found = boxes_only(two())
    to_coco_dataset([AnnotatedPicture("a.png", WIDTH, HEIGHT, found)])
    from_coco_results(to_coco_results(found, 1, IDS), BY_ID, WIDTH, HEIGHT)
    from_labelme(to_labelme(two(), "a.png", WIDTH, HEIGHT, polygons=False))
    from_yolo(to_yolo(found, NAMES, WIDTH, HEIGHT), NAMES, WIDTH, HEIGHT)
