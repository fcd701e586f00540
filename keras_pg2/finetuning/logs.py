"""What a run leaves to look at: `log.csv`, TensorBoard's events, `curves.png`."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keras_pg2.checks.texts import printable, shown
from keras_pg2.files.whole_files import replaced
from keras_pg2.finetuning.steps import Step

LOG_FILE = "log.csv"
CURVES_FILE = "curves.png"
TENSORBOARD_FOLDER = "tensorboard"
LARGEST = 3.5e38
"""Bound of finite figures, which come from float32; no curve is drawn of 1e308."""
LARGEST_STEP = 2**31 - 1
_SMOOTHED_OVER = 0.9


class StepLog:
    """`log.csv` with a line a step, each step once however often training was resumed.

    Args:
        path: the file.
        step: steps that were done before; lines of later ones are removed, as is half
            a line that a killed process left.

    Raises:
        OSError: when it cannot be written.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [one for one in read_log(path) if one.step <= step]
        with (
            replaced(path) as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file).writerows([Step._fields, *kept])
        # Nothing is left in a buffer that a full disk would refuse again.
        self._file = path.open("ab", buffering=0)

    def add(self, step: Step) -> None:
        """Writes a line at once.

        Raises:
            OSError: when it cannot be written.
        """
        line = ",".join(map(repr, step)) + "\n"
        if self._file.write(line.encode()) < len(line):
            raise OSError(
                f"Expected to write a line to {self._file.name}, but the disk is full. "
                "Make room on it, then go on with --resume (resume=True)."
            )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_log(path: Path) -> list[Step]:
    """Return the steps of a `log.csv`; none if there is no file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if a line is not of a step; names file and line.
    """
    if not path.is_file():
        return []
    steps = []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from error
    # The last line is a whole one only with its end.
    lines = text.splitlines()[1 : None if text.endswith("\n") else -1]
    for number, line in enumerate(lines, start=2):
        try:
            [row] = csv.reader([line])
            values = [kind(value) for kind, value in zip(_KINDS, row, strict=True)]
        except (ValueError, csv.Error) as error:
            raise _damaged(f"{path}, line {number}", error) from error
        steps.append(Step(*values))
    return steps


def _damaged(name: str | Path, error: Exception) -> ValueError:
    return ValueError(
        f"Expected {', '.join(Step._fields)} of a step in {name}. Received: "
        f"{printable(error)}. Remove the file, which is only to look at."
    )


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value <= LARGEST_STEP:
        raise ValueError(f"{shown(text)}, no number of a step or an epoch")
    return value


def _figure(text: str) -> float:
    value = float(text)
    if LARGEST < abs(value) < math.inf:
        raise ValueError(f"{shown(text)}, which no figure of a run is")
    return value


_KINDS: Sequence[Any] = (_count, _count, _figure, _figure, _figure, _figure)


class TensorBoardLog:
    """Events for TensorBoard by tensorboardX; nothing where that is not installed.

    Args:
        folder: where to.
        step: steps that were done before; events of later ones no longer count.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = None
        if find_spec("tensorboardX") is not None:
            # Its SummaryWriter writes in a thread, which a full disk ends: then the
            # queue to it fills, and whoever adds an event waits for ever.
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog

            folder.mkdir(parents=True, exist_ok=True)
            # A file is named by the second in which it is made.
            self._writer = EventsWriter(str(folder / "events"), f".{step}")
            restarted = SessionLog(status=SessionLog.START)
            self._write(Event(step=step + 1, session_log=restarted))

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Write values by name.

        Raises:
            OSError: if they cannot be written.
        """
        if self._writer is not None:
            from tensorboardX.proto.event_pb2 import Event
            from tensorboardX.summary import scalar

            for name, value in values.items():
                self._write(Event(step=step, summary=scalar(name, value)))
            self._writer.flush()

    def close(self) -> None:
        """Write what is left.

        Raises:
            OSError: if it cannot be written.
        """
        if self._writer is not None:
            self._writer.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)


def draw_curves(
    path: Path, steps: Sequence[Step], evaluations: Iterable[Mapping[str, Any]]
) -> bool:
    """Draws loss and score by steps, if matplotlib is installed.

    Returns:
        Whether there is a picture.
    """
    if find_spec("matplotlib") is None or not steps:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    evaluations = list(evaluations)
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, scores = figure.subplots(1, 2)
    places = [one.step for one in steps]
    losses.plot(places, [one.loss for one in steps], alpha=0.3, label="loss of a step")
    losses.plot(places, _smoothed([one.loss for one in steps]), label="smoothed")
    if evaluations:
        at = [one["step"] for one in evaluations]
        losses.plot(at, [one["loss"] for one in evaluations], "o-", label="evaluation")
        scores.plot(at, [one["score"] for one in evaluations], "o-")
        scores.set_title(evaluations[0]["metric"])
    else:
        scores.plot(places, [one.accuracy for one in steps], alpha=0.3)
        scores.set_title("token accuracy of a step")
    losses.set_title("loss")
    losses.legend()
    for axes in (losses, scores):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    with replaced(path) as part:
        figure.savefig(part, format="png", dpi=120)
    return True


def _smoothed(values: Sequence[float]) -> list[float]:
    """An exponential mean without a bias towards 0."""
    mean = weight = 0.0
    result = []
    for value in values:
        mean = _SMOOTHED_OVER * mean + (1 - _SMOOTHED_OVER) * value
        weight = _SMOOTHED_OVER * weight + 1 - _SMOOTHED_OVER
        result.append(mean / weight)
    return result
