"""Cross-entropy against a large vocabulary, a few tokens at a time.

The logits of 8 texts of 512 tokens are 4.2 GB at 257,152 tokens of vocabulary, and a
training step holds them several times over. Here a loop makes the logits of some
tokens, takes from them all that is wanted (loss, accuracy, gradients) and forgets
them. The gradients are made together with the loss, so backward has no product with
the vocabulary left to do, and neither direction keeps logits.

Axes: B batch, T text length, L chunks, C tokens of a row in a chunk, D hidden_dim,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_pg2.generation.compilation import while_loop
from keras_pg2.modeling.attention import soft_cap
from keras_pg2.typing import Tensor


class Vocabulary(NamedTuple):
    """What hidden states are compared with.

    Args:
        table: float[V, D], one row a token.
        logit_soft_cap: cap of the logits, None for none.
        is_trained: whether the table wants a gradient; without one its gradient,
            as large as the table, is not made.
    """

    table: Tensor
    logit_soft_cap: float | None
    is_trained: bool


class Targets(NamedTuple):
    """What the tokens should be.

    Args:
        labels: int32[B, T], the next token at each position.
        loss_weights: float32[B, T], factors in the sum of losses, 0 where there is
            nothing to predict.
        count_weights: float32[B, T], factors in the count of right tokens, 0 at the
            same positions.
    """

    labels: Tensor
    loss_weights: Tensor
    count_weights: Tensor


def token_losses(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """The cross-entropy of each token with its label.

    With smoothing the label has the probability `1 - label_smoothing`, and every
    other token an equal part of the rest, as in big_vision (`utils.py:
    weighted_softmax_xent`).

    Args:
        logits: float32[..., V], soft cap applied.
        labels: int32[...]; one out of range is the nearest in it.
        label_smoothing: in [0, 1).

    Returns:
        float32[...].
    """
    indices = ops.clip(labels, 0, logits.shape[-1] - 1)[..., None]
    of_label = ops.take_along_axis(logits, indices, axis=-1)[..., 0]
    losses = ops.logsumexp(logits, axis=-1) - (1.0 - label_smoothing) * of_label
    if label_smoothing:
        others = ops.sum(logits, axis=-1) - of_label
        losses = losses - label_smoothing / (logits.shape[-1] - 1) * others
    return losses


def weighted_sums(
    hidden: Tensor,
    vocabulary: Vocabulary,
    targets: Targets,
    label_smoothing: float,
    chunk_size: int,
    training: bool,
) -> Tensor:
    """Sums of losses and of right tokens, without the logits of all tokens.

    In each row the tokens that have a weight come first; as many chunks are computed
    as the row with most of them needs, so prompts and padding cost no product with the
    vocabulary. Rows stay rows, so that a batch that is spread over devices stays there.

    Args:
        hidden: float[B, T, D], states after the final norm.
        vocabulary: what they are compared with.
        targets: what they should say.
        label_smoothing: in [0, 1).
        chunk_size: tokens whose logits are in memory at a time, over all rows; at least
            one of each row.
        training: whether gradients will be asked for.

    Returns:
        float32[2]: the sum of losses, and of the weights of right tokens. The first has
        gradients with respect to `hidden` and a trained table.
    """
    chunks, slots = _split_in_chunks(targets, chunk_size)
    # Not a variable, which TensorFlow, run eagerly, takes for one that `run` reads.
    table = ops.reshape(vocabulary.table, vocabulary.table.shape)
    arguments = (hidden, table) if vocabulary.is_trained else (hidden,)
    # Not a variable: TensorFlow asks for gradients of those that `run` reads.
    table = ops.stop_gradient(table)

    def run(*arguments: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        own = vocabulary._replace(table=(*arguments, table)[1])
        sums, gradients = _loop(
            arguments[0], own, chunks, slots, label_smoothing, training
        )

        def backward(*received: Tensor, upstream: Tensor = None) -> Any:
            # PyTorch gives the arguments too, and the upstream gradient by name.
            factor = (received[0] if upstream is None else upstream)[0]
            results = tuple(
                ops.cast(gradient * factor, argument.dtype)
                for gradient, argument in zip(gradients, arguments, strict=True)
            )
            return results if len(results) > 1 else results[0]

        return sums, backward

    return ops.custom_gradient(run)(*arguments) if training else run(*arguments)[0]


class _Chunks(NamedTuple):
    """Chunks of tokens, those with a weight first; `num_used` have any: int32[]."""

    origins: Tensor  # int32[L, B, C], positions in the text
    targets: Targets  # [L, B, C]
    num_used: Tensor


def _split_in_chunks(targets: Targets, chunk_size: int) -> tuple[_Chunks, Tensor]:
    """The chunks, and where in their order each token is: int32[B, T]."""
    batch, length = ops.shape(targets.labels)
    # Rounded up, then evenly over the chunks. On TensorFlow sizes may be tensors.
    num_chunks = -(-length // -(-chunk_size // batch))
    per_row = -(-length // num_chunks)
    has_weight = targets.count_weights > 0
    position = ops.arange(length, dtype="int32")[None]
    order = ops.argsort(ops.where(has_weight, position, position + length), axis=1)
    order = ops.cast(order, "int32")

    def split(x: Tensor) -> Tensor:
        # [B, T] -> [B, L * C] -> [L, B, C]
        fill = ops.zeros((batch, num_chunks * per_row - length), dtype=x.dtype)
        x = ops.reshape(ops.concatenate([x, fill], 1), (batch, num_chunks, per_row))
        return ops.transpose(x, (1, 0, 2))

    sorted_targets = (ops.take_along_axis(x, order, axis=1) for x in targets)
    counts = ops.sum(ops.cast(has_weight, "int32"), axis=1)
    chunks = _Chunks(
        split(order),
        Targets(*(split(x) for x in sorted_targets)),
        (ops.max(counts) + per_row - 1) // per_row,
    )
    return chunks, ops.cast(ops.argsort(order, axis=1), "int32")


def _loop(
    hidden: Tensor,
    vocabulary: Vocabulary,
    chunks: _Chunks,
    slots: Tensor,
    label_smoothing: float,
    training: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The sums, and with `training` float32 gradients of the first of them."""
    table = ops.cast(vocabulary.table, hidden.dtype)
    num_chunks, batch, per_row = ops.shape(chunks.origins)
    own = vocabulary._replace(table=table)
    # What is summed up: gradients of the hidden states by chunk, and of the table.
    totals: tuple[Tensor, ...] = ()
    if training:
        totals = (ops.zeros((num_chunks, batch, per_row, hidden.shape[-1]), "float32"),)
        if vocabulary.is_trained:
            totals = (*totals, ops.zeros(table.shape, dtype="float32"))

    def step(i: Tensor, sums: Tensor, *totals: Tensor) -> tuple[Tensor, ...]:
        origins = ops.take(chunks.origins, i, axis=0)
        targets = Targets(*(ops.take(x, i, axis=0) for x in chunks.targets))
        # [B, C, D]
        states = ops.take_along_axis(hidden, origins[:, :, None], axis=1)
        new_sums, gradients = _chunk(states, own, targets, label_smoothing, training)
        results = [i + 1, sums + new_sums]
        if training:
            gradients = ops.cast(gradients, states.dtype)
            ours = ops.cast(ops.einsum("bcv,vd->bcd", gradients, table), "float32")
            index = ops.reshape(i, (1, 1))
            results.append(ops.scatter_update(totals[0], index, ours[None]))
        if len(totals) > 1:
            # [V, D]
            theirs = ops.einsum("bcv,bcd->vd", gradients, states)
            results.append(totals[1] + ops.cast(theirs, "float32"))
        return tuple(results)

    start = ops.zeros((), dtype="int32")
    state = (start, ops.zeros((2,), dtype="float32"), *totals)
    _, sums, *sum_gradients = while_loop(lambda i, *_: i < chunks.num_used, step, state)
    if not training:
        return sums, ()
    # [L, B, C, D] -> [B, L * C, D] -> [B, T, D]
    by_row = ops.transpose(sum_gradients[0], (1, 0, 2, 3))
    by_row = ops.reshape(by_row, (batch, num_chunks * per_row, hidden.shape[-1]))
    of_hidden = ops.take_along_axis(by_row, slots[:, :, None], axis=1)
    return sums, (of_hidden, *sum_gradients[1:])


