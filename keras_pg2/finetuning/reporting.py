"""What a run says while it goes: its plan, a bar of steps, scores, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from keras_pg2.checks.texts import printable
from keras_pg2.finetuning.evaluation import Sample
from keras_pg2.finetuning.steps import Step

_SHOWN_CHARACTERS = 160


class Report(AbstractContextManager["Report"]):
    """Speaks to stderr; the bar is only on terminals.

    Args:
        is_shown: False says nothing.
    """

    def __init__(self, is_shown: bool = True) -> None:
        self.is_shown = is_shown
        self._console = Console(
            stderr=True, quiet=not is_shown, highlight=False, soft_wrap=True
        )
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (is_shown and self._console.is_terminal),
        )
        self._task: Any = None
        self._pictures: Any = None

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """A line."""
        self._console.print(Text(printable(text)))

    def show_plan(self, lines: Mapping[str, str]) -> None:
        """What will be done, by names."""
        table = Table(show_header=False, box=None, pad_edge=False)
        for name, value in lines.items():
            table.add_row(Text(printable(name)), Text(printable(value)))
        self._console.print(table)

    def start(self, step: int, num_steps: int) -> None:
        """Shows the bar, `step` of `num_steps` done."""
        self._task = self._bar.add_task(
            "Training", total=num_steps, completed=step, figures=""
        )
        self._bar.start()

    def show_pictures(self, done: int, total: int) -> None:
        """Moves a bar of pictures whose features are computed."""
        if self._pictures is None:
            self._pictures = self._bar.add_task("Pictures", total=total, figures="")
            self._bar.start()
        self._bar.update(self._pictures, completed=done)

    def show_step(self, step: Step, num_rows: int) -> None:
        """Moves the bar; `num_rows` were in the step."""
        rate = num_rows / max(step.seconds, 1e-9)
        figures = f"epoch {step.epoch}, loss {step.loss:.4f}, {rate:.1f} rows/s"
        self._bar.update(self._task, completed=step.step, figures=figures)

    def show_evaluation(
        self, evaluation: Mapping[str, Any], samples: Sequence[Sample], is_best: bool
    ) -> None:
        """Scores of a step, and answers beside the truth."""
        metric = evaluation["metric"]
        text = (
            f"step {evaluation['step']}, epoch {evaluation['epoch']:.1f}: evaluation "
            f"loss {evaluation['loss']:.4f}, token accuracy "
            f"{evaluation['accuracy']:.4f}, {metric} {evaluation['score']:.4f}"
        )
        self.say(text + (" (best)" if is_best else ""))
        for sample in samples:
            self.say(f"  {_short(sample.prompt)}")
            self.say(f"    truth   {_short(sample.truth)}")
            self.say(f"    answer  {_short(sample.answer)}")


def _short(text: str) -> str:
    line = printable(text)
    if len(line) <= _SHOWN_CHARACTERS:
        return line
    return line[: _SHOWN_CHARACTERS - 3] + "..."
