"""Data sets of the papers' transfer tasks, with prompt and metric of the recipe."""

from __future__ import annotations

from typing import Any

from keras_pg2.datasets.public.examples import DataSet
from keras_pg2.recipes.transfers import TASKS


def transfer(recipe: str, **values: Any) -> DataSet:
    """Return a data set that has prompt and metric of a recipe.

    Args:
        recipe: Name of the recipe.
        values: What else a `DataSet` has; `name` is that of the recipe if left out.
    """
    task = TASKS[recipe]
    of_task = {"name": recipe, "prompt": task.prompt, "metric": task.metric}
    return DataSet(recipe=recipe, **{**of_task, **values})
