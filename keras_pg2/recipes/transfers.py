"""The transfer tasks of transfers.toml as records."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from keras_pg2.recipes.record import METRICS, RESOLUTIONS, SIZES, Settings, Task


def read_tasks(path: Path) -> dict[str, Task]:
    """Return the tasks of a TOML file by name, in the order of the file.

    Raises:
        ValueError: if a key is unknown or missing, or a metric, resolution or size is
            unknown; names the task.
    """
    tables = tomllib.loads(path.read_text("utf-8"))
    return {name: _read_task(name, table) for name, table in tables.items()}


def _read_task(name: str, table: Mapping[str, Any]) -> Task:
    values: dict[str, Any] = {"settings": {}, "learning_rates": {}, **table}
    _check_keys(name, "keys", values, Task)
    _check(name, "metric", [values["metric"]], METRICS)
    _check(name, "sizes in learning_rates", values["learning_rates"], SIZES)
    values["learning_rates"] = {
        size: tuple(rates) for size, rates in values["learning_rates"].items()
    }
    values["settings"] = _read_settings(name, values["settings"])
    if "antialias" in values:
        values["antialias"] = tuple(values["antialias"])
    return Task(name=name, **values)


def _read_settings(
    name: str, tables: Mapping[str, Mapping[str, Any]]
) -> dict[int, Settings]:
    """Return settings by resolution, from keys such as "224" and "224, 448"."""
    settings: dict[int, Settings] = {}
    for key, table in tables.items():
        resolutions = key.split(", ")
        _check(name, "resolutions in settings", resolutions, map(str, RESOLUTIONS))
        _check_keys(name, f"keys of settings at {key}", table, Settings)
        settings |= dict.fromkeys(map(int, resolutions), Settings(**table))
    return settings


def _check_keys(
    name: str, what: str, table: Mapping[str, Any], record: type[Task | Settings]
) -> None:
    keys = {field.name: field.default for field in fields(record)}
    keys.pop("name", None)  # Stands in the header of the table.
    _check(name, what, table, keys)
    missing = [
        key for key, value in keys.items() if value is MISSING and key not in table
    ]
    if missing:
        raise ValueError(
            f"Expected {what} in task {name!r} with {', '.join(missing)}; received "
            f"{', '.join(table)}. Add what is missing."
        )


def _check(name: str, what: str, received: Iterable[str], known: Iterable[str]) -> None:
    known = tuple(known)
    unknown = [each for each in received if each not in known]
    if unknown:
        raise ValueError(
            f"Expected {what} in task {name!r} from {', '.join(known)}; received "
            f"{', '.join(unknown)}. Correct the spelling."
        )


TASKS = read_tasks(Path(__file__).with_name("transfers.toml"))
"""All tasks by name."""
