"""Boxes of noise after the instances of an answer.

Source: the transfer to COCO and DocLayNet (PaliGemma 2, arXiv:2412.03555 appendix C):
prompt `detect all classes`; after the objects, boxes with random corners and `<noise>`
for a label fill the answer up to the longest length. Their coordinates have no loss,
their label does. The model learns to go on writing boxes, and how sure it is of each:
`<noise>` is kept from being sampled later, and the probability of the label is the
score. Rows with noise boxes have a fourth entry, "response_parts", the response cut
into what is trained and what is not. As the preprocessor refuses a fourth entry, nobody
trains on random corners by oversight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_pg2.codecs.location_tokens import NUM_BINS, bins_to_text
from keras_pg2.datasets.moving_boxes import JOINT

NOISE_LABEL = "<noise>"


class ResponsePart(NamedTuple):
    """A piece of a response, and whether the loss counts it.

    Pieces meet only beside `<loc....>` tokens, which no tokenizer merges with their
    neighbours, so the pieces have the very tokens of the whole.
    """

    text: str
    is_trained: bool


def with_noise(
    answer: str, count: int, rng: np.random.Generator
) -> tuple[ResponsePart, ...]:
    """The answer and `count` boxes of noise, cut before and after each box."""
    parts = [ResponsePart(answer + JOINT, True)] if answer else []
    for i in range(count):
        # Two different bins on each axis: a box is never without extent.
        (y1, y2), (x1, x2) = (
            np.sort(rng.choice(NUM_BINS, 2, replace=False)) for _ in range(2)
        )
        corners = bins_to_text((y1, x1, y2, x2))
        parts.append(ResponsePart(corners, False))
        end = JOINT if i < count - 1 else ""
        parts.append(ResponsePart(f" {NOISE_LABEL}{end}", True))
    return tuple(parts)
