"""Rows of fine-tuning as examples, whose only right answer is mostly their response."""

from __future__ import annotations

from collections.abc import Sequence

from keras_pg2.datasets.public.examples import Example, Examples
from keras_pg2.datasets.rows import Row, source_of, truth_of


def examples_of(rows: Sequence[Row]) -> Examples:
    """Return an example of each row, whose id is the row's index.

    The prompt is the field "prompt"; the truth is the row's own where `Rows` has one.

    Args:
        rows: Rows of images, prompts and responses.
    """
    examples = []
    for index, row in enumerate(rows):
        images = row["images"]
        examples.append(
            Example(
                id=index,
                images=tuple(images) if isinstance(images, list) else images,
                truth=truth_of(rows, index),
                fields={"prompt": row["prompts"]},
                response=row["responses"],
            )
        )
    return Examples(
        examples,
        getattr(rows, "skipped", ()),
        [source_of(rows, index) for index in range(len(rows))],
    )
