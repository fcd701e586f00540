"""What an answer and a truth say about things in the picture."""

from __future__ import annotations

import math

import numpy as np

from keras_pg2.checks.texts import short_repr
from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.parsing import parse_detections
from keras_pg2.metrics.metric import Answer, Truth

SIDE = 1024
"""Width and height that stand for those of a picture whose size is not known.

The IoU of two boxes is the same in every size of their picture.
"""


def read_truth(truth: Truth) -> Detections:
    """Return the things of a truth, read from its only text where it has none.

    Raises:
        ValueError: if it has neither things nor one text of them; an empty text says
            that nothing is there.
    """
    if truth.things is not None:
        return truth.things
    if len(truth.answers) != 1:
        raise ValueError(
            "expected boxes as truth, as things or as one text of <loc....> tokens, "
            f"received {len(truth.answers)} texts."
        )
    [text] = truth.answers
    found = parse_detections(text, *width_and_height(truth))
    if text.strip() and not len(found):
        raise ValueError(
            "expected boxes as truth, as things or as one text of <loc....> tokens, "
            f"received the text {short_repr(text)}, which has none."
        )
    return found


def read_answer(answer: Answer, truth: Truth) -> Detections:
    """Return the things of an answer, read from its text where it has none.

    Things from the text have no scores.
    """
    if answer.things is not None:
        return answer.things
    return parse_detections(answer.text, *width_and_height(truth))


def read_scored_answer(answer: Answer, truth: Truth) -> Detections:
    """Return the things of an answer with scores.

    Where things have no scores of their own, all have the mean probability of the
    answer's tokens (their geometric mean).

    Raises:
        ValueError: if there is a thing, and no score and no probability.
    """
    found = read_answer(answer, truth)
    if found.scores is not None:
        return found
    if not len(found):
        score = 0.0
    elif answer.log_probability is None or answer.num_tokens is None:
        raise ValueError(
            "expected scores of the boxes, or the probability of the answer and its "
            "number of tokens, received neither. Average precision ranks boxes by how "
            "sure the model is; ask for scores where the model answers."
        )
    else:
        score = math.exp(answer.log_probability / max(answer.num_tokens, 1))
    return Detections(
        labels=found.labels,
        boxes_xyxy=found.boxes_xyxy,
        masks=found.masks,
        scores=np.full(len(found), min(score, 1.0), np.float32),
    )


def width_and_height(truth: Truth) -> tuple[int, int]:
    """Return the size of the picture; `SIDE` by `SIDE` where it is not known."""
    if truth.size is None:
        return SIDE, SIDE
    height, width = truth.size
    return width, height
