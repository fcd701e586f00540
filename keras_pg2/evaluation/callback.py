"""Evaluations during `fit`, whose figures are logged as Keras logs its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.datasets.public.examples import Example
from keras_pg2.evaluation.asking import Mode, make_plan
from keras_pg2.evaluation.evaluating import evaluate_plan
from keras_pg2.evaluation.results import Evaluation
from keras_pg2.metrics.metric import Metric
from keras_pg2.recipes import Recipe


class EvaluationCallback(keras.callbacks.Callback):
    """Evaluates a `PaliGemma2CausalLM` at the end of epochs.

        callback = EvaluationCallback(examples, "anls", prompt="{question}")
        history = model.fit(rows, epochs=5, callbacks=[callback])
        history.history["val_anls"]

    Each figure is in the logs under its name with `val_` before it, so that `History`
    and callbacks after this one have it, as `EarlyStopping(monitor="val_anls",
    mode="max")`. The model is asked as `evaluate` asks it, and goes on as it was.

    Args:
        examples: As for `evaluate`.
        metric: As for `evaluate`.
        prompt: As for `evaluate`.
        recipe: As for `evaluate`.
        every: Epochs from one evaluation to the next; the last epoch always has one.
        mode: As for `evaluate`.
        batch_size: As for `evaluate`.
        max_new_tokens: As for `evaluate`.
        num_draws: Draws of intervals of the evaluations kept here; 0 computes none.

    Attributes:
        evaluations: The epoch, from 0, and what was found, of each evaluation.

    Raises:
        TypeError, ValueError, OSError, ImportError: as `evaluate`, at once.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        metric: str | Metric | None = None,
        prompt: str | None = None,
        recipe: str | Recipe | None = None,
        *,
        every: int = 1,
        mode: Mode | Literal["auto"] = "auto",
        batch_size: int = 8,
        max_new_tokens: int | None = None,
        num_draws: int = 0,
    ) -> None:
        super().__init__()
        self.every = check_at_least_one("every", every)
        self.evaluations: list[tuple[int, Evaluation]] = []
        self._batch_size = check_at_least_one("batch_size", batch_size)
        self._num_draws = num_draws
        self._plan = make_plan(
            examples,
            metric,
            prompt,
            recipe,
            mode=mode,
            max_new_tokens=max_new_tokens,
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, and add the figures to the logs."""
        epochs = (self.params or {}).get("epochs")
        if (epoch + 1) % self.every and epoch + 1 != epochs:
            return
        found = evaluate_plan(
            self.model,
            self._plan,
            batch_size=self._batch_size,
            num_draws=self._num_draws,
            show_progress=False,
        )
        self.evaluations.append((epoch, found))
        if logs is not None:
            logs |= {f"val_{name}": value for name, value in found.figures.items()}
