"""The loss of training: cross-entropy on the tokens of responses.

Axes: B batch, T text length, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_pg2.tasks.training.cross_entropy import (
    Targets,
    Vocabulary,
    token_losses,
    weighted_sums,
)
from keras_pg2.typing import Tensor

REDUCTIONS = ("token", "example")


def default_chunk_size(hidden_dim: int, vocabulary_size: int) -> int:
    """Tokens whose logits are in memory at a time, where nothing else is said.

    Their float32 logits take a twelfth of a float32 vocabulary, but not less than
    64 MB: more chunks would only take time.
    """
    return max(hidden_dim // 12, 2**24 // vocabulary_size, 1)


class LossParts(NamedTuple):
    """Loss and accuracy of a batch, and what they weigh in a mean over batches.

    All are float32 scalars.

    Args:
        loss: the weighted mean of the cross-entropies.
        loss_weight: what their sum was divided by.
        accuracy: the weighted share of tokens that were the likeliest.
        accuracy_weight: the sum of the tokens' weights.
    """

    loss: Tensor
    loss_weight: Tensor
    accuracy: Tensor
    accuracy_weight: Tensor


@keras.saving.register_keras_serializable(package="keras_pg2")
class ResponseLoss(keras.losses.Loss):
    """Cross-entropy on tokens that have a weight: those of responses.

    `PaliGemma2CausalLM` computes it in `fit` and `evaluate` without ever holding the
    logits of all tokens. Called on logits it gives the same number. The loss of an
    epoch and of an evaluation is the mean over all its tokens (or examples), whatever
    the batches, and so is that of an update with `gradient_accumulation_steps`.

    Example:

        model.compile(loss=keras_pg2.ResponseLoss(label_smoothing=0.1))

    Args:
        label_smoothing: probability in [0, 1) taken from the label and given to the
            other tokens in equal parts.
        reduction: "token" is the mean over all tokens of a batch, where long responses
            count for more; "example" is the mean over the tokens of an example, then
            over examples, as PaliGemma was trained (big_vision `trainers/proj/
            paligemma/train.py`). Both are weighted by the sample weights.
        chunk_size: tokens of a batch whose logits are in memory at a time; None for
            as many as take a twelfth of the memory of a float32 vocabulary, or 64 MB
            (192 tokens and 198 MB in the 3B model). Two such arrays live at a time.
        name: of the loss.
        dtype: as in `keras.losses.Loss`; the loss is always float32.

    Raises:
        ValueError: when a number is out of range, or for another reduction.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        reduction: str = "token",
        chunk_size: int | None = None,
        name: str = "response_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction="sum", dtype=dtype)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(
                "Expected label_smoothing as a probability in [0, 1). "
                f"Received: {label_smoothing=}."
            )
        if reduction not in REDUCTIONS:
            raise ValueError(
                'Expected reduction as "token" (mean over tokens) or "example" (mean '
                f"over the tokens of an example, then over examples). Received: "
                f"{reduction=}."
            )
        if chunk_size is not None and (
            not isinstance(chunk_size, int) or chunk_size < 1
        ):
            raise ValueError(
                "Expected chunk_size as a number of tokens >= 1, or None for one by "
                f"the model's width. Received: {chunk_size=}."
            )
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.chunk_size = chunk_size

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None
    ) -> Tensor:
        """The loss of logits.

        Args:
            y_true: int[B, T], the labels.
            y_pred: float[B, T, V], logits.
            sample_weight: float[B, T] >= 0, float[B] for the examples, or None for 1.

        Returns:
            float32 scalar; 0 where no token has a weight.
        """
        labels = ops.convert_to_tensor(y_true, dtype="int32")
        loss_weights, total = self._spread(token_weights(sample_weight, labels))
        return _divide(ops.sum(self.call(labels, y_pred) * loss_weights), total)

    def weight_of(self, y_true: Tensor, sample_weight: Tensor = None) -> Tensor:
        """Return what the loss of a batch weighs in a mean over batches.

        Args:
            y_true: int[B, T], the labels.
            sample_weight: float[B, T] >= 0, float[B] for the examples, or None for 1.

        Returns:
            float32 scalar: the sum of the weights of tokens; with
            `reduction="example"` of examples, each the mean of its tokens' weights.
        """
        labels = ops.convert_to_tensor(y_true, dtype="int32")
        return self._spread(token_weights(sample_weight, labels))[1]

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """int[B, T] labels, float[B, T, V] logits -> float32[B, T] losses."""
        logits = ops.convert_to_tensor(y_pred, dtype="float32")
        labels = ops.convert_to_tensor(y_true, dtype="int32")
        return token_losses(logits, labels, self.label_smoothing)

    def of_states(
        self,
        hidden: Tensor,
        vocabulary: Vocabulary,
        labels: Tensor,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> LossParts:
        """The loss of hidden states, a chunk of logits at a time.

        Args:
            hidden: float[B, T, D], states after the final norm.
            vocabulary: what they are compared with.
            labels: int[B, T].
            sample_weight: float[B, T] >= 0, float[B] for the examples, or None for 1.
            training: False makes no gradients.

        Returns:
            The loss, 0 where no token has a weight, the accuracy, and their weights.
        """
        labels = ops.convert_to_tensor(labels, dtype="int32")
        weights = token_weights(sample_weight, labels)
        loss_weights, total = self._spread(weights)
        targets = Targets(labels, loss_weights, weights)
        sizes = hidden.shape[-1], vocabulary.table.shape[0]
        chunk_size = self.chunk_size or default_chunk_size(*sizes)
        sums = weighted_sums(
            hidden, vocabulary, targets, self.label_smoothing, chunk_size, training
        )
        weight = ops.sum(weights)
        return LossParts(
            loss=_divide(sums[0], total),
            loss_weight=total,
            accuracy=_divide(sums[1], weight),
            accuracy_weight=weight,
        )

    def _spread(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """float32[B, T] factors of the losses, and what their sum is divided by."""
        if self.reduction == "example":
            count = ops.sum(ops.cast(weights > 0, "float32"), axis=1, keepdims=True)
            weights = _divide(weights, count)
        return weights, ops.sum(weights)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, for saving."""
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "reduction": self.reduction,
            "chunk_size": self.chunk_size,
        }


def token_weights(sample_weight: Tensor, labels: Tensor) -> Tensor:
    """Return the weights of tokens, float32[B, T]; negative ones are 0.

    Args:
        sample_weight: float[B, T], float[B] for the examples, or None for 1.
        labels: int32[B, T].
    """
    ones = ops.ones_like(labels, dtype="float32")
    if sample_weight is None:
        return ones
    weights = ops.convert_to_tensor(sample_weight, dtype="float32")
    weights = weights[:, None] if len(weights.shape) == 1 else weights
    return ones * ops.maximum(weights, 0.0)


def _divide(x: Tensor, by: Tensor) -> Tensor:
    """`x / by`, 0 where `by` is 0."""
    return ops.where(by > 0, x / ops.where(by > 0, by, 1.0), 0.0)
