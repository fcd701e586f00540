"""Rows of public data sets, which `--format` calls by their own names."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from string import Formatter

from keras_pg2.datasets.checks import OnBad
from keras_pg2.datasets.detection_rows import EncodeMask
from keras_pg2.datasets.public import registry
from keras_pg2.datasets.public.examples import DataSet
from keras_pg2.datasets.public.rows import rows_of, training_rows
from keras_pg2.datasets.rows import Rows
from keras_pg2.recipes.transfers import TASKS


def find_public(format: str | None, path: Path) -> DataSet | None:
    """Return the data set that a format names, if the path is a directory.

    A file of VQAv2 or TextVQA is read by itself.
    """
    if format is None or not path.is_dir():
        return None
    return registry.DATA_SETS.get(format)


def recipe_of_format(format: str | None, path: Path) -> str | None:
    """Return the recipe of a data set that a format names, if it is trained."""
    data_set = find_public(format, path)
    if data_set is None or data_set.recipe is None:
        return None
    return data_set.recipe if TASKS[data_set.recipe].settings else None


def read_public_rows(
    data_set: DataSet,
    directory: Path,
    split: str,
    *,
    prompt: str | None,
    recipe_prompt: str | None,
    seed: int,
    on_bad: OnBad,
    encode_mask: Callable[[], EncodeMask] | None = None,
) -> Rows:
    """Return the rows of a split, each with what is true of it.

    Options of questions have another order in rows to train on alone.

    Args:
        data_set: The data set.
        directory: Directory of its files.
        split: Name of the split. For "train" the first split of a data set that is to
            train on, for "val" the one to evaluate on, where none is called so.
        prompt: Prompt with names of fields in braces; None for the recipe's.
        recipe_prompt: Prompt of the recipe, taken if the data set has its fields; None
            for that of the data set.
        seed: Seed of the answers that are drawn.
        on_bad: "skip" leaves out what cannot be used.
        encode_mask: Makes the encoder of masks, for data sets with masks.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as `public.read`.
        ValueError: if the prompt has other fields than the data set.
    """
    found = _find_split(data_set, split)
    has_masks = "encode_mask" in signature(data_set.read).parameters
    options = {"encode_mask": encode_mask()} if has_masks and encode_mask else {}
    examples = registry.read(data_set.name, directory, found, on_bad=on_bad, **options)
    if prompt is None and recipe_prompt is not None:
        named = {name for _, name, _, _ in Formatter().parse(recipe_prompt) if name}
        if named and named.issubset(examples[0].fields):
            prompt = recipe_prompt
    if "train" in found.split("_"):
        return rows_of(data_set, examples, prompt=prompt, seed=seed, on_bad=on_bad)
    return training_rows(
        examples,
        data_set.prompt if prompt is None else prompt,
        seed=seed,
        lower_case=data_set.lower_case,
        on_bad=on_bad,
    )


def _find_split(data_set: DataSet, split: str) -> str:
    if split == "val" and split not in data_set.splits:
        return data_set.splits[0]
    if split != "train":
        return split
    found = [name for name in data_set.splits if "train" in name.split("_")]
    if not found:
        raise ValueError(
            f"Expected a split of {data_set.name} to train on (--split), which has "
            f"none that is meant for it. It has: {', '.join(data_set.splits)}."
        )
    return found[0]
