"""Evaluations of parts of a data set, made into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from keras_pg2 import metrics
from keras_pg2.evaluation.results import Evaluation
from keras_pg2.evaluation.scoring import score_outcomes
from keras_pg2.metrics.metric import Metric

_OF_PARTS = ("figures", "intervals", "outcomes", "failures", "seconds", "published")


def merge(parts: Sequence[Evaluation], metric: Metric | None = None) -> Evaluation:
    """Return the evaluation that one process would have made of all parts.

    Args:
        parts: Evaluations with another `shard` each, all of them, in any order.
        metric: The metric, if it is none of `metrics.get`.

    Raises:
        ValueError: if a part is missing or there twice, parts differ in model, data,
            metric or settings, or both have an example; says which.
    """
    if not parts:
        raise ValueError("Expected evaluations to merge, received none.")
    ordered = sorted(parts, key=_index)
    counts = {_shard(part)[1] for part in parts}
    indices = [_index(part) for part in ordered]
    if counts != {len(parts)} or indices != list(range(len(parts))):
        found = ", ".join("{}/{}".format(*_shard(part)) for part in ordered)
        raise ValueError(
            f"Expected every part of a data set once, as 0/2 and 1/2; received {found}."
        )
    first = ordered[0]
    for part in ordered[1:]:
        _check_same(first, part)
    outcomes = [one for part in ordered for one in part.outcomes]
    settings = {**first.settings, "num_images": _num_images(ordered)}
    del settings["shard"]
    if settings["num_images"] is None:
        del settings["num_images"]
    missing = [name for name in ("num_draws", "level", "seed") if name not in settings]
    if missing:
        raise ValueError(
            "Expected settings of intervals in every part, received none of "
            f"{', '.join(missing)}. Evaluate the parts again."
        )
    scored = score_outcomes(
        metric or metrics.get(first.metric),
        outcomes,
        settings["num_draws"],
        settings["level"],
        settings["seed"],
    )
    return replace(
        first,
        figures=scored.figures,
        intervals=scored.intervals,
        outcomes=scored.outcomes,
        failures=tuple(one for part in ordered for one in part.failures),
        settings=settings,
        seconds=round(sum(part.seconds for part in ordered), 3),
    )


def _num_images(parts: Sequence[Evaluation]) -> int | None:
    counts = {part.settings.get("num_images") for part in parts}
    return counts.pop() if len(counts) == 1 else None


def _shard(part: Evaluation) -> tuple[int, int]:
    shard: Any = part.settings.get("shard")
    if not isinstance(shard, list | tuple) or len(shard) != 2:
        raise ValueError(
            "Expected evaluations of parts of a data set (--shard 0/2), received one "
            f"of all of {part.data_set or 'it'}."
        )
    return int(shard[0]), int(shard[1])


def _index(part: Evaluation) -> int:
    return _shard(part)[0]


def _check_same(first: Evaluation, other: Evaluation) -> None:
    names = [field.name for field in fields(Evaluation) if field.name not in _OF_PARTS]
    changed = [
        name
        for name in names
        if name != "settings" and getattr(first, name) != getattr(other, name)
    ]
    own = {"shard", "num_images"}
    keys = {*first.settings, *other.settings} - own
    changed += [
        key
        for key in sorted(keys)
        if first.settings.get(key) != other.settings.get(key)
    ]
    if changed:
        raise ValueError(
            "Expected parts of one evaluation, received others: "
            f"{', '.join(changed)} differ between shard {_index(first)} and "
            f"{_index(other)}."
        )
