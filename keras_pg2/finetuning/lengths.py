"""How many tokens rows have, and whether they fit."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_pg2.catalogue.architecture import num_image_tokens
from keras_pg2.datasets.rows import Row, Rows, choose_rows, source_of
from keras_pg2.preprocessing.examples import num_pictures
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.typing import Architecture

CONTEXT_LENGTH = 8192
"""Of Gemma and Gemma 2, image tokens included (arXiv:2408.00118, table 1)."""


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of rows: int[N], of prompts with start and separator, and of all."""

    prompts: np.ndarray
    totals: np.ndarray


def count_tokens(
    rows: Sequence[Row], preprocessor: PaliGemma2CausalLMPreprocessor
) -> TokenCounts:
    """How long rows are, without the end token, which needs no place of its own."""
    prompts = preprocessor.generate_preprocess([row["prompts"] for row in rows])
    counts = prompts["padding_mask"].sum(axis=1)
    answers = preprocessor.tokenizer.tokenize([row["responses"] for row in rows])
    return TokenCounts(counts, counts + [len(answer) for answer in answers])


def leave_out_long(
    rows: Rows, preprocessor: PaliGemma2CausalLMPreprocessor, text_length: int
) -> Rows:
    """The rows whose prompts fit; the others are among those skipped.

    Raises:
        ValueError: when none is left.
    """
    counts = count_tokens(rows, preprocessor).prompts
    fits = counts <= text_length
    skipped = [
        f"{source_of(rows, i)}: expected a prompt of at most {text_length} tokens, "
        f"received {counts[i]}."
        for i in np.flatnonzero(~fits).tolist()
    ]
    if not fits.any():
        raise ValueError(
            f"Expected prompts of at most {text_length} tokens, received none that "
            "fits. Raise text_length (--text-length)."
        )
    places = np.flatnonzero(fits).tolist()
    return choose_rows(rows, places, [*rows.skipped, *skipped])


def check_lengths(
    lengths: TokenCounts,
    text_length: int,
    architecture: Architecture,
    rows: Sequence[Row],
) -> None:
    """Sees that rows fit.

    Raises:
        ValueError: when a prompt does not, or the network's context is too short. An
            answer that will be cut only warns.
    """
    num_images = max(num_pictures(row["images"]) for row in rows)
    room = CONTEXT_LENGTH - num_images * num_image_tokens(
        **architecture["vision_encoder"]
    )
    if text_length > room:
        raise ValueError(
            f"Expected a text length of at most {room}, beside the image tokens in a "
            f"context of {CONTEXT_LENGTH}; received {text_length}. Lower text_length "
            "(--text-length)."
        )
    needed = int(lengths.totals.max())
    num_long = int((lengths.prompts > text_length).sum())
    if num_long:
        raise ValueError(
            f"Expected prompts of at most {text_length} tokens, received {num_long} "
            f"longer ones; the longest has {int(lengths.prompts.max())}. A prompt is "
            f"never cut: raise text_length (--text-length {needed} fits all rows)."
        )
    num_cut = int((lengths.totals > text_length).sum())
    if num_cut:
        warnings.warn(
            f"Expected rows of at most {text_length} tokens, received {num_cut} longer "
            "ones, whose answers will be cut. Raise text_length (--text-length "
            f"{needed} fits all rows).",
            stacklevel=2,
        )
