"""Rows to train on and rows to evaluate on, of different pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import Any

import numpy as np

from keras_pg2.datasets.rows import Rows, choose_rows, paths_of
from keras_pg2.finetuning.near_copies import group_copies
from keras_pg2.preprocessing.image_sources import source_name


def split_rows(rows: Rows, share: float, seed: int = 0) -> tuple[Rows, Rows]:
    """Training rows, and evaluation rows of other pictures.

    Copies of a picture stay on one side: augmented ones by the names that Roboflow
    gives them (`NAME_jpg.rf.HASH.jpg`), and pictures that look the same at 16 x 16
    pixels. So do all pictures of a row. How many there are is in `notes` of the
    training rows.

    Args:
        rows: all rows.
        share: of the pictures that are for evaluation, above 0 and below 1; at least
            one on both sides. Copies may make it less or more.
        seed: of the choice.

    Raises:
        ValueError: for a share out of range, or fewer than two pictures that are not
            copies of one another.
    """
    if not 0 < share < 1:
        raise ValueError(f"Expected a share above 0 and below 1, received {share}.")
    pictures = {_key(image): image for row in rows for image in paths_of(row)}
    # Those of one row are on one side, so the first stands for all.
    indices = {key: index for index, key in enumerate(pictures)}
    keys = [_key(paths_of(row)[0]) for row in rows]
    together = [
        (indices[first], indices[_key(image)])
        for first, row in zip(keys, rows)
        for image in paths_of(row)[1:]
    ]
    if len(pictures) < 2:
        raise ValueError(
            f"Expected at least two pictures to split, received {len(pictures)}. Pass "
            "evaluation rows of their own (--eval-data)."
        )
    found = group_copies(list(pictures.values()), together)
    groups: dict[int, list[Hashable]] = defaultdict(list)
    for key, group in zip(pictures, found):
        groups[group].append(key)
    if len(groups) < 2:
        raise ValueError(
            "Expected at least two pictures to split that are not copies of one "
            f"another, received {len(pictures)} that all look the same. Pass "
            "evaluation rows of their own (--eval-data)."
        )
    chosen = _choose(list(groups.values()), share, seed)
    kept = [i for i, key in enumerate(keys) if key not in chosen]
    split = [i for i, key in enumerate(keys) if key in chosen]
    notes = list(rows.notes)
    num_bound = len(pictures) - len(groups)
    if num_bound:
        notes.append(
            "Pictures on one side with others, as copies by name or by look or as "
            f"pictures of one row: {num_bound} of {len(pictures)}."
        )
    return (
        choose_rows(rows, kept, rows.skipped, notes),
        choose_rows(rows, split, notes=()),
    )


def _key(image: Any) -> Hashable:
    """Return what tells one picture from another: its name, or the object itself."""
    return source_name(image) or id(image)


def _choose(groups: list[list[Hashable]], share: float, seed: int) -> set[Hashable]:
    """Draw groups until they have the share of all pictures, or nearly so."""
    total = sum(map(len, groups))
    wanted = min(max(1, round(share * total)), total - 1)
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    chosen: list[list[Hashable]] = []
    num_chosen = 0
    for group in (groups[i] for i in order):
        if num_chosen + len(group) <= wanted:
            chosen.append(group)
            num_chosen += len(group)
    if not chosen:  # All groups are larger.
        chosen = [min((groups[i] for i in order), key=len)]
    return {key for group in chosen for key in group}
