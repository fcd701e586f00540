"""Batches that went through a preprocessor, read ahead and each prepared once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias

import keras

from keras_pg2.datasets.loading import BatchesByEpoch
from keras_pg2.tasks.training.feeding.batches import Batch, unpack

Prepare: TypeAlias = Callable[..., Batch]
"""`(x, y, sample_weight) -> (x, y, weights)`, of one batch."""


class PreparedBatches(keras.utils.PyDataset):
    """A `PyDataset` whose batches went through a preprocessor.

    Before Keras trains or evaluates, it looks at the first batches for their shapes.
    These are kept, and given again in the first epoch. `Uses` says when that begins;
    the data set is told of the beginnings and ends of epochs alone, where Keras tells
    of what it looks at too.

    Where the data set has several workers, threads read the next batches ahead. (Those
    of Keras 3.15 give batches of one epoch to another.)

    Args:
        dataset: of dicts of images, prompts and responses, or of tuples of such a
            dict, None and sample weights.
        prepare: the preprocessor's call.
        is_trained: whether each pass takes the next epoch of `BatchesByEpoch`.
    """

    def __init__(
        self, dataset: keras.utils.PyDataset, prepare: Prepare, is_trained: bool = False
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.prepare = prepare
        self._counts_epochs = is_trained and isinstance(dataset, BatchesByEpoch)
        self._is_used = False
        self._is_in_epoch = False
        self._num_passes = 0
        self._ahead: dict[int, Future] = {}
        self._threads = (
            ThreadPoolExecutor(dataset.workers) if dataset.workers > 1 else None
        )

    @property
    def num_batches(self) -> int | None:
        """Batches of an epoch; None for a data set without an end."""
        return self.dataset.num_batches

    def __getitem__(self, index: int) -> Batch:
        if not self._is_used:
            self._begin_epoch()
            self._read_ahead(index, index)
            return self._ahead[index].result()
        if index == 0:
            self._begin_pass()
        is_threaded = self._threads is not None
        last = index + self.dataset.max_queue_size if is_threaded else index
        if self.num_batches is not None:
            last = min(last, self.num_batches - 1)
        self._read_ahead(index, last)
        return self._ahead.pop(index).result()

    def on_epoch_begin(self) -> None:
        """Pass it on, unless Keras only looks."""
        if self._is_used:
            self._begin_epoch()

    def on_epoch_end(self) -> None:
        """Pass it on, unless no epoch has begun."""
        if self._is_used and self._is_in_epoch:
            self._is_in_epoch = False
            self.dataset.on_epoch_end()

    def begin(self) -> None:
        """From here on batches are used, where Keras only looked at them before."""
        self._is_used = True

    def end(self) -> None:
        """Training has come to its end; the next one begins with the next epoch."""
        if self._counts_epochs and self._num_passes:
            self.dataset.epoch += 1

    def close(self) -> None:
        """Drop what was read ahead."""
        ahead, self._ahead = self._ahead, {}
        for future in ahead.values():
            future.cancel()

    def _begin_epoch(self) -> None:
        if not self._is_in_epoch:
            self._is_in_epoch = True
            self.dataset.on_epoch_begin()

    def _begin_pass(self) -> None:
        """A pass begins at index 0; with `steps_per_epoch` it may be several epochs."""
        if self._num_passes:
            self.close()
            if self._counts_epochs:
                self.dataset.epoch += 1
        self._num_passes += 1

    def _read_ahead(self, first: int, last: int) -> None:
        for index in range(first, last + 1):
            if index in self._ahead:
                continue
            if self._threads is not None:
                self._ahead[index] = self._threads.submit(self._read, index)
            else:
                self._ahead[index] = Future()
                self._ahead[index].set_result(self._read(index))

    def _read(self, index: int) -> Batch:
        return self.prepare(*unpack(self.dataset[index]))


class Uses(keras.callbacks.Callback):
    """Tells data sets when Keras begins to use them, after it has looked at them.

    Args:
        trained: what `fit` trains on; None in `evaluate` and `predict`.
        other: what is evaluated or predicted, in `fit` the validation data.
    """

    def __init__(self, trained: Any = None, other: Any = None) -> None:
        super().__init__()
        found = {"trained": trained, "other": other}
        self._batches = {
            key: data
            for key, data in found.items()
            if isinstance(data, PreparedBatches)
        }

    def on_train_begin(self, logs: Any = None) -> None:
        self._begin("trained")

    def on_train_end(self, logs: Any = None) -> None:
        if "trained" in self._batches:
            self._batches["trained"].end()

    def on_test_begin(self, logs: Any = None) -> None:
        self._begin("other")

    def on_predict_begin(self, logs: Any = None) -> None:
        self._begin("other")

    @contextmanager
    def beside(self, arguments: dict[str, Any]) -> Iterator[None]:
        """Be one of the callbacks in a call's arguments, and close data sets after it.

        Args:
            arguments: of the call; its `callbacks` are changed.
        """
        arguments["callbacks"] = _with_callback(arguments.get("callbacks"), self)
        try:
            yield
        finally:
            for batches in self._batches.values():
                batches.close()

    def _begin(self, key: str) -> None:
        if key in self._batches:
            self._batches[key].begin()


def check_backups(callbacks: Any) -> None:
    """Raise ValueError if training would be restored with weights amid an epoch.

    Keras begins the epoch anew with them, so that some rows are trained on twice.

    Args:
        callbacks: as Keras takes them.
    """
    for callback in _in_list(callbacks):
        is_backup = isinstance(callback, keras.callbacks.BackupAndRestore)
        # False is 0, by which Keras saves after every batch.
        if is_backup and callback.save_freq != "epoch":
            raise ValueError(
                "Expected BackupAndRestore with save_freq='epoch'. Received: "
                f"save_freq={callback.save_freq}: Keras would begin an epoch that was "
                "stopped anew with the weights of its middle, and train some rows "
                "twice. keras_pg2.finetuning.finetune goes on in the middle of an "
                "epoch."
            )


def _in_list(callbacks: Any) -> list[keras.callbacks.Callback]:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    return keras.tree.flatten(callbacks) if callbacks else []


def _with_callback(callbacks: Any, added: keras.callbacks.Callback) -> Any:
    """Return callbacks as Keras takes them (one, a list or None) with one more."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        params = callbacks.params or {}
        return keras.callbacks.CallbackList(
            [added, *_in_list(callbacks)], model=callbacks.model, **params
        )
    return [added, *_in_list(callbacks)]
