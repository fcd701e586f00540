"""Fine-tuning: from rows to an evaluated adapter, from any step on.

`model.fit` trains one stretch of steps after another, up to the next checkpoint or
evaluation. What a stretch begins with (weights, optimizer, random generators, the
number of steps done) is what a checkpoint holds, so a run that was stopped goes on with
the numbers that it would have had.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_pg2 import metrics
from keras_pg2.conversion.adapters.files import ADAPTER_FILE
from keras_pg2.conversion.adapters.runs import BEST, LAST, PRESET, SETTINGS_FILE
from keras_pg2.datasets.augmentations import Augmentation, JpegJitter, LightCrop
from keras_pg2.datasets.loading import RowReader
from keras_pg2.datasets.order import EpochOrder
from keras_pg2.datasets.rows import Row
from keras_pg2.files.whole_files import replaced, staged, write_text
from keras_pg2.finetuning.checkpoints import (
    DivergedError,
    restore_state,
    restore_weights,
    write_checkpoint,
)
from keras_pg2.finetuning.description import find_progress, plan_lines
from keras_pg2.finetuning.evaluation import evaluate
from keras_pg2.finetuning.features import describe_features, kept_features
from keras_pg2.finetuning.logs import (
    CURVES_FILE,
    LOG_FILE,
    TENSORBOARD_FOLDER,
    StepLog,
    TensorBoardLog,
    draw_curves,
    read_log,
)
from keras_pg2.finetuning.model_card import write_model_card
from keras_pg2.finetuning.objective import compile_for
from keras_pg2.finetuning.plan import Plan
from keras_pg2.finetuning.reporting import Report
from keras_pg2.finetuning.steps import Interruption, Step, StepBatches, StepRecorder
from keras_pg2.preprocessing.image_converter import resized_with
from keras_pg2.tasks import PaliGemma2CausalLM


class Result(NamedTuple):
    """What a run came to.

    Attributes:
        output: its directory.
        step: steps done.
        num_steps: steps of the whole run.
        is_finished: False when it was interrupted; call again with `resume=True`.
        evaluations: dicts of step, epoch, metric, loss, accuracy, score.
        best: the evaluation whose weights are kept; None without evaluation rows.
    """

    output: Path
    step: int
    num_steps: int
    is_finished: bool
    evaluations: list[dict[str, Any]]
    best: dict[str, Any] | None


@dataclass
class Run:
    """A run on its way.

    Attributes:
        model: is trained.
        rows: to train on.
        eval_rows: to evaluate on, no more than the settings say.
        plan: what to do.
        folder: of everything that is written.
        record: what the run is, for its files.
        text_length: number of text tokens of the preset that is written.
        step: steps done.
        evaluations: so far.
        best: of these; None for none.
    """

    model: PaliGemma2CausalLM
    rows: Sequence[Row]
    eval_rows: Sequence[Row]
    plan: Plan
    folder: Path
    record: dict[str, Any]
    text_length: int
    step: int = 0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None

    def do(self, before: dict[str, Any] | None, report: Report) -> Result:
        """Trains to the end, from a checkpoint's progress on or from the start."""
        lines = plan_lines(self.model, self.plan, self.record, self.folder)
        if self.plan.settings.cache_features:
            rows = self._all_rows
            lines["image features"] = describe_features(self.model, rows, self.folder)
        report.show_plan(lines)
        self.folder.mkdir(parents=True, exist_ok=True)
        compile_for(self.model, self.plan)
        if before is None:
            text = json.dumps(self.record, indent=2)
            write_text(text + "\n", self.folder / SETTINGS_FILE)
            seed = self.plan.settings.seed % 2**31
            noise = self.model.backbone.text_decoder.noise
            noise.generator.state.assign(np.array([seed, 0]))
            self._write_checkpoint()
        else:
            self.step = before["step"]
            self.evaluations, self.best = before["evaluations"], before["best"]
            restore_state(self.folder / LAST, self.model)
            report.say(f"Going on from step {self.step}.")
        log = StepLog(self.folder / LOG_FILE, self.step)
        events = TensorBoardLog(self.folder / TENSORBOARD_FOLDER, self.step)
        interruption = Interruption()
        try:
            # Features come first, so that Ctrl-C ends at once while they are made.
            with self._features(report), interruption.watched(), self._dropout():
                report.start(self.step, self.plan.num_steps)
                is_finished = self._train(log, events, interruption, report)
        finally:
            log.close()
            events.close()
        if is_finished:
            self._finish()
            report.say(f"Done: {self.folder / self._product}")
        else:
            report.say(f"Stopped after step {self.step}. Go on with --resume.")
        return Result(
            self.folder,
            self.step,
            self.plan.num_steps,
            is_finished,
            self.evaluations,
            self.best,
        )

    def _train(
        self,
        log: StepLog,
        events: TensorBoardLog,
        interruption: Interruption,
        report: Report,
    ) -> bool:
        """Stretch after stretch; False when it was interrupted."""
        while True:
            if self._is_evaluation_due():
                self._evaluate(events, report)
                self._write_checkpoint()
            if self.step == self.plan.num_steps or self._has_lost_patience():
                if not self.eval_rows:
                    self._write_checkpoint()
                return True
            if interruption.is_requested:
                return False
            self._train_stretch(log, events, interruption, report)
            if interruption.is_requested or not self._is_evaluation_due():
                self._write_checkpoint()

    @contextmanager
    def _dropout(self) -> Iterator[None]:
        """The decoder's is the plan's for as long as it is trained."""
        decoder = self.model.backbone.text_decoder
        before = decoder.dropout
        decoder.set_dropout(self.plan.settings.dropout or 0.0)
        # A compiled step has the dropout that it was compiled with.
        self.model.train_function = None
        try:
            yield
        finally:
            decoder.set_dropout(before)
            self.model.train_function = None

    @property
    def _all_rows(self) -> list[Row]:
        return [*self.rows, *self.eval_rows]

    def _features(self, report: Report) -> AbstractContextManager[None]:
        if not self.plan.settings.cache_features:
            return nullcontext()
        return kept_features(self.model, self._all_rows, self.folder, report)

    def _train_stretch(
        self,
        log: StepLog,
        events: TensorBoardLog,
        interruption: Interruption,
        report: Report,
    ) -> None:
        plan, settings = self.plan, self.plan.settings
        batch_size = settings.batch_size or 1
        start = time.monotonic()

        def tell(step: Step) -> None:
            log.add(step)
            events.add({"loss": step.loss, "accuracy": step.accuracy}, step.step)
            events.add({"learning_rate": step.learning_rate}, step.step)
            report.show_step(step, batch_size)

        def is_enough() -> bool:
            minutes = (time.monotonic() - start) / 60
            return interruption.is_requested or minutes > settings.checkpoint_minutes

        recorder = StepRecorder(
            self.step, plan.steps_per_epoch, plan.schedule(), tell, is_enough
        )
        batches = StepBatches(self._reader(), self.step, self._next_stop())
        self.model.fit(batches, epochs=1, verbose=0, callbacks=[recorder])
        if recorder.last is not None and not math.isfinite(recorder.last.loss):
            raise self._diverged(recorder.last)
        self.step = recorder.step

    def _next_stop(self) -> int:
        """Where the next stretch ends, if nobody asks for it earlier."""
        every = [self.plan.num_steps]
        if self.eval_rows:
            every.append(self.plan.eval_steps)
        if self.plan.settings.checkpoint_steps:
            every.append(self.plan.settings.checkpoint_steps)
        stops = [(self.step // steps + 1) * steps for steps in every]
        return min(*stops, self.plan.num_steps)

    def _reader(self) -> RowReader:
        settings = self.plan.settings
        order = EpochOrder(
            len(self.rows),
            settings.batch_size or 1,
            seed=settings.seed,
            drop_remainder=True,
        )
        changes: list[Augmentation] = [LightCrop(), JpegJitter()]
        return RowReader(self.rows, order, changes if settings.augment else ())

    def _is_evaluation_due(self) -> bool:
        if not self.eval_rows or self.step == 0:
            return False
        is_at_interval = self.step % self.plan.eval_steps == 0
        is_new = not self.evaluations or self.evaluations[-1]["step"] < self.step
        return is_new and (is_at_interval or self.step == self.plan.num_steps)

    def _evaluate(self, events: TensorBoardLog, report: Report) -> None:
        settings = self.plan.settings
        metric = settings.metric
        result = evaluate(
            self.model,
            self.eval_rows,
            metric,
            settings.batch_size or 1,
            settings.num_samples,
            num_beams=self.plan.recipe.num_beams,
            antialias=self.plan.antialias[1],
        )
        found = {
            "step": self.step,
            "epoch": round(self.step / self.plan.steps_per_epoch, 4),
            "metric": metric,
            "loss": result.loss,
            "accuracy": result.accuracy,
            "score": result.score,
        }
        is_best = self.best is None or _rank(found) > _rank(self.best)
        self.evaluations.append(found)
        if is_best:
            self.best = found
            self._write_checkpoint(BEST)
        values = {"loss": result.loss, "accuracy": result.accuracy}
        values[metric] = result.score
        scores = {f"evaluation/{name}": value for name, value in values.items()}
        events.add(scores, self.step)
        report.show_evaluation(found, result.samples, is_best)

    def _has_lost_patience(self) -> bool:
        patience = self.plan.settings.patience
        if patience is None or self.best is None:
            return False
        later = [one for one in self.evaluations if one["step"] > self.best["step"]]
        return len(later) >= patience

    def _write_checkpoint(self, name: str = LAST) -> None:
        progress = {
            "step": self.step,
            "evaluations": self.evaluations,
            "best": self.best,
            **self.record,
        }
        try:
            write_checkpoint(self.folder / name, self.model, progress, name == LAST)
        except DivergedError as error:
            raise DivergedError(
                f"{error} after step {self.step}. {self._advice()}"
            ) from error

    def _diverged(self, last: Step) -> DivergedError:
        return DivergedError(
            f"Expected a finite loss, received {last.loss} at step {last.step} with a "
            f"learning rate of {last.learning_rate:.3g}. {self._advice()}"
        )

    def _advice(self) -> str:
        kept = find_progress(self.folder / LAST, resume=True)
        step = 0 if kept is None else kept["step"]
        return (
            f"The last good checkpoint stays in {self.folder / LAST}, of step {step}. "
            f"Train anew with a lower learning rate than "
            f"{self.plan.settings.learning_rate:.3g}, and in float32, bfloat16 or "
            "mixed_bfloat16 instead of float16."
        )

    @property
    def _product(self) -> str:
        return ADAPTER_FILE if self.record["model"]["lora"] else PRESET

    def _finish(self) -> None:
        """Makes the result of the best checkpoint, and writes about it."""
        chosen = self.folder / (LAST if self.best is None else BEST)
        restore_weights(chosen, self.model)
        if self._product == ADAPTER_FILE:
            with staged(self.folder / ADAPTER_FILE, overwrite=True) as part:
                shutil.copyfile(chosen / ADAPTER_FILE, part)
        else:
            # They were fitted on the answers of the base, which is gone.
            self.model.score_calibration = None
            self.model.decision_calibration = None
            assert self.model.preprocessor is not None
            self.model.preprocessor.sequence_length = self.text_length
            converter = self.model.preprocessor.image_converter
            with (
                replaced(self.folder / PRESET) as part,
                resized_with(converter, self.plan.antialias[1]),
            ):
                self.model.save_to_preset(part)
        steps = read_log(self.folder / LOG_FILE)
        draw_curves(self.folder / CURVES_FILE, steps, self.evaluations)
        prompt = self.rows[0]["prompts"]
        write_model_card(self.folder, self.record, self.evaluations, self.best, prompt)


def _rank(evaluation: dict[str, Any]) -> tuple[float, float]:
    """By the metric, among equals by the loss; NaN is the worst."""
    score = evaluation["score"]
    if not metrics.get(evaluation["metric"]).is_higher_better:
        score = -score
    return (-math.inf if math.isnan(score) else score, -evaluation["loss"])