def _chunk(
    states: Tensor,
    vocabulary: Vocabulary,
    targets: Targets,
    label_smoothing: float,
    training: bool,
) -> tuple[Tensor, Tensor]:
    """The sums of a chunk, and float32[B, C, V] gradients of the uncapped logits."""
    products = ops.einsum("bcd,vd->bcv", states, vocabulary.table)
    cap = vocabulary.logit_soft_cap
    # [B, C, V], float32
    logits = soft_cap(ops.cast(products, "float32"), cap)
    losses = token_losses(logits, targets.labels, label_smoothing)
    is_right = ops.cast(ops.argmax(logits, axis=-1), "int32") == targets.labels
    right_weights = ops.where(is_right, targets.count_weights, 0.0)
    sums = ops.stack([ops.sum(losses * targets.loss_weights), ops.sum(right_weights)])
    if not training:
        return sums, None
    tokens = ops.arange(logits.shape[-1], dtype="int32")
    is_label = ops.equal(targets.labels[:, :, None], tokens)
    smooth = label_smoothing / (logits.shape[-1] - 1)
    wanted = ops.where(is_label, 1.0 - label_smoothing, smooth)
    # Not softmax, whose inner array a compiler would keep from the losses until here.
    probabilities = ops.exp(logits - ops.logsumexp(logits, axis=-1, keepdims=True))
    gradients = (probabilities - wanted) * targets.loss_weights[:, :, None]
    if cap is not None:
        gradients = gradients * (1.0 - ops.square(logits / cap))
    return sums, gradients
