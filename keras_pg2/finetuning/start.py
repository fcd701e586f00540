"""The call that fine-tunes: checks first, then the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2 import metrics
from keras_pg2.conversion.adapters.files import ADAPTER_FILE
from keras_pg2.conversion.adapters.runs import LAST
from keras_pg2.datasets.rows import Row, choose_rows
from keras_pg2.files.whole_files import claimed
from keras_pg2.finetuning.checkpoints import read_progress
from keras_pg2.finetuning.description import (
    CLAIM,
    check_same,
    describe_antialias,
    describe_data,
    describe_model,
    find_progress,
)
from keras_pg2.finetuning.plan import Plan, make_plan
from keras_pg2.finetuning.reporting import Report
from keras_pg2.finetuning.run import Result, Run
from keras_pg2.finetuning.settings import Settings
from keras_pg2.preprocessing.image_converter import resized_with
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.adapters.base import open_adapter
from keras_pg2.tasks.training.feature_caching import check_is_frozen
from keras_pg2.tasks.training.precision import check_trained_dtypes
from keras_pg2.typing import Architecture


def finetune(
    model: PaliGemma2CausalLM,
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
    `score_calibration` and no `decision_calibration` any more, in memory and in
    `preset/`: those were fitted on other answers.

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
            for `cache_features` with a vision tower that trains; for weights in
            bfloat16 or float16 that are to be trained; `DivergedError` when the loss is
            no number any more.
        FileExistsError: when there is something at `output`, without `resume`; when
            another process trains there.
        ImportError: when a metric needs a package that is not installed.
        OSError: when a checkpoint cannot be written; the one before it stays.
    """
    folder = Path(output).expanduser()
    before = find_progress(folder / LAST, resume)
    if model.preprocessor is None:
        raise ValueError(
            "Expected a model with a preprocessor, to make arrays of the rows. "
            "Received: preprocessor=None."
        )
    run = prepare_run(
        folder,
        before,
        settings or Settings(),
        rows,
        eval_rows,
        architecture=model.backbone.architecture,
        preprocessor=model.preprocessor,
        is_lora=model.adapters.active is not None,
        known=describe_model(model),
    )
    return run.train(model, show_progress)


@dataclass(frozen=True)
class PreparedRun:
    """A run that was checked, and needs its model.

    Attributes:
        folder: Directory of the run.
        before: Progress of its last checkpoint; None for a new run.
        plan: What to do.
        rows: Rows to train on.
        eval_rows: Rows to evaluate on.
        record: Data and settings, for the run's files.
    """

    folder: Path
    before: dict[str, Any] | None
    plan: Plan
    rows: Sequence[Row]
    eval_rows: Sequence[Row]
    record: dict[str, Any]

    def train(self, model: PaliGemma2CausalLM, show_progress: bool = True) -> Result:
        """Train what is trainable in a model; see `finetune`."""
        settings = self.plan.settings
        assert model.preprocessor is not None
        model.check_trains()
        check_trained_dtypes(v.dtype for v in model.trainable_variables)
        if settings.cache_features:
            check_is_frozen(model.backbone)
        record = {"model": describe_model(model), **self.record}
        if self.before is not None:
            check_same(self.before, record)
            if model.adapters.active is not None:
                # Another model may have the same name.
                adapter = self.folder / LAST / ADAPTER_FILE
                open_adapter(adapter, model.backbone, model.adapters.base_name)
        # Short rows in training are no reason to cut long answers later.
        lengths = (model.preprocessor.sequence_length, settings.text_length)
        run = Run(
            model=model,
            rows=self.rows,
            eval_rows=_choose(self.eval_rows, settings),
            plan=self.plan,
            folder=self.folder,
            record=record,
            text_length=max(filter(None, lengths)),
        )
        with (
            _only_run(self.folder, self.before),
            _text_length(model.preprocessor, settings.text_length),
            resized_with(model.preprocessor.image_converter, self.plan.antialias[0]),
            Report(show_progress) as report,
        ):
            return run.do(self.before, report)


def prepare_run(
    folder: Path,
    before: dict[str, Any] | None,
    settings: Settings,
    rows: Sequence[Row],
    eval_rows: Sequence[Row],
    *,
    architecture: Architecture,
    preprocessor: PaliGemma2CausalLMPreprocessor,
    is_lora: bool,
    known: Mapping[str, Any],
) -> PreparedRun:
    """Plan a run and check all that can be checked without the model's weights.

    Args:
        folder: Directory of the run.
        before: Progress of its last checkpoint, as `find_progress` gives it.
        settings: What was chosen.
        rows: Rows to train on.
        eval_rows: Rows to evaluate on.
        architecture: Architecture of the network.
        preprocessor: Counts the tokens.
        is_lora: Whether LoRA is trained, not whole weights.
        known: What is known of the model so far, as `describe_model` names it.

    Raises:
        ValueError: for rows that cannot be trained on so, or, if the run goes on, a
            model, data or settings other than before.
        ImportError: if a metric needs a package that is not installed.
    """
    plan = make_plan(settings, architecture, preprocessor, rows, eval_rows, is_lora)
    in_training, at_evaluation = plan.antialias
    if plan.settings.cache_features and in_training != at_evaluation:
        raise ValueError(
            "Expected a recipe together with cache_features (--cache-features) that "
            f"resizes pictures in one way, received {plan.recipe.task!r}: "
            f"{describe_antialias(in_training)} in training, "
            f"{describe_antialias(at_evaluation)} at evaluation. Leave "
            "cache_features out, or take another recipe."
        )
    if eval_rows:
        metrics.get(plan.settings.metric).check()
    record = {
        "data": describe_data(rows, eval_rows),
        "settings": plan.settings.as_record(),
    }
    if before is not None:
        check_same(before, {"model": known, **record})
        if before["step"] > plan.num_steps:
            raise ValueError(
                f"Expected a checkpoint of at most {plan.num_steps} steps in "
                f"{folder / LAST}, as the run has. Received: {before['step']}. Put a "
                "copy of the directory back, or start a new run in another one."
            )
    return PreparedRun(
        folder=folder,
        before=before,
        plan=plan,
        rows=rows,
        eval_rows=eval_rows,
        record=record,
    )


def _choose(eval_rows: Sequence[Row], settings: Settings) -> Sequence[Row]:
    """Return at most as many rows as the settings say, the same ones each time."""
    if len(eval_rows) <= settings.eval_rows:
        return eval_rows
    order = np.random.default_rng(settings.seed).permutation(len(eval_rows))
    return choose_rows(eval_rows, sorted(order[: settings.eval_rows].tolist()))


@contextmanager
def _only_run(folder: Path, before: Mapping[str, Any] | None) -> Iterator[None]:
    """Keep other processes from a run's directory, which is made.

    Raises:
        FileExistsError: if another process has it, or has had it in between.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(claimed(folder / CLAIM))
            now = read_progress(folder / LAST)
            is_as_before = (now or {}).get("step") == (before or {}).get("step")
        except TimeoutError:
            is_as_before = False
        if not is_as_before:
            raise FileExistsError(
                f"Expected a run that no other process trains in {str(folder)!r}. Wait "
                "until it has ended, then go on with it (--resume, resume=True), or "
                "choose another directory."
            )
        yield


@contextmanager
def _text_length(
    preprocessor: PaliGemma2CausalLMPreprocessor, length: int | None
) -> Iterator[None]:
    before = preprocessor.sequence_length
    preprocessor.sequence_length = length
    try:
        yield
    finally:
        preprocessor.sequence_length = before
