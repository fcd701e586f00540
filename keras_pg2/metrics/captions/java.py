"""METEOR and SPICE, which only their authors' Java programs compute.

pycocoevalcap (BSD) brings METEOR 1.5 and, but for its language models, SPICE 1.0; both
get the tokens that the other metrics of captions get.
"""

from __future__ import annotations

import shutil
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.checks.packages import import_packages
from keras_pg2.metrics.captions.texts import tokenized_case
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    PreparedMetric,
    Statistics,
    Truth,
    mean,
    weights,
)

_ADVICE = "Run: pip install pycocoevalcap (104 MB), and install Java 8 or newer."
_SEPARATOR = " ||| "
_OPTIONS = "- - -stdio -l en -norm".split()  # noqa: SIM905
_CHUNKS, _MATCHES = 20, 21
"""Where a row of counts, which begins with two lengths, has chunks and matches."""


def _check_java(name: str) -> None:
    import_packages("pycocoevalcap", advice=_ADVICE)
    if shutil.which("java") is None:
        raise ImportError(
            f"Expected Java for {name}, which is not installed: there is no command "
            "java. Install Java 8 or newer, or choose cider, bleu or rouge_l, which "
            "need none."
        )


def _directory(name: str) -> Path:
    spec = find_spec(f"pycocoevalcap.{name}")
    locations = (spec and spec.submodule_search_locations) or ()
    return Path(next(iter(locations)))


class _Texts(PreparedMetric):
    """What both keep of an example: tokens of the answer and the references."""

    is_higher_better = True

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return the tokens of the answer and of the references.

        Raises:
            ValueError: if there is no reference.
        """
        text, references = tokenized_case(answer, truth)
        return {"answer": text, "references": references}


class _Meteor:
    """The program that METEOR is, as long as it runs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["java", "-Xmx2G", "-jar", "meteor-1.5.jar", *_OPTIONS],
            cwd=_directory("meteor"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        weakref.finalize(self, _end, self._process)

    def ask(self, line: str) -> str:
        """Return the program's next line, after it was given one."""
        sent, received = self._process.stdin, self._process.stdout
        assert sent is not None
        assert received is not None
        sent.write(f"{line}\n")
        sent.flush()
        return received.readline().strip()

    def statistics(self, row: Statistics) -> list[float]:
        """Return the counts of a row, which add up over rows."""
        texts = (*row["references"], row["answer"])
        line = _SEPARATOR.join(text.replace("|||", "") for text in texts)
        counts = [float(v) for v in self.ask(f"SCORE{_SEPARATOR}{line}").split()]
        # An answer that is its reference has no chunk where the program adds rows up.
        if counts[_CHUNKS] == 1 and counts[_MATCHES:] == counts[:2]:
            counts[_CHUNKS] = 0.0
        return counts

    def score(self, statistics: np.ndarray) -> float:
        """Return the score of a row's counts, or of a sum of them."""
        numbers = " ".join(repr(float(value)) for value in statistics)
        score = float(self.ask(f"EVAL{_SEPARATOR}{numbers}"))
        received = self._process.stdout
        assert received is not None
        received.readline()  # The same of all rows, which is one.
        return score


def _end(process: subprocess.Popen[str]) -> None:
    process.communicate()


class Meteor(_Texts):
    """METEOR of all answers together."""

    name = "meteor"
    meaning = "METEOR 1.5 for English, of the corpus"
    source = "Denkowski and Lavie 2014; pycocoevalcap 1.2, `meteor/meteor.py`"

    def check(self) -> None:
        """Raise ImportError if pycocoevalcap or Java is not installed."""
        _check_java("METEOR")

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], each answer's own METEOR."""
        program, statistics = _read_meteor(rows)
        return np.array([program.score(row) for row in statistics], np.float64)

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to METEOR of the corpus."""
        program, statistics = _read_meteor(rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            drawn = weights(counts, len(statistics))
            return {self.name: program.score(drawn @ statistics)}

        return figures


def _read_meteor(rows: Sequence[Statistics]) -> tuple[_Meteor, np.ndarray]:
    program = _Meteor()
    return program, np.array([program.statistics(row) for row in rows])


class Spice(_Texts):
    """SPICE, the mean of all answers."""

    name = "spice"
    meaning = "F-score of the objects, attributes and relations said"
    source = "Anderson et al. 2016; pycocoevalcap 1.2, `spice/spice.py`"

    def check(self) -> None:
        """Raise ImportError if pycocoevalcap, Java or SPICE's models are missing."""
        _check_java("SPICE")
        library = _directory("spice") / "lib"
        if not list(library.glob("stanford-corenlp-*-models.jar")):
            raise ImportError(
                "Expected the language models of Stanford CoreNLP for SPICE in "
                f"{str(library)!r}, which are not there. Run: python -m "
                "pycocoevalcap.spice.get_stanford_models (a download of 400 MB)."
            )

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], each answer's F-score."""
        return _spice_scores(rows)

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to the mean."""
        scores = self.scores(rows)
        return lambda counts=None: {self.name: mean(scores, counts)}


def _spice_scores(rows: Sequence[Statistics]) -> np.ndarray:
    (module,) = import_packages("pycocoevalcap.spice.spice", advice=_ADVICE)
    references: Mapping[int, Any] = {i: row["references"] for i, row in enumerate(rows)}
    answers = {i: [row["answer"]] for i, row in enumerate(rows)}
    _, scores = module.Spice().compute_score(references, answers)
    return np.array([score["All"]["f"] for score in scores], np.float64)


METRICS = (Meteor(), Spice())
