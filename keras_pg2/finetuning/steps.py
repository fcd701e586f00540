"""A stretch of training steps for `fit`, and what is noted of each step.

A step is a batch; steps are counted over all epochs. What is in a batch depends on the
seed and its number alone, so training can go on from any step.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_pg2.datasets.loading import Batch, RowReader


class Step(NamedTuple):
    """What is noted of a step.

    Attributes:
        step: its number, from 1.
        epoch: from 1.
        loss: of its rows, before the update.
        accuracy: share of response tokens that were the likeliest.
        learning_rate: of its update.
        seconds: that it took.
    """

    step: int
    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float


class StepBatches(keras.utils.PyDataset):
    """The batches of some steps.

    Args:
        reader: of rows by their position, over all epochs.
        first: steps that were done before.
        stop: steps that are done after the last batch.
    """

    def __init__(self, reader: RowReader, first: int, stop: int) -> None:
        super().__init__(workers=os.cpu_count() or 1, max_queue_size=4)
        self.reader = reader
        self.first = first
        self.stop = stop

    def __len__(self) -> int:
        return self.stop - self.first

    def __getitem__(self, index: int) -> Batch:
        order = self.reader.order
        epoch, index_in_epoch = divmod(self.first + index, order.num_batches)
        start = epoch * order.num_rows_of_shard + index_in_epoch * order.batch_size
        rows = [self.reader.read(start + i) for i in range(order.batch_size)]
        return self.reader.as_batch(rows)


class StepRecorder(keras.callbacks.Callback):
    """Tells of each step, and ends a stretch early.

    Args:
        first: steps that were done before.
        steps_per_epoch: steps of an epoch.
        schedule: the learning rate by steps.
        tell: is told of each step.
        is_enough: asked after each step whether to end the stretch.
    """

    def __init__(
        self,
        first: int,
        steps_per_epoch: int,
        schedule: Callable[[int], Any],
        tell: Callable[[Step], None],
        is_enough: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.step = first
        self.steps_per_epoch = steps_per_epoch
        self.schedule = schedule
        self.tell = tell
        self.is_enough = is_enough
        self.last: Step | None = None
        self._start = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Metrics are of this step alone, not means since the stretch began."""
        self._start = time.perf_counter()
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the step; ends the stretch when its loss is no number."""
        rate = float(np.asarray(keras.ops.convert_to_numpy(self.schedule(self.step))))
        self.step += 1
        self.last = Step(
            self.step,
            (self.step - 1) // self.steps_per_epoch + 1,
            float(logs["loss"]),
            float(logs["accuracy"]),
            rate,
            time.perf_counter() - self._start,
        )
        self.tell(self.last)
        if not math.isfinite(self.last.loss) or self.is_enough():
            self.model.stop_training = True


class Interruption:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.is_requested = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take the first SIGINT, SIGTERM or SIGHUP for a question; a second one ends.

        A signal that the process was started to ignore, as by nohup, stays ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # Only the main thread may take signals.
            return
        names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP.
        kinds = [signal.Signals[n] for n in names if n in signal.Signals.__members__]
        before = {
            kind: handler
            for kind in kinds
            if (handler := signal.getsignal(kind)) != signal.SIG_IGN
        }

        def ask(number: int, frame: Any) -> None:
            self.is_requested = True
            signal.signal(number, before[signal.Signals(number)])

        try:
            for kind in before:
                signal.signal(kind, ask)
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)
