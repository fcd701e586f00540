"""The papers' figures beside a measured one, and how far they may be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from keras_pg2.evaluation.results import Published
from keras_pg2.recipes.published import PAPERS, REPORTED, Reported
from keras_pg2.typing import Architecture

_SIZES = {(2, 2304): "3b", (2, 3584): "10b", (2, 4608): "28b", (1, 2048): "3b"}
"""Of the papers' models, by version and width of the decoder."""


class ModelKind(NamedTuple):
    """Which of the papers' models a network is like.

    Attributes:
        version: 2 for PaliGemma 2, 1 for PaliGemma.
        size: "3b", "10b" or "28b".
        resolution: Height and width of the pictures in pixels.
    """

    version: int
    size: str
    resolution: int


def kind_of(architecture: Architecture) -> ModelKind | None:
    """Return which of the papers' models has an architecture; None for another one."""
    decoder, vision = architecture["text_decoder"], architecture["vision_encoder"]
    version = 2 if decoder["has_post_norms"] else 1
    size = _SIZES.get((version, decoder["hidden_dim"]))
    return None if size is None else ModelKind(version, size, vision["image_size"])


def find_published(
    recipe: str | None,
    data_set: str,
    split: str,
    kind: ModelKind | None,
    metric: str,
    figures: Mapping[str, float],
) -> Published | None:
    """Return what the papers report of a task, for a model of this kind.

    Args:
        recipe: Name of the recipe; None for none.
        data_set: Name of the data set, or a path of one's own.
        split: Name of the split.
        kind: Which of the papers' models it is like; None for none.
        metric: Name of the metric.
        figures: What was measured, by name.

    Returns:
        None where there is no figure for the task, size and resolution. `note` says
        what differs; nothing is left out because of it.
    """
    if kind is None:
        return None
    found = [one for one in _rows(recipe, data_set) if kind in one.figures]
    named = [one for one in found if one.split == split]
    found = named or found
    if not found:
        return None
    shown, spread = {}, {}
    for one in found:
        name = one.figure or metric
        if len(found) > 1 and name in shown:
            name = one.title
        shown[name], deviation = one.figures[kind]
        if deviation is not None:
            spread[name] = deviation
    first = found[0]
    version = "PaliGemma 2" if kind.version == 2 else "PaliGemma"
    source = first.source[kind.version]
    return Published(
        model=f"{version} {kind.size.upper()}, {kind.resolution} px",
        figures=shown,
        deviations=spread,
        source=f"{PAPERS[source[:4]]}, {source[5:]}",
        note=" ".join(_notes(found, recipe, data_set, split, figures, shown)),
    )


def _rows(recipe: str | None, data_set: str) -> list[Reported]:
    """Return the rows of a data set; of one by another name those of its recipe."""
    known = {one.data_set for one in REPORTED}
    if data_set in known:
        return [one for one in REPORTED if one.data_set == data_set]
    own = [one for one in REPORTED if recipe is not None and one.recipe == recipe]
    # The first data set of a recipe is what it is trained on.
    return [one for one in own if one.data_set == own[0].data_set]


def _notes(
    found: list[Reported],
    recipe: str | None,
    data_set: str,
    split: str,
    figures: Mapping[str, float],
    shown: Mapping[str, float],
) -> list[str]:
    first = found[0]
    notes = dict.fromkeys(one.note for one in found if one.note)
    if data_set != first.data_set:
        notes[f"The paper's data set is {first.data_set}, yours has another name."] = (
            None
        )
    splits = {one.split for one in found}
    if splits == {""}:
        notes["The paper's table names no split."] = None
    elif split not in splits:
        of = ", ".join(sorted(splits - {""}))
        notes[f"The paper's split is {of}, this one is {split or 'not named'}."] = None
    if recipe is None or recipe != first.recipe:
        notes["The paper's recipe was not taken."] = None
    other = [name for name in shown if name not in figures]
    if other:
        notes[f"Not measured here: {', '.join(other)}."] = None
    return list(notes)
