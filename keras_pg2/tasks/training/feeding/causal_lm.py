"""A causal model whose `fit`, `evaluate` and `predict` take data in any form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_hub
import numpy as np

from keras_pg2.preprocessing.images import to_numpy
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.training.feeding.batches import pack, read_batch
from keras_pg2.tasks.training.feeding.forms import Data, Given, feed, given
from keras_pg2.tasks.training.feeding.prepared import Uses, check_backups
from keras_pg2.typing import Tensor


class CausalLM(keras_hub.models.CausalLM):
    """A causal model that is given pictures and text, in any form.

    All forms are prepared here, by one preprocessor and on one path for all backends,
    and what Keras is given are batches of arrays.
    """

    preprocessor: PaliGemma2CausalLMPreprocessor | None

    def preprocess_samples(
        self, x: Data, y: Any = None, sample_weight: Any = None
    ) -> tuple[Any, ...]:
        """Return a batch as the network takes it; see `keras_hub.models.Task`.

        Args:
            x: a dict of columns, or a list of rows.
            y: labels; None where the preprocessor makes them.
            sample_weight: a weight for each row, or None.
        """
        if self.preprocessor is None:
            return pack(x, y, sample_weight)
        # Not a call: Keras would put its own text and a print of the batch around
        # errors about a bad row.
        prepared: tuple[Any, ...] = self.preprocessor.call(
            read_batch(x), y=y, sample_weight=sample_weight
        )
        return prepared

    def fit(
        self,
        x: Data = None,
        y: Tensor = None,
        batch_size: int | None = None,
        sample_weight: Sequence[float] | np.ndarray | None = None,
        validation_data: Data = None,
        validation_split: float | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train on pictures, prompts and responses.

        Args:
            x: a dict of columns `images`, `prompts` and `responses`, with pictures of
                any kind and size; a sequence of such rows, as `read_jsonl` returns or a
                data set of Hugging Face is (their pictures may be called `image`); or
                batches of either: a `keras.utils.PyDataset` (as `RowBatches`), a
                `torch.utils.data.DataLoader`, a `tf.data` or Grain data set, or a
                generator, with `steps_per_epoch` if there are several epochs. A batch
                may be a tuple of columns, None and weights of its rows.
            y: None: the labels are made of the responses.
            batch_size: rows of a batch, where `x` has columns or rows; 32 if None.
            sample_weight: weights of the rows >= 0, where `x` has columns or rows.
            validation_data: as `x`, or a tuple of that, None and sample weights.
            validation_split: share of the last rows that are not trained on, where `x`
                has columns or rows.
            **kwargs: further arguments of `keras.Model.fit`. `shuffle` is True at first
                for columns and rows, which then have a new order in each epoch; the
                order of a data set is its own.

        Returns:
            As `keras.Model.fit`.

        Raises:
            TypeError: if data has none of these forms.
            FileNotFoundError, PermissionError: if a picture is missing or may not be
                read; before training for columns, rows and `RowBatches`.
            ValueError: if an argument has no meaning for such data, weights are below
                0, rows of one batch have different numbers of pictures, all weights of
                the model are frozen, or `BackupAndRestore` saves within an epoch.
        """
        _check_class_weight(kwargs)
        check_backups(kwargs.get("callbacks"))
        self._before_training()
        data = self._given(x, y, sample_weight)
        tested = None if validation_data is None else self._given(validation_data)
        if validation_split and tested is None:
            data, tested = data.split(validation_split)
        size_name = "validation_batch_size"
        test_size = kwargs.pop(size_name, None)
        if test_size is None and tested is not None and tested.is_table:
            test_size, size_name = batch_size, "batch_size"
            batch_size = batch_size if data.is_table else None
        num_epochs = kwargs.get("epochs", 1) - kwargs.get("initial_epoch", 0)
        steps = kwargs.get("steps_per_epoch")
        _check_generators(data, tested, num_epochs, steps)
        shuffle = kwargs.pop("shuffle", data.is_table)
        if not isinstance(shuffle, bool):
            raise ValueError(
                f"Expected shuffle as True or False. Received: {shuffle!r}."
            )
        batches = feed(
            data,
            self.preprocess_samples,
            batch_size,
            steps=steps,
            shuffle=shuffle,
            is_trained=True,
        )
        if tested is not None:
            steps = kwargs.get("validation_steps")
            validation_data = feed(
                tested,
                self.preprocess_samples,
                test_size,
                size_name=size_name,
                steps=steps,
            )
        with Uses(batches, validation_data).beside(kwargs):
            return keras.Model.fit(
                self,
                batches,
                validation_data=validation_data,
                shuffle=False,  # It is done.
                **kwargs,
            )

    def evaluate(
        self,
        x: Data = None,
        y: Tensor = None,
        batch_size: int | None = None,
        sample_weight: Sequence[float] | np.ndarray | None = None,
        **kwargs: Any,
    ) -> list[float] | float | dict[str, float]:
        """Return loss and metrics of `x`; see `keras.Model.evaluate`.

        Args:
            x: as for `fit`.
            y: as for `fit`.
            batch_size: as for `fit`.
            sample_weight: as for `fit`.
            **kwargs: further arguments of `keras.Model.evaluate`.
        """
        # Within `fit` Keras has prepared batches at hand.
        if kwargs.get("_use_cached_eval_dataset"):
            return keras.Model.evaluate(self, x, **kwargs)
        batches = feed(
            self._given(x, y, sample_weight),
            self.preprocess_samples,
            batch_size,
            steps=kwargs.get("steps"),
        )
        with Uses(other=batches).beside(kwargs):
            return keras.Model.evaluate(self, batches, **kwargs)

    def predict(
        self, x: Data = None, batch_size: int | None = None, **kwargs: Any
    ) -> np.ndarray:
        """Return the logits of `x`, float32[B, T, V]; see `keras.Model.predict`.

        They are of the tokens of prompts and responses; `generate` answers prompts.

        Args:
            x: as for `fit`.
            batch_size: as for `fit`.
            **kwargs: further arguments of `keras.Model.predict`.
        """
        batches = feed(
            self._given(x),
            self.preprocess_samples,
            batch_size,
            steps=kwargs.get("steps"),
        )
        with Uses(other=batches).beside(kwargs):
            return keras.Model.predict(self, batches, **kwargs)

    def train_on_batch(
        self, x: Data, y: Tensor = None, sample_weight: Any = None, **kwargs: Any
    ) -> Any:
        """Train on one batch; see `keras.Model.train_on_batch`.

        Args:
            x: a dict of columns, or a list of rows.
            y: as for `fit`.
            sample_weight: as for `fit`.
            **kwargs: further arguments of `keras.Model.train_on_batch`.
        """
        _check_class_weight(kwargs)
        self._before_training()
        return super().train_on_batch(x, y, sample_weight, **kwargs)

    def _before_training(self) -> None:
        """Do what a subclass has to do before steps are made."""

    def _given(self, x: Data, y: Any = None, sample_weight: Any = None) -> Given:
        data = given(x, y, sample_weight)
        if self.preprocessor is None and isinstance(data.x, dict):
            # Lists of numbers, which a preprocessor would make arrays of.
            arrays = {key: to_numpy(column) for key, column in data.x.items()}
            return data._replace(x=arrays)
        return data


def _check_class_weight(options: Mapping[str, Any]) -> None:
    """Raise ValueError if there are weights of classes, which answers have none of."""
    if options.get("class_weight") is not None:
        raise ValueError(
            "Expected class_weight=None: an answer is tokens, and of no class. "
            f"Received: {options['class_weight']!r:.60}. Give rows their weights by "
            "sample_weight."
        )


def _check_generators(
    data: Given, tested: Given | None, num_epochs: int, steps: int | None
) -> None:
    """Raise ValueError if a generator would be asked for what it has given already."""
    if num_epochs <= 1:
        return
    if data.is_generator and steps is None:
        raise ValueError(
            "Expected steps_per_epoch with a generator, which is at its end after one "
            f"epoch. Received: epochs={num_epochs} without. Pass steps_per_epoch, or a "
            "data set that can be read again, such as keras_pg2.RowBatches."
        )
    if tested is not None and tested.is_generator:
        raise ValueError(
            "Expected validation_data that can be read after each epoch. Received: "
            f"a {type(tested.x).__name__} for {num_epochs} epochs. Pass columns, rows, "
            "or a data set such as keras_pg2.RowBatches."
        )
