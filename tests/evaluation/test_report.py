"""Reports are read as a browser and a program read them: what stands where, and that
nothing that a file or a model says becomes markup."""

import base64
import io
import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from keras_pg2.codecs import Detections
from keras_pg2.evaluation import (
    Evaluation,
    Failure,
    Outcome,
    Published,
    read_report,
    write_report,
)
from keras_pg2.metrics.metric import Answer, Truth

HOSTILE = (
    "</title></style><script>alert(1)</script><img src=x onerror='a'>&amp;\"\x1b[0m"
)
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Elements, their attributes and texts; every element is closed in its order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return "".join(data for _, data in self.texts)


def outcome(i, score=1.0, **changes):
    fields = {
        "id": i,
        "image": None,
        "prompt": "answer en how many?",
        "answer": Answer("2", log_probability=math.log(0.8), num_tokens=1),
        "truth": Truth(answers=("2", "two")),
        "score": score,
    }
    return Outcome(**fields | changes)


def evaluation(outcomes, **changes):
    fields = {
        "model": "nano",
        "data_set": "scenes",
        "split": "test",
        "recipe": "docvqa",
        "metric": "exact_match",
        "figures": {"exact_match": 0.75, "number": math.nan},
        "intervals": {"exact_match": (0.5, 1.0)},
        "outcomes": tuple(outcomes),
        "failures": (),
        "settings": {"prompt": "answer en {question}", "num_beams": 2, "level": 0.9},
        "published": None,
        "seconds": 3.0,
    }
    return Evaluation(**fields | changes)


def written(found, folder, **options):
    write_report(found, folder, **options)
    page = Page((folder / "report.html").read_text("utf-8"))
    return page, (folder / "report.md").read_text("utf-8")


def test_figures_intervals_and_published_ones_stand_beside_each_other(tmp_path):
    published = Published(
        model="PaliGemma 2 3B, 224 px",
        figures={"exact_match": 0.831},
        deviations={"exact_match": 0.003},
        source="arXiv:2412.03555, table 13",
        note="other data",
    )
    found = evaluation([outcome(i, i / 4) for i in range(5)], published=published)
    page, text = written(found, tmp_path)
    for wanted in ("0.750", "0.500 to 1.000", "0.831", "table 13", "90 % interval"):
        assert wanted in page.text
        assert wanted in MarkdownIt().enable("table").render(text)
    assert "\u00b1 0.003" in page.text
    read = read_report(tmp_path)
    assert read.outcomes == found.outcomes
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["published"]["figures"] == {"exact_match": 0.831}
    assert report["figures"] == {"exact_match": 0.75, "number": None}


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    found = evaluation([outcome(0, 0.5, image=str(tmp_path / "red.png"))])
    page, _ = written(found, tmp_path / "report")
    assert page.all("script") == page.all("link") == []
    assert all(image["src"].startswith("data:image/jpeg;") for image in page.all("img"))
    assert len(page.all("img")) == 2  # Among the worst, and among those by chance.
    policy = page.all("meta")[2]["content"]
    assert policy.startswith("default-src 'none'")


def test_what_others_wrote_is_text(tmp_path):
    things = Detections((HOSTILE,), np.array([[1, 1, 9, 9]], np.float32))
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    found = evaluation(
        [
            outcome(HOSTILE, 0.0, prompt=HOSTILE, answer=Answer(HOSTILE)),
            outcome("x", truth=Truth(answers=(HOSTILE,), kind=HOSTILE)),
            outcome("gone", image=HOSTILE),
            outcome(
                "things",
                image=str(tmp_path / "a.png"),
                answer=Answer("", things=things),
            ),
        ],
        **dict.fromkeys(("model", "data_set", "split", "recipe"), HOSTILE),
        failures=(Failure(id=HOSTILE, image=None, error=HOSTILE),),
        settings={HOSTILE: HOSTILE, "versions": {HOSTILE: HOSTILE}},
        published=Published(
            model=HOSTILE, figures={HOSTILE: 1.0}, source=HOSTILE, note=HOSTILE
        ),
        figures={"exact_match": 0.5, HOSTILE: 0.5},
    )
    page, text = written(found, tmp_path / "report")
    assert page.all("script") == []
    assert all("onerror" not in image for image in page.all("img"))
    assert page.text.count("alert(1)") >= 15
    assert "\x1b" not in page.text
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert "<script" not in rendered
    assert "<img" not in rendered


