"""Which examples `evaluate` asks, and what their data set says of prompt and metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_pg2.datasets.public.examples import Examples
    from keras_pg2.evaluation.asking import Shard
    from keras_pg2.recipes import Recipe

_LINES = (".jsonl", ".ndjson")
"""Endings of files of one's own examples, with all their answers."""
_BOXES = "coco_ap"
"""The metric of files that have boxes and no answers."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked; the options of the command."""

    data: Path
    data_set: str | None
    split: str | None
    limit: int | None
    skip_bad: bool
    recipe: str | None
    prompt: str | None
    metric: str | None
    mode: Any
    num_beams: int | None
    max_new_tokens: int | None
    antialias: bool | None
    max_detections: int
    shard: Shard | None


@dataclass(frozen=True, kw_only=True)
class DataRead:
    """Examples, and what is settled with them.

    Attributes:
        examples: The examples.
        name: Name or path of the data set.
        split: Name of the split; "" for data without splits.
        asked: Prompt, metric and recipe.
        notes: What else was decided.
    """

    examples: Examples
    name: str
    split: str
    asked: dict[str, str | None]
    notes: Sequence[str] = ()


def read_data(asking: Asking) -> DataRead:
    """Return the examples, with prompt, metric and recipe as far as they are settled.

    Raises:
        ValueError, OSError: if they cannot be read; names file and entry.
    """
    from keras_pg2 import recipes
    from keras_pg2.datasets.public import registry
    from keras_pg2.finetuning.file_formats import FORMATS, find_format
    from keras_pg2.finetuning.public_rows import find_public

    recipe = None if asking.recipe is None else recipes.get(asking.recipe)
    on_bad: Any = "skip" if asking.skip_bad else "raise"
    name = asking.data_set
    if name is None and recipe is not None and asking.data.is_dir():
        name = recipe.task if recipe.task in registry.DATA_SETS else None
    if name is None and asking.data.suffix.lower() in _LINES:
        name = "jsonl"
    _check_is_there(asking.data, name)
    format = name or find_format(asking.data, option="--data-set")
    if name is None and format == "coco":
        name = format
    is_read_here = name in ("jsonl", "coco") or find_public(name, asking.data)
    if name is None or (name in FORMATS and not is_read_here):
        return _read_rows(asking, format, recipe, on_bad)
    found = registry.find(name)
    split = found.splits[0] if asking.split is None else asking.split
    asked = _asked(asking, recipe)
    is_its_own = recipe is None or recipe.task == found.recipe
    if is_its_own:
        asked = {
            "prompt": asking.prompt or found.prompt,
            "metric": asking.metric or found.metric,
            "recipe": found.recipe,
        }
    options: dict[str, Any] = {}
    if asking.limit and "count" in signature(found.read).parameters:
        options["count"] = asking.limit  # No more than these is drawn.
    examples = registry.read(name, asking.data, split, on_bad=on_bad, **options)
    examples = examples[: asking.limit]
    notes = []
    if (
        name == "jsonl"
        and is_its_own
        and asking.metric is None
        and _has_boxes(examples)
    ):
        asked["metric"] = _BOXES
        notes = [f"All examples have boxes and none an answer: metric {_BOXES}"]
    is_file = asking.data.is_file()
    if is_file and name == "jsonl":
        asked["prompt"] = asking.prompt or _prompt_of(examples, recipe)
    return DataRead(
        examples=examples,
        name=str(asking.data) if is_file else name,
        split="" if is_file else split,
        asked=asked,
        notes=notes,
    )


def _asked(asking: Asking, recipe: Recipe | None) -> dict[str, str | None]:
    """Return what the command alone settles."""
    return {
        "prompt": asking.prompt,
        "metric": asking.metric,
        "recipe": None if recipe is None else recipe.task,
    }


def _check_is_there(data: Path, name: str | None) -> None:
    from keras_pg2.datasets.public import registry

    if data.exists():
        return
    known = registry.DATA_SETS.get(name or "")
    if known is not None and "count" in signature(known.read).parameters:
        return  # It is drawn into the directory.
    raise FileNotFoundError(
        "Expected the directory of a public data set or a file of examples (--data), "
        f"but there is no {str(data)!r}. Check its path."
    )


def _has_boxes(examples: Examples) -> bool:
    """Return whether all examples have boxes and no answers."""
    truths = [example.truth for example in examples]
    return all(truth.things is not None and not truth.answers for truth in truths)


def _read_rows(
    asking: Asking, format: str, recipe: Recipe | None, on_bad: Any
) -> DataRead:
    """Return examples of a file or folder that `finetune` reads, of a kind of it."""
    from keras_pg2.evaluation.rows import examples_of
    from keras_pg2.finetuning import read_rows
    from keras_pg2.finetuning.file_formats import MASKS

    if format.endswith(MASKS):
        boxes = format.removesuffix(MASKS)
        raise ValueError(
            f"Expected --data-set {boxes}, whose boxes are evaluated, received "
            f"{format!r}. Masks of one's own are evaluated in Python (evaluate)."
        )
    split = asking.split or ""
    options: dict[str, Any] = {}
    if format == "yolo":  # Which names a split "train", too.
        options["split"] = split = split or "val"
    elif split:
        raise ValueError(
            "Expected --split with a public data set or a YOLO folder (--data-set), "
            f"received it with {str(asking.data)!r}. Leave it out."
        )
    rows = read_rows(
        asking.data,
        format=format,
        prompt=asking.prompt,
        recipe=recipe,
        on_bad=on_bad,
        **options,
    )
    # Rows have their prompts filled in.
    asked = _asked(asking, recipe) | {"prompt": "{prompt}"}
    if format in ("yolo", "labelme") and recipe is None and asking.metric is None:
        asked["metric"] = _BOXES
    return DataRead(
        examples=examples_of(rows)[: asking.limit],
        name=str(asking.data),
        split=split,
        asked=asked,
    )


def _prompt_of(examples: Examples, recipe: Recipe | None) -> str:
    """Return the recipe's prompt if all lines have what it names, or their own."""
    if recipe is not None:
        names = {name for _, name, _, _ in Formatter().parse(recipe.prompt) if name}
        if names and all(names <= example.fields.keys() for example in examples):
            return recipe.prompt
    return "{prompt}"
