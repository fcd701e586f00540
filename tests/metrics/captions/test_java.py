"""METEOR and SPICE without Java: what is refused, and a program that stands in.

Beside the Java programs METEOR stands in scripts/metric_checks/captions.py.
"""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from keras_pg2 import metrics
from keras_pg2.metrics.captions import java
from keras_pg2.metrics.metric import Answer, Truth


@pytest.mark.parametrize("name", ["meteor", "spice"])
def test_missing_packages_are_told(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    with pytest.raises(ImportError, match="pip install pycocoevalcap"):
        metrics.get(name).check()


@pytest.mark.parametrize("name", ["meteor", "spice"])
def test_missing_java_is_told(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "pycocoevalcap", ModuleType("pycocoevalcap"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ImportError, match=f"Expected Java for {name.upper()}"):
        metrics.get(name).check()


def test_missing_models_are_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pycocoevalcap", ModuleType("pycocoevalcap"))
    monkeypatch.setattr(java.shutil, "which", lambda name: "/usr/bin/java")
    monkeypatch.setattr(java, "_directory", lambda name: tmp_path)
    with pytest.raises(ImportError, match="get_stanford_models"):
        metrics.get("spice").check()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "stanford-corenlp-3.6.0-models.jar").touch()
    metrics.get("spice").check()


def test_spice_is_the_mean_of_the_programs_scores(monkeypatch):
    asked = []

    class Spice:
        def compute_score(self, references, answers):
            asked.append((references, answers))
            return 0.0, [{"All": {"f": 0.5}}, {"All": {"f": 1.0}}]

    program = SimpleNamespace(Spice=Spice)
    monkeypatch.setitem(sys.modules, "pycocoevalcap.spice.spice", program)
    metric = java.Spice()
    rows = [
        metric.statistics(Answer("A dog."), Truth(answers=("two dogs", "a dog!"))),
        metric.statistics(Answer("cats"), Truth(answers=("cats",))),
    ]
    assert metric.result(rows) == {"spice": 0.75}
    assert metric.result(rows, np.array([2, 0])) == {"spice": 0.5}
    expected = {0: ["two dogs", "a dog"], 1: ["cats"]}, {0: ["a dog"], 1: ["cats"]}
    assert asked[0] == expected


class Program:
    """Stands in for METEOR: two lengths, chunks and matches; a score of them."""

    def __init__(self):
        self._lines = []
        self.stdin = self.stdout = self

    def write(self, line):
        kind, *parts = line.strip("\n").split(" ||| ")
        if kind == "SCORE":
            *references, answer = parts
            words = [len(answer.split()), len(references[0].split())]
            matches = words if answer in references else [1, 1]
            self._lines = [" ".join(map(str, [*words, *[0] * 18, 1, *matches]))]
        else:
            counts = [float(number) for number in parts[0].split()]
            self._lines = [str(counts[0] + 10 * counts[20])] * 2

    def flush(self):
        pass

    def readline(self):
        return self._lines.pop(0)

    def communicate(self):
        pass


def test_rows_of_meteor_add_up(monkeypatch, tmp_path):
    monkeypatch.setattr(java, "_directory", lambda name: tmp_path)
    monkeypatch.setattr(java.subprocess, "Popen", lambda *a, **options: Program())
    metric = java.Meteor()
    rows = [
        metric.statistics(Answer("a dog"), Truth(answers=("a dog",))),
        metric.statistics(Answer("a red cat"), Truth(answers=("a cat", "cats"))),
    ]
    # A chunk counts except where the answer is the reference.
    assert metric.result(rows) == {"meteor": 2 + 3 + 10}
    assert metric.result(rows, np.array([3, 0])) == {"meteor": 6}
    assert metric.scores(rows).tolist() == [2, 13]