def test_pictures_are_drawn_on_or_named_if_they_are_gone(tmp_path):
    path = str(tmp_path / "a.png")
    Image.new("RGB", (600, 300), "white").save(path)
    mask = np.zeros((1, 300, 600), bool)
    mask[:, 20:90, 20:90] = True
    box = np.array([[20, 20, 90, 90]], np.float32)
    truth = Truth(things=Detections(("circle",), box, mask))
    answer = Answer("", things=Detections(("star",), box, None, np.array([0.5])))
    found = evaluation(
        [
            outcome(0, 0.5, image=path, answer=answer, truth=truth),
            outcome(1, 0.5, image=(path, path)),
            outcome(2, 0.5, image=str(tmp_path / "gone.png")),
            outcome(3, 0.5, image="https://example.com/a.png"),
            outcome(4, 0.5, image=(path,) * 6),
        ]
    )
    page, _ = written(found, tmp_path / "report")
    assert len(page.all("img")) == 2 * (2 + 2 + 4)
    kinds = [each.get("class") for each in page.all("section")]
    assert kinds.count("examples wide") == 2
    assert "star 0.50" in page.text
    assert page.text.count("no picture: https://example.com/a.png") == 2
    assert page.text.count("gone.png") == 2
    assert page.text.count("2 more") == 2
    assert (tmp_path / "report" / "report.html").stat().st_size < 150_000


def test_numbers_that_are_none(tmp_path):
    found = evaluation(
        [outcome(i, math.nan) for i in range(3)],
        model="small",
        figures={"exact_match": math.nan},
        intervals={},
        settings={},
    )
    page, text = written(found, tmp_path)
    assert "nan" not in page.text.lower()
    assert "nan" not in text.lower()
    titles = [data for tag, data in page.texts if tag == "h2"]
    assert titles == ["Figures", "Answers drawn by chance"]
    assert all("nan" not in str(each).lower() for _, each in page.elements)


def test_scores_outside_of_shares_have_a_histogram_and_no_reliability(tmp_path):
    found = evaluation([outcome(i, 2.5 + i) for i in range(3)], metric="cider")
    page, _ = written(found, tmp_path)
    titles = [data for tag, data in page.texts if tag == "title"]
    assert "Histogram of scores" in titles
    assert "Reliability diagram" not in titles


def test_probabilities_have_a_reliability_diagram(tmp_path):
    found = evaluation([outcome(i, float(i % 2)) for i in range(8)])
    page, _ = written(found, tmp_path)
    assert "Reliability diagram" in [d for tag, d in page.texts if tag == "title"]
    dots = [each for each in page.all("circle") if float(each["r"]) > 4]
    # One bin: 0.8 is told, half is right.
    assert len(dots) == 1
    x, y = float(dots[0]["cx"]), float(dots[0]["cy"])
    assert x == pytest.approx(60 + 0.8 * 368, abs=0.1)
    assert y == pytest.approx(236 - 0.5 * 222, abs=0.1)


@pytest.mark.parametrize(("text", "right"), [("2", 1), ("3", 0)])
def test_a_report_of_calibration_shows_what_is_right_not_what_is_lost(
    tmp_path, text, right
):
    answer = Answer(text, log_probability=math.log(0.8), num_tokens=1)
    lost = (0.8 - right) ** 2
    outcomes = [outcome(i, lost, answer=answer) for i in range(8)]
    page, _ = written(evaluation(outcomes, metric="ece"), tmp_path)
    dots = [each for each in page.all("circle") if float(each["r"]) > 4]
    assert [float(each["cy"]) for each in dots] == [pytest.approx(236 - right * 222)]


@pytest.mark.parametrize("metric", ["cer", "perplexity", "cider"])
def test_scores_that_are_no_shares_have_no_reliability_diagram(tmp_path, metric):
    outcomes = [outcome(i, score) for i, score in enumerate((0.5, 1.5))]
    page, _ = written(evaluation(outcomes, metric=metric), tmp_path)
    assert "Reliability diagram" not in [d for tag, d in page.texts if tag == "title"]


