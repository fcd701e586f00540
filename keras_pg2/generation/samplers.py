"""How the next token is chosen: pure functions of logits and noise.

Noise is data: one uniform number per row and step, drawn on the host by NumPy
from the seed, so a seed gives the same noise on every backend. A token is the
inverse of the cumulative distribution at that number.

Axes: B batch, V vocabulary, N new tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras_hub
import numpy as np
from keras import ops

Tensor = Any


@dataclass(frozen=True)
class Sampler:
    """Temperature, top-k and top-p sampling; greedy at temperature 0.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_k: only the k likeliest tokens may be chosen; None for all.
        top_p: only the likeliest tokens that together reach probability p may
            be chosen (the one that crosses p included); None for all.
        seed: seed of the noise; None draws a fresh one at every call.

    Raises:
        ValueError: when a number is out of range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(
                f"Expected temperature >= 0. Received: temperature={self.temperature}."
            )
        if self.top_k is not None and not (
            isinstance(self.top_k, int) and self.top_k >= 1
        ):
            raise ValueError(
                f"Expected top_k as a whole number >= 1. Received: top_k={self.top_k}."
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"Expected 0 < top_p <= 1. Received: top_p={self.top_p}.")
        if self.temperature == 0 and (self.top_k, self.top_p) != (None, None):
            raise ValueError(
                "Expected a temperature above 0 together with top_k or top_p: at 0 the "
                "likeliest token is taken and nothing is drawn. Received: "
                f"{self}. Pass temperature=1.0."
            )

    def __call__(self, logits: Tensor, uniforms: Tensor) -> Tensor:
        """Chooses one token a row.

        Args:
            logits: float32[B, V].
            uniforms: float32[B] in [0, 1).

        Returns:
            int32[B] token ids.
        """
        # Below that, differences of logits overflow when divided.
        if self.temperature < 1e-6 or self.top_k == 1:
            return ops.cast(ops.argmax(logits, axis=-1), "int32")
        # Likeliest first, so that both filters keep a head of each row.
        limit = logits.shape[-1] if self.top_k is None else self.top_k
        sorted_logits, token_ids = ops.top_k(
            logits - ops.max(logits, axis=-1, keepdims=True),
            min(limit, logits.shape[-1]),
        )
        sorted_logits = sorted_logits / self.temperature
        weights = ops.softmax(sorted_logits, axis=-1)
        cumulative = ops.cumsum(weights, axis=-1)
        if self.top_p is not None:
            weights = ops.where(cumulative - weights < self.top_p, weights, 0.0)
            cumulative = ops.cumsum(weights, axis=-1)
        threshold = uniforms[:, None] * cumulative[:, -1:]
        choice = ops.sum(ops.cast(cumulative <= threshold, "int32"), axis=-1)
        # Rounding can put the threshold on the very last sum of a row.
        last = ops.sum(ops.cast(weights > 0, "int32"), axis=-1) - 1
        choice = ops.minimum(choice, last)
        token = ops.take_along_axis(token_ids, choice[:, None], axis=-1)[:, 0]
        return ops.cast(token, "int32")

    def draw_uniforms(
        self, batch_size: int, num_steps: int, seed: int | None = None
    ) -> np.ndarray:
        """The noise of one call, float32[B, N] in [0, 1).

        A row's noise depends on the seed and its place alone, not on B or N.

        Args:
            batch_size: B.
            num_steps: N.
            seed: used instead of the sampler's own seed when given.
        """
        sequence = np.random.SeedSequence(self.seed if seed is None else seed)
        rows = [np.random.default_rng(s) for s in sequence.spawn(batch_size)]
        return np.stack([rng.random(num_steps, dtype=np.float32) for rng in rows])


_BY_NAME = {
    "greedy": Sampler(),
    "random": Sampler(temperature=1.0),
    "top_k": Sampler(temperature=1.0, top_k=5),
    "top_p": Sampler(temperature=1.0, top_p=0.1),
}
"""KerasHub's names, with the numbers its samplers default to."""


def get(identifier: Any) -> Sampler:
    """Makes a `Sampler` of a name, a `Sampler` or a KerasHub sampler.

    Raises:
        ValueError: when there is no sampler of that name or kind here.
    """
    if isinstance(identifier, Sampler):
        return identifier
    if isinstance(identifier, str):
        if identifier in _BY_NAME:
            return _BY_NAME[identifier]
    elif type(identifier) is keras_hub.samplers.GreedySampler:
        return Sampler()
    for kind in ("RandomSampler", "TopKSampler", "TopPSampler"):
        if type(identifier) is getattr(keras_hub.samplers, kind):
            config = identifier.get_config()
            return Sampler(
                temperature=config["temperature"],
                top_k=config.get("k"),
                top_p=config.get("p"),
                seed=config.get("seed"),
            )
    raise ValueError(
        f"Expected a sampler: one of {', '.join(map(repr, _BY_NAME))}, a "
        "keras_pg2.Sampler, or a greedy, random, top-k or top-p sampler of "
        f"keras_hub.samplers. Received: {identifier!r}."
    )
