r"""The prompts PaliGemma was trained on, one function each.

Every function returns the bare prompt: the preprocessor adds bos before it and the
newline after it. `{lang}` is a language code of `LANGUAGES`, and `{box}` four location
tokens, `<loc....>` of y1, x1, y2 and x2.

| function        | prompt                      | answer                      | source |
|-----------------|-----------------------------|-----------------------------|--------|
| `short_caption` | `cap {lang}`                | raw short caption (pt)      | [1]    |
| `caption`       | `caption {lang}`            | COCO-like caption           | [1, 2] |
|                 | `caption {box}`             | what is in the box (pt)     | [2]    |
| `describe`      | `describe {lang}`           | longer description          | [1, 3] |
| `ocr`           | `ocr`                       | all text, in reading order  | [1, 2] |
| `answer`        | `answer {lang} {question}`  | the answer                  | [1, 2] |
| `question`      | `question {lang} {answer}`  | a question for that answer  | [1, 2] |
| `detect`        | `detect {a} ; {b}`          | 4 `<loc....>` and the label | [1, 2] |
| `segment`       | `segment {a} ; {b}`         | the same, 16 `<seg...>` too | [1, 2] |

[1] ai.google.dev/gemma/docs/paligemma/prompt-system-instructions; it lists `cap`,
`describe`, `ocr` and `question` for pretrained checkpoints only. [2] PaliGemma,
arXiv:2407.07726 section 3.2.5. [3] huggingface.co/blog/paligemma2mix, which lists
`describe`, `ocr` and `question` for mix checkpoints too.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_pg2.checks.texts import check_unicode
from keras_pg2.preprocessing.location_tokens import (
    boxes_yxyx_to_text,
    normalize_boxes_xyxy,
)

CONTROL_TOKENS = ("<bos>", "<eos>", "<pad>", "<image>")
"""Tokens that are added where they belong, and are in no word of a prompt."""
ADDED_TOKENS = "such tokens are added where they belong"
BLANKS = (
    " \t\n\v\f\r\u0085\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
)
"""What is not seen around a prompt: white space, and characters without a width, such
as the mark that files of some editors begin with."""
TYPED_NEWLINE = r"(?:\\r)?\\n"
"""A newline as a backslash and a letter: a regular expression of Python and of RE2."""

# The languages of Crossmodal-3600 (arXiv:2205.12522), as that data set writes them.
# fmt: off
LANGUAGES = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "hi", "hr",
    "hu", "id", "it", "iw", "ja", "ko", "mi", "nl", "no", "pl", "pt", "quz", "ro", "ru",
    "sv", "sw", "te", "th", "tr", "uk", "vi", "zh",
)
# fmt: on

__all__ = [
    "answer",
    "caption",
    "describe",
    "detect",
    "ocr",
    "question",
    "segment",
    "short_caption",
]


def __dir__() -> list[str]:
    """Return the prompts, and nothing that they are made with."""
    return __all__


def short_caption(language: str = "en") -> str:
    """`cap {lang}`: a short caption in the style of image alt texts."""
    return f"cap {_check_language(language)}"


def caption(
    language: str = "en",
    *,
    region: Sequence[float] | np.ndarray | None = None,
    size: tuple[int, int] | None = None,
) -> str:
    """`caption {lang}`: one COCO-like sentence; or `caption {box}`: what is in a box.

        prompts.caption(region=found.boxes_xyxy[0], size=picture.size)

    Args:
        language: code of the caption's language; that of a region has none.
        region: x1, y1, x2, y2 in pixels of the picture, upright, for pretrained
            checkpoints.
        size: width and height of the picture in pixels, as PIL has them; for (1, 1)
            the region is in shares of them.

    Raises:
        ValueError: if the language is unknown, or given together with a region; or
            the region is not inside the picture, or without the other argument.
    """
    if region is None and size is None:
        return f"caption {_check_language(language)}"
    if region is None or size is None:
        raise ValueError(
            "Expected region and size together: x1, y1, x2, y2 in pixels, and the "
            f"width and height of the picture. Received: region={region!r}, "
            f"size={size!r}."
        )
    if language != "en":
        raise ValueError(
            "Expected a region without a language: the prompt has none. Received: "
            f"language={language!r}. Leave it out."
        )
    box = np.asarray(region, np.float64)
    width, height = size
    if box.shape != (4,) or not _is_inside(box, width, height):
        raise ValueError(
            "Expected region as x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, in pixels "
            f"of a picture of {width} x {height}. Received: {region!r}."
        )
    [text] = boxes_yxyx_to_text(normalize_boxes_xyxy(box[None], width, height))
    return f"caption {text}"


def describe(language: str = "en") -> str:
    """`describe {lang}`: a longer description."""
    return f"describe {_check_language(language)}"


def ocr() -> str:
    """`ocr`: the text in the picture, in reading order."""
    return "ocr"


def answer(question: str, language: str = "en") -> str:
    """`answer {lang} {question}`; the answer comes in `language`.

    Raises:
        ValueError: if the question is empty, has several lines or holds tokens, or
            the language is not one of `LANGUAGES`.
    """
    text = checked_text(question, "question")
    return f"answer {_check_language(language)} {text}"


def question(answer: str, language: str = "en") -> str:
    """`question {lang} {answer}`: asks for a question that has this answer.

    Raises:
        ValueError: as for `answer`.
    """
    text = checked_text(answer, "answer")
    return f"question {_check_language(language)} {text}"


def detect(*labels: str | Iterable[str]) -> str:
    """`detect {a} ; {b}`: boxes of each named thing; names apart or as one list.

    Raises:
        ValueError: if there is no label, or one is empty, is given twice, or holds
            ";", a line break or a `<loc....>`, `<seg...>` or other token. A label
            with a comma is one name, and warned of.
    """
    return "detect " + _join_labels(labels)


def segment(*labels: str | Iterable[str]) -> str:
    """`segment {a} ; {b}`: boxes and masks of each named thing.

    Raises:
        ValueError: as for `detect`.
    """
    return "segment " + _join_labels(labels)


def find_control_token(text: str) -> str | None:
    """Return a token of `CONTROL_TOKENS` that a text contains; None without one."""
    return next((token for token in CONTROL_TOKENS if token in text), None)


def clean_prompt(prompt: str, separator: str = "\n") -> str:
    r"""Return a prompt without what is around it: blanks, line ends, a typed "\n".

    Prompts of the training have none of these, and one that has is answered otherwise.
    A backslash and an "n" at the end come of a shell, which makes no newline of them;
    that is told by a warning.

    Args:
        prompt: as the user wrote it.
        separator: what will stand behind it; where that is no blank, it alone is taken
            off the end.
    """
    if not separator.isspace():
        return prompt.removesuffix(separator)
    cleaned = prompt.strip(BLANKS)
    if not cleaned.endswith("\\n"):
        return cleaned
    warnings.warn(
        f"Expected a prompt without the newline behind it. Received: {prompt!r}, with "
        "a backslash and the letter n, which are left out. Leave them out yourself: "
        "the newline is added to every prompt.",
        stacklevel=2,
    )
    return re.sub(rf"(?:[{BLANKS}]|{TYPED_NEWLINE})+\Z", "", cleaned)


def check_labels(labels: Any, also: str = "") -> None:
    """Checks that names to look for come as a list.

    Args:
        labels: what was given for them.
        also: what else they may be, for the message.

    Raises:
        TypeError: when they are no list, such as one text.
        ValueError: when there are none.
    """
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise TypeError(
            f'Expected labels as a list of texts, such as ["cat", "dog"]{also}. '
            f"Received: {labels!r}."
        )
    if not labels:
        raise ValueError("Expected labels, the names to look for. Received: none.")


def _join_labels(labels: tuple[str | Iterable[str], ...]) -> str:
    flat: list[str] = []
    for item in labels:
        flat.extend([item] if isinstance(item, str) else item)
    if not flat:
        raise ValueError(
            "Expected the names of the things to look for, received none. Write for "
            'example detect("cat", "dog").'
        )
    names = [checked_text(label, "label") for label in flat]
    counts = Counter(names)
    for name in names:
        if ";" in name:
            raise ValueError(
                f"Expected one thing per label, received {name!r}: ';' separates "
                "labels. Pass several labels instead."
            )
        if counts[name] > 1:
            raise ValueError(
                f"Expected each label once, received {name!r} {counts[name]} "
                "times. One label finds all its instances."
            )
        if "," in name:
            apart = [part.strip() for part in name.split(",")]
            warnings.warn(
                f"Expected one thing per label, received {name!r}, which is taken as "
                f"one name with a comma in it. Pass {apart!r} for several things.",
                stacklevel=3,
            )
    return " ; ".join(names)


def checked_text(text: str, kind: str) -> str:
    """Return a part of a prompt without blanks around it.

    Args:
        text: What was given.
        kind: What it is, for errors, such as "question".

    Raises:
        TypeError: if it is not text.
        ValueError: if it is empty, has several lines, or holds tokens.
    """
    if not isinstance(text, str):
        raise TypeError(
            f"Expected the {kind} as text (str), received {type(text).__name__}."
        )
    check_unicode(text, f"the {kind}")
    stripped = text.strip()
    if not stripped:
        raise ValueError(f"Expected a {kind}, received an empty text.")
    if "\n" in stripped or "\r" in stripped:
        raise ValueError(
            f"Expected the {kind} on one line, received {stripped!r}: a line break "
            "ends the prompt. Write spaces instead."
        )
    for token in ("<loc", "<seg", *CONTROL_TOKENS):
        if token in stripped:
            raise ValueError(
                f"Expected the {kind} in plain words, received {stripped!r}. Remove "
                f"{token!r}: such tokens are added where they belong."
            )
    return stripped


def _is_inside(box_xyxy: np.ndarray, width: float, height: float) -> bool:
    """Whether float[4] is a box in a picture; a comparison with NaN is False."""
    x1, y1, x2, y2 = box_xyxy.tolist()
    return 0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height and width * height > 0


def _check_language(language: str) -> str:
    if language not in LANGUAGES:
        hint = {"he": "iw", "tl": "fil", "nb": "no", "qu": "quz"}.get(language)
        advice = f" Write {hint!r} for it." if hint else ""
        raise ValueError(
            f"Expected a language code of {', '.join(LANGUAGES)}; received "
            f"{language!r}.{advice}"
        )
    return language
