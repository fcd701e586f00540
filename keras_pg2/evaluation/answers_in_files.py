"""Answers to what is asked that are in a file already."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

from keras_pg2.checks.texts import shown
from keras_pg2.evaluation.asking import Asked, Plan
from keras_pg2.evaluation.records import read_records
from keras_pg2.files.json_fields import Fields
from keras_pg2.preprocessing.image_sources import source_name


def answers_of_file(
    path: str | os.PathLike[str], plan: Plan
) -> Mapping[tuple[str, str | None], Fields]:
    """Return a record of every example, by id and prompt.

    Args:
        path: JSON lines of `id` and `text`, as `predict` writes them.
        plan: What was asked.

    Raises:
        ValueError: if it lacks an example, or has an answer about another picture.
        OSError: if it cannot be read.
    """
    found = read_records(path)
    by_id: dict[str, list[Fields]] = {}
    for (name, _), each in found.items():
        by_id.setdefault(name, []).append(each)
    chosen: dict[tuple[str, str | None], Fields] = {}
    missing: list[str] = []
    for one in plan.asked:
        name = str(one.id)
        record: Fields | None = found.get((name, one.prompt))
        if record is None and len(by_id.get(name, ())) == 1:
            # Other programs may have asked in other words.
            [record] = by_id[name]
        if record is None:
            missing.append(name)
            continue
        _check_picture(record, one)
        chosen[name, one.prompt] = record
    if missing:
        raise ValueError(
            f"Expected a prediction for every example in {os.fspath(path)!r}, received "
            f"none for {len(missing)} of {len(plan.asked)}, as {missing[0]!r}. Are "
            "they of this data set and split?"
        )
    unused = len(by_id) - len({name for name, _ in chosen})
    if unused and plan.shard is None:
        warnings.warn(
            f"Expected predictions for the {len(plan.asked)} examples alone, received "
            f"{unused} others in {os.fspath(path)!r}, which are left out.",
            stacklevel=2,
        )
    return chosen


def _check_picture(record: Fields, one: Asked) -> None:
    """Raise ValueError if a prediction names another picture than its example has.

    Folders are not compared, which are others on another machine.
    """
    image = record.value("image", None)
    own = [source_name(each) for each in one.images]
    if not isinstance(image, str) or len(own) != 1 or own[0] is None:
        return
    if os.path.basename(image) != os.path.basename(own[0]):
        raise ValueError(
            f"{record.source}: expected an answer about {own[0]!r}, the picture of the "
            f"example {one.id!r}, received one about {shown(image)}. Are "
            "they of this data set and split?"
        )
