"""What a user chooses about a fine-tuning run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_pg2.checks.texts import shown

_MAY_CHANGE = (
    *("patience", "checkpoint_minutes", "checkpoint_steps", "num_samples"),
    *("base_path", "base_adapters"),
)
"""What a resumed run may have otherwise: no number depends on it."""
_SETTLED = {"dropout": 0.0}
"""What a run had before there was a setting, where its default is settled by a plan."""


@dataclass(frozen=True)
class Settings:
    """How to train; None is what the recipe says, or what fits the rows.

    Attributes:
        recipe: name of a transfer task of the papers (`recipes.names()`); None is what
            the papers say to try first.
        epochs: passes over the rows.
        batch_size: rows of a step.
        accumulate: steps whose gradients are averaged to one update of the weights, so
            that an update is that of one batch of `batch_size * accumulate` rows.
        learning_rate: peak of a cosine to 0 after 5 % linear warm-up.
        weight_decay: of AdamW, as Keras has it; 0 is Adam.
        label_smoothing: in [0, 1).
        dropout: in the decoder while it is trained, in [0, 1). None is the network's
            own, or where that has none the recipe's.
        text_length: most tokens of prompt and answer together.
        metric: a name of `metrics.get`; "auto" is by recipe and rows.
        eval_rows: most rows of an evaluation.
        eval_steps: steps from one evaluation to the next; None for one an epoch.
        num_samples: answers that are shown beside the truth.
        patience: evaluations without a better score before training stops; None goes
            on to the end.
        augment: mild crops that boxes follow, and JPEG's traces.
        cache_features: runs the vision tower, which must be frozen, once over each
            picture, keeps what it makes in files and trains on these. In float32 they
            are the very numbers, in bfloat16 but for what is below 6e-5.
        seed: of the order of rows, of augmentations, of dropout, and of what is split
            off.
        checkpoint_minutes: most time from one checkpoint to the next.
        checkpoint_steps: steps likewise; None leaves it to the time. There is one at
            each evaluation and at the end anyway.

    Raises:
        ValueError: for a number out of range, or settings that do not go together;
            names them.
    """

    recipe: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    accumulate: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    dropout: float | None = None
    text_length: int | None = None
    metric: str = "auto"
    eval_rows: int = 200
    eval_steps: int | None = None
    num_samples: int = 3
    patience: int | None = None
    augment: bool = False
    cache_features: bool = False
    seed: int = 0
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "text_length", "eval_steps"):
            self._check(name, 1)
        for name in ("eval_rows", "patience", "checkpoint_steps"):
            self._check(name, 1)
        for name in ("seed", "num_samples", "weight_decay"):
            self._check(name, 0)
        for name in ("learning_rate", "checkpoint_minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"Expected {name} above 0, received {value}.")
        for name in ("label_smoothing", "dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"Expected {name} in [0, 1), received {value}.")
        if self.augment and self.cache_features:
            raise ValueError(
                "Expected either augment or cache_features, received both: the "
                "features kept are of pictures as they are. Leave out --augment or "
                "--cache-features."
            )

    def _check(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is not None and not value >= least:
            raise ValueError(f"Expected {name} >= {least}, received {value}.")

    def as_record(self) -> dict[str, Any]:
        """All settings by name, for JSON."""
        return dataclasses.asdict(self)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of two records differs, in words; what may differ is left out.

    Args:
        before: a record. A setting that it lacks is one that there was not yet, and
            counts as its default.
        now: a record.
    """
    defaults = {**Settings().as_record(), **_SETTLED}
    missing = {name: value for name, value in defaults.items() if name in now}
    before = {**missing, **before}

    def told(name: str) -> str | None:
        value = before.get(name)
        return None if value is None else shown(value)

    return [
        f"{name} was {told(name)} and is {now.get(name)!r}"
        for name in {**before, **now}
        if name not in _MAY_CHANGE and before.get(name) != now.get(name)
    ]
