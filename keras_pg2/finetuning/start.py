"""The call that fine-tunes: checks first, then the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.conversion.adapters.files import ADAPTER_FILE
from keras_pg2.datasets.rows import Row
from keras_pg2.finetuning.description import (
    check_same,
    describe_run,
    find_progress,
)
from keras_pg2.finetuning.evaluation import check_packages
from keras_pg2.finetuning.plan import make_plan
from keras_pg2.finetuning.reporting import Report
from keras_pg2.finetuning.run import LAST, Result, Run
from keras_pg2.finetuning.settings import Settings
from keras_pg2.tasks.adapters.base import open_adapter
from keras_pg2.tasks.training.feature_caching import check_is_frozen


def finetune(
    model: Any,
    rows: Sequence[Row],
    eval_rows: Sequence[Row] = (),
    settings: Settings | None = None,
    output: str | Path = "run",
    *,
    resume: bool = False,
    show_progress: bool = True,
) -> Result:
    """Trains what is trainable in a model, and keeps the best of it.

    In `output` there are then `adapter.safetensors` (`preset/` where whole weights
    were trained), `README.md`, `settings.json`, `log.csv`, `curves.png` (with
    matplotlib), `tensorboard/` (with tensorboardX), and the checkpoints `best/` and
    `last/`. The model has the best weights. Where whole weights were trained it has no
    `score_calibration` any more, in memory and in `preset/`: that was fitted on other
    answers.

    SIGINT or SIGTERM write a checkpoint at the end of the step and return.

    Args:
        model: a `PaliGemma2CausalLM` with a preprocessor; with LoRA (`enable_lora`)
            the adapter is trained, else all that is trainable.
        rows: to train on.
        eval_rows: to evaluate on; without any the last weights are the result.
        settings: how; None for the papers' first try.
        output: a directory that is not there yet, or with `resume` that of the run.
        resume: goes on from the last checkpoint.
        show_progress: says on stderr what happens.

    Returns:
        The evaluations, and whether training came to its end.

    Raises:
        ValueError: for bad settings or rows, or, with `resume`, others than before;
            for `cache_features` with a vision tower that trains; `DivergedError` when
            the loss is no number any more.
        FileExistsError: when there is something at `output`, without `resume`.
        ImportError: when a metric needs a package that is not installed.
        OSError: when a checkpoint cannot be written; the one before it stays.
    """
    folder = Path(output).expanduser()
    before = find_progress(folder / LAST, resume)
    settings = settings or Settings()
    if model.preprocessor is None:
        raise ValueError(
            "Expected a model with a preprocessor, to make arrays of the rows. "
            "Received: preprocessor=None."
        )
    if not model.trainable_variables:
        raise ValueError(
            "Expected a model with something to train, received one that is frozen. "
            "Call enable_lora, or set trainable."
        )
    if settings.cache_features:
        check_is_frozen(model.backbone)
    architecture = model.backbone.architecture
    is_lora = model.adapters.active is not None
    plan = make_plan(
        settings, architecture, model.preprocessor, rows, eval_rows, is_lora
    )
    if eval_rows:
        check_packages(plan.settings.metric)
    record = describe_run(model, plan, rows, eval_rows)
    if before is not None:
        check_same(before, record)
        if is_lora:
            # Another model may have the same name.
            adapter = folder / LAST / ADAPTER_FILE
            open_adapter(adapter, model.backbone, model.adapters.base_name)
    run = Run(model, rows, _chosen(eval_rows, plan.settings), plan, folder, record)
    with (
        _text_length(model, plan.settings.text_length),
        Report(show_progress) as report,
    ):
        return run.do(before, report)


def _chosen(eval_rows: Sequence[Row], settings: Settings) -> list[Row]:
    """At most so many rows as the settings say, the same ones each time."""
    if len(eval_rows) <= settings.eval_rows:
        return list(eval_rows)
    order = np.random.default_rng(settings.seed).permutation(len(eval_rows))
    return [eval_rows[i] for i in sorted(order[: settings.eval_rows])]


@contextmanager
def _text_length(model: Any, length: int | None) -> Iterator[None]:
    before = model.preprocessor.sequence_length
    model.preprocessor.sequence_length = length
    try:
        yield
    finally:
        model.preprocessor.sequence_length = before