def test_boxes_have_precision_recall_curves(tmp_path):
    box = np.array([[20, 20, 90, 90]], np.float32)
    things = Detections(("star",), box, None, np.array([0.5], np.float32))
    one = outcome(
        0, answer=Answer("", things=things), truth=Truth(things=things, size=(99, 99))
    )
    page, _ = written(evaluation([one], metric="coco_ap"), tmp_path)
    assert "Precision-recall" in [data for tag, data in page.texts if tag == "title"]
    assert ("li", "star") in page.texts
    assert "recall of boxes at IoU 0.5" in page.text


def test_frames_of_boxes_keep_their_colors(tmp_path):
    """A frame is a pixel wide in a small picture, and JPEG may blur its color away."""
    Image.new("RGB", (200, 200), "white").save(tmp_path / "a.png")
    box = np.array([[20, 60, 180, 180]], np.float32)
    answer = Answer("", things=Detections(("star",), box))
    one = outcome(0, 0.5, answer=answer, image=str(tmp_path / "a.png"))
    page, _ = written(evaluation([one]), tmp_path / "report")
    data = page.all("img")[0]["src"].partition(",")[2]
    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    red, green, blue = picture.getpixel((20, 120))
    assert red > 180
    assert max(green, blue) < 110


def test_counts_of_thousands_are_told_in_short(tmp_path):
    page, _ = written(evaluation([outcome(i) for i in range(1100)]), tmp_path)
    texts = [data for tag, data in page.texts if tag == "text"]
    assert {"500", "1k", "1.5k", "2k"} <= set(texts)


def test_right_answers_are_none_of_the_worst(tmp_path):
    found = evaluation([outcome("a", 1.0), outcome("b", 0.5)], metric="exact_match")
    page, text = written(found, tmp_path / "some", num_examples=2)
    ids = [data for tag, data in page.texts if tag == "dd" and data in ("a", "b")]
    assert ids == ["b", "a", "b"]  # The last two by chance.
    assert "| a |" not in text
    right = evaluation([outcome("a", 1.0)], metric="exact_match")
    for shown in written(right, tmp_path / "none"):
        shown = shown if isinstance(shown, str) else shown.text
        assert "None: every answer has the best score." in shown


def test_long_texts_of_tables_are_broken_into_lines(tmp_path):
    """On a phone a table of them would be wider than the page; figures stay whole."""
    failures = [Failure(id=0, image=None, error="cannot be read " * 9)]
    write_report(evaluation([outcome(0)], failures=failures), tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<td>cannot be read" in text
    assert "<td>answer en {question}</td>" in text
    assert "<td class=num>0.750</td>" in text


@pytest.mark.parametrize(
    ("metric", "first"), [("exact_match", ["c", "b"]), ("cer", ["a", "d"])]
)
def test_worst_come_first_and_the_surest_of_them(tmp_path, metric, first):
    found = evaluation(
        [
            outcome("a", 1.0),
            outcome("b", 0.0, answer=Answer("x", math.log(0.3))),
            outcome("c", 0.0, answer=Answer("x", math.log(0.9))),
            outcome("d", 0.5),
        ],
        metric=metric,
    )
    page, _ = written(found, tmp_path, num_examples=2)
    ids = [
        data for tag, data in page.texts if tag == "dd" and data in ("a", "b", "c", "d")
    ]
    assert ids[:2] == first


def test_the_sample_is_that_of_the_seed(tmp_path):
    found = evaluation([outcome(f"id{i}") for i in range(50)])
    pages = [
        written(found, tmp_path / str(i), seed=seed, num_examples=3)[0].text
        for i, seed in enumerate((0, 0, 1))
    ]
    assert pages[0] == pages[1] != pages[2]
    with pytest.raises(ValueError, match="num_examples of 0 or more"):
        write_report(found, tmp_path, num_examples=-1)


def test_no_example_has_an_answer(tmp_path):
    failures = [Failure(id=i, image="a.png", error="cannot be read") for i in range(40)]
    page, text = written(evaluation([], failures=failures), tmp_path)
    assert "10 more in predictions.jsonl" in page.text
    assert "40 without an answer" in text
