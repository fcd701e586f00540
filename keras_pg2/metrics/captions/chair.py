"""CHAIR: objects that a caption names and that are not in the picture.

Source: Rohrbach et al. 2018 (arXiv:1809.02156; github.com/LisaAnne/Hallucination,
`utils/chair.py`), and recall as lmms-eval's `coco_cap_chair` has it. Words become
singular; two words that are an object's name are one; each word that is a name of an
object counts, again if it is said again. For COCO the original counts as there what is
in the instances and what the reference captions name, and reads names from its
`synonyms.txt`, which `read_synonyms` reads, too.

A truth's details have

- "objects": names of the objects that are there;
- "all_objects": names of all objects that count, or a mapping of each to its words,
  among which its name need not be.

Differences to the original: plurals are found by English rules, where it asks
`pattern.en` (lmms-eval: WordNet); and the longest name is taken where it looks for two
words only, so that names of three words count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    PreparedMetric,
    Statistics,
    Truth,
    column,
    weights,
)

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_IRREGULAR = {
    "people": "person",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "oxen": "ox",
    "knives": "knife",
    "wives": "wife",
    "leaves": "leaf",
    "loaves": "loaf",
    "shelves": "shelf",
    "wolves": "wolf",
    "calves": "calf",
    "scarves": "scarf",
    "buses": "bus",
    "lenses": "lens",
    "shoes": "shoe",
}
_ANIMALS = (
    *("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra"),
    *("giraffe", "animal", "cub"),
)
_PHRASES = {
    **{f"{age} {animal}": animal for animal in _ANIMALS for age in ("baby", "adult")},
    "passenger jet": "jet",
    "passenger train": "train",
    "toilet seat": "toilet",
    "home plate": "",
    "train track": "",
}
"""Two words that name what one of them names, or no object."""


def singular(word: str) -> str:
    """Return the singular of a lower-cased English noun; other words may change."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("men"):
        return f"{word[:-3]}man"
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if re.search(r"(?:ss|sh|ch|x|z|[^aeiou]o)es$", word):
        return word[:-2]
    if word.endswith("s") and not re.search(r"(?:ss|us|is)$", word):
        return word[:-1]
    return word


def read_synonyms(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Return the words of each object of a file as CHAIR's `synonyms.txt`.

    Each line has words for one object, separated by commas, its name first.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no text in UTF-8, or names no object.
    """
    found = {}
    for line in Path(path).read_text("utf-8").splitlines():
        name, *words = [word.strip() for word in line.split(",")]
        if name:
            found[name] = tuple(filter(None, words))
    if not found:
        raise ValueError(
            f"Expected a line of words for each object in {str(path)!r}, received none."
        )
    return found


class Vocabulary:
    """Which words name which object.

    Args:
        objects: Names of objects, or the words of each by its name.

    Raises:
        ValueError: if a word names two objects.
    """

    def __init__(self, objects: Iterable[str] | Mapping[str, Iterable[str]]) -> None:
        named = objects if isinstance(objects, Mapping) else dict.fromkeys(objects, ())
        self.objects: dict[tuple[str, ...], str] = {}
        for name, words in named.items():
            for word in (name, *words):
                if self.objects.setdefault(_words(word), name) != name:
                    raise ValueError(
                        f"expected a word to name one object, received {word!r} for "
                        f"{self.objects[_words(word)]!r} and {name!r}."
                    )
        phrases = {
            tuple(phrase.split()): self.objects.get((word,), "")
            for phrase, word in _PHRASES.items()
        }
        self._names = phrases | self.objects
        self._longest = max(map(len, self._names))

    def find(self, text: str) -> list[str]:
        """Return the names of the objects that a text names, in its order."""
        words = _words(text)
        found = []
        i = 0
        while i < len(words):
            for length in range(min(self._longest, len(words) - i), 0, -1):
                if words[i : i + length] in self._names:
                    found.append(self._names[words[i : i + length]])
                    break
            i += length
        return [name for name in found if name]


def _words(text: str) -> tuple[str, ...]:
    return tuple(singular(word) for word in _WORD.findall(text.lower()))


def _key(objects: Any) -> tuple[Any, ...]:
    if isinstance(objects, Mapping):
        return tuple((name, tuple(words)) for name, words in objects.items())
    return tuple(objects)


@lru_cache(maxsize=8)
def _vocabulary(key: tuple[Any, ...]) -> Vocabulary:
    return Vocabulary(dict(key) if key and isinstance(key[0], tuple) else key)


class Chair(PreparedMetric):
    """Share of named objects that are not there; of captions with any; and recall."""

    name = "chair"
    meaning = "share of the objects named that are not in the picture (CHAIRi)"
    source = "Rohrbach et al. 2018 (arXiv:1809.02156), lmms-eval `coco_cap_chair`"
    is_higher_better = False

    def check(self) -> None:
        """Need no package."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return the objects that are named, not there, and found.

        Raises:
            ValueError: if the truth has no "objects" or "all_objects", or a name among
                them that is unknown.
        """
        missing = {"objects", "all_objects"} - set(truth.details)
        if missing:
            raise ValueError(
                f"expected {' and '.join(sorted(missing))} in the truth's details, "
                "received none."
            )
        vocabulary = _vocabulary(_key(truth.details["all_objects"]))
        names = set(vocabulary.objects.values())
        there = set(truth.details["objects"])
        if there - names:
            raise ValueError(
                "expected objects among all_objects, received "
                f"{sorted(there - names)!r}."
            )
        named = vocabulary.find(answer.text)
        wrong = [name for name in named if name not in there]
        return {
            "num_named": len(named),
            "wrong": wrong,
            "num_found": len(there & set(named)),
            "num_there": len(there),
        }

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], each caption's share; 0 where it names nothing."""
        return np.array([len(row["wrong"]) / max(row["num_named"], 1) for row in rows])

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to CHAIRi as "chair", "chair_s" and "recall".

        NaN of nothing.
        """
        wrong = np.array([len(row["wrong"]) for row in rows], np.float64)
        named, found = column(rows, "num_named"), column(rows, "num_found")
        there = column(rows, "num_there")

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            drawn = weights(counts, len(rows))

            def share(part: np.ndarray, whole: np.ndarray) -> float:
                return _share(float(part @ drawn), float(whole @ drawn))

            return {
                self.name: share(wrong, named),
                "chair_s": share(wrong > 0, np.ones(len(rows))),
                "recall": share(found, there),
            }

        return figures


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


METRICS = (Chair(),)
