"""Dropout whose noise is the same when a block is computed again in backward.

Noise is a function of a state and of an index in the network. The state moves on once
a forward pass, before the first block; a seed that is drawn inside a block would be
another one in the recomputation (`checkpointing.py`), and its gradients wrong.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_pg2.typing import Tensor


class Noise:
    """The state of a network's noise; a plain object, which no file of weights holds.

    Whoever trains the network tracks the `generator`, as JAX wants to know of it.
    """

    def __init__(self) -> None:
        self._generator: keras.random.SeedGenerator | None = None
        self.is_used = False

    @property
    def generator(self) -> keras.random.SeedGenerator:
        """Made when it is first asked for, with Keras' random seed."""
        if self._generator is None:
            self._generator = keras.random.SeedGenerator()
        return self._generator

    def advance(self) -> None:
        """Other noise from here on, where there is any."""
        if self.is_used:
            self.generator.next()


class Dropout:
    """Sets numbers to 0 with a probability, and scales the others up.

    Args:
        noise: of the network.
        rate: the probability, in [0, 1).
        index: Index of its own in the network, from 0.
    """

    def __init__(self, noise: Noise, rate: float, index: int) -> None:
        noise.is_used = noise.is_used or rate > 0
        self.noise = noise
        self.rate = rate
        self.index = index

    def __call__(self, x: Tensor, training: bool | None) -> Tensor:
        """float[...] -> float[...]; the same outside of training."""
        if not training or not self.rate:
            return x
        state = ops.convert_to_tensor(self.noise.generator.state)
        # Far more passes than any training has lie between two indices.
        shift = ops.convert_to_tensor([self.index * 2_000_003, 0], dtype=state.dtype)
        seed = _Drawn(state + shift)
        uniform = keras.random.uniform(ops.shape(x), dtype="float32", seed=seed)
        return ops.where(uniform >= self.rate, x / (1.0 - self.rate), 0.0)


class _Drawn(keras.random.SeedGenerator):
    """A seed that is a tensor, uint32[2], as Keras' random numbers take it."""

    def __init__(self, seed: Tensor) -> None:
        self.seed = seed

    def next(self, ordered: bool = True) -> Tensor:
        return self.seed


def check_dropout(rate: object) -> float:
    """The rate as a float.

    Raises:
        TypeError: when it is no number.
        ValueError: when it is not in [0, 1).
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise TypeError(f"Expected dropout to be a number. Received: {rate!r}.")
    if not 0.0 <= rate < 1.0:
        raise ValueError(
            f"Expected dropout as a probability in [0, 1). Received: {rate}."
        )
    return float(rate)
