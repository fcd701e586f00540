"""How the next token is chosen: values that say how, and pure functions.

Noise is data: one uniform number per row and step, drawn on the host by NumPy
from the seed, so a seed gives the same noise on every backend. A token is the
inverse of the cumulative distribution at that number.

Axes: B batch, V vocabulary, N new tokens.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, Self

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_pg2.checks.numbers import check_at_least_one, check_seed
from keras_pg2.modeling.cpu.products import first_largest
from keras_pg2.typing import Tensor


class SamplingParameters(NamedTuple):
    """The numbers of a sampler that are inputs of the compiled function.

    Attributes:
        temperature: float32 scalar.
        top_p: float32 scalar.
        repetition_penalty: float32 scalar.
    """

    temperature: Tensor
    top_p: Tensor
    repetition_penalty: Tensor


class _Saved:
    """What Keras asks of an object that it saves, of a dataclass."""

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the class."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the object with these arguments."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_pg2")
@dataclass(frozen=True)
class Sampler(_Saved):
    """Temperature, top-k and top-p sampling; greedy at temperature 0.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_k: only the k likeliest tokens may be chosen; None for all.
        top_p: only the likeliest tokens that together reach probability p may
            be chosen (the one that crosses p included); None for all.
        seed: seed of the noise; None draws a fresh one at every call, by NumPy's
            generator, which `keras.utils.set_random_seed` seeds.
        repetition_penalty: above 1 makes tokens that the answer has already
            less likely (Keskar et al. 2019, arXiv 1909.05858, section 4.1); 1 is off.
        no_repeat_ngram_size: no sequence of so many tokens comes twice in an
            answer; None is off.

    Raises:
        ValueError: when a number is out of range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.temperature, Real) and 0 <= self.temperature < np.inf):
            raise ValueError(
                "Expected temperature as a finite number >= 0. Received: "
                f"temperature={self.temperature!r}."
            )
        if self.top_k is not None:
            check_at_least_one("top_k", self.top_k)
        check_seed(self.seed)
        is_share = isinstance(self.top_p, Real) and 0 < self.top_p <= 1
        if self.top_p is not None and not is_share:
            raise ValueError(f"Expected 0 < top_p <= 1. Received: top_p={self.top_p}.")
        if self.temperature == 0 and (self.top_k, self.top_p) != (None, None):
            raise ValueError(
                "Expected a temperature above 0 together with top_k or top_p: at 0 the "
                "likeliest token is taken and nothing is drawn. Received: "
                f"{self}. Pass temperature=1.0."
            )
        check_repetition(self.repetition_penalty, self.no_repeat_ngram_size)

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is drawn."""
        # Below that, differences of logits overflow when divided.
        return self.temperature < 1e-6 or self.top_k == 1

    @property
    def structure(self) -> Sampler:
        """What a compiled function depends on: all but numbers that are its inputs."""
        return dataclasses.replace(
            self,
            temperature=0.0 if self.is_greedy else 1.0,
            top_k=None if self.is_greedy else self.top_k,
            top_p=None if self.is_greedy or self.top_p is None else 0.5,
            seed=None,
            repetition_penalty=1.0 if self.repetition_penalty == 1 else 2.0,
        )

    @property
    def parameters(self) -> SamplingParameters:
        """The rest of it, float32 scalars."""
        return SamplingParameters(
            np.array(1.0 if self.is_greedy else self.temperature, np.float32),
            np.array(1.0 if self.top_p is None else self.top_p, np.float32),
            np.array(self.repetition_penalty, np.float32),
        )

    def __call__(
        self,
        logits: Tensor,
        uniforms: Tensor,
        parameters: SamplingParameters | None = None,
    ) -> Tensor:
        """Chooses one token a row.

        Args:
            logits: float32[B, V]; -inf for a token that may not be chosen.
            uniforms: float32[B] in [0, 1).
            parameters: used instead of the sampler's own.

        Returns:
            int32[B] token ids.
        """
        if self.is_greedy:
            return first_largest(logits)
        temperature, top_p, _ = map(
            ops.convert_to_tensor, parameters or self.parameters
        )
        # Before the division, which could overflow.
        logits = logits - ops.max(logits, axis=-1, keepdims=True)
        if self.top_k is None and self.top_p is None:
            return _drawn(ops.softmax(logits / temperature, axis=-1), uniforms)
        # Likeliest first, so that both filters keep a head of each row.
        limit = logits.shape[-1] if self.top_k is None else self.top_k
        sorted_logits, token_ids = ops.top_k(logits, min(limit, logits.shape[-1]))
        weights = ops.softmax(sorted_logits / temperature, axis=-1)
        if self.top_p is not None:
            before = ops.cumsum(weights, axis=-1) - weights
            weights = ops.where(before < top_p, weights, 0.0)
        choice = _drawn(weights, uniforms)
        token = ops.take_along_axis(token_ids, choice[:, None], axis=-1)[:, 0]
        return ops.cast(token, "int32")

    def draw_uniforms(
        self, batch_size: int, num_steps: int, seed: int | None = None
    ) -> np.ndarray:
        """The noise of one call, float32[B, N] in [0, 1).

        A row's noise depends on the seed and its index alone, not on B or N.

        Args:
            batch_size: B.
            num_steps: N.
            seed: used instead of the sampler's own seed when given.
        """
        if self.is_greedy:
            return np.zeros((batch_size, num_steps), np.float32)
        seed = self.seed if seed is None else seed
        # Not by Python's generator, which Keras draws from where it traces and builds.
        fresh = np.random.randint(0, 2**32, 4, np.uint32) if seed is None else seed
        sequence = np.random.SeedSequence(fresh)
        rows = [np.random.default_rng(s) for s in sequence.spawn(batch_size)]
        return np.stack([rng.random(num_steps, dtype=np.float32) for rng in rows])


def _drawn(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The first index whose cumulative sum is above a share of the whole sum.

    The sums of groups come first: one cumulative sum of 257,216 tokens would take
    longer and be rounded more.

    Args:
        weights: float32[B, V] >= 0, not all 0.
        uniforms: float32[B] in [0, 1).

    Returns:
        int32[B], indices of weights above 0.
    """
    size = weights.shape[-1]
    num_groups = math.gcd(size, 128)
    groups = ops.reshape(weights, (-1, num_groups, size // num_groups))
    sums = ops.sum(groups, axis=-1)
    cumulative = ops.cumsum(sums, axis=-1)
    threshold = uniforms[:, None] * cumulative[:, -1:]
    group = _first_above(cumulative, threshold, sums)
    before = ops.take_along_axis(cumulative - sums, group, axis=-1)
    own = ops.take_along_axis(groups, group[:, :, None], axis=1)[:, 0]
    index = _first_above(ops.cumsum(own, axis=-1), threshold - before, own)
    return (group * (size // num_groups) + index)[:, 0]


def _first_above(cumulative: Tensor, threshold: Tensor, weights: Tensor) -> Tensor:
    """float32[B, N], float32[B, 1], float32[B, N] -> int32[B, 1]"""
    index = ops.sum(ops.cast(cumulative <= threshold, "int32"), axis=-1, keepdims=True)
    # Rounding can put the threshold on the very last sum of a row.
    indices = ops.arange(weights.shape[-1], dtype="int32")
    last = ops.max(ops.where(weights > 0, indices, 0), axis=-1, keepdims=True)
    return ops.minimum(index, last)


@keras.saving.register_keras_serializable(package="keras_pg2")
@dataclass(frozen=True)
class BeamSearch(_Saved):
    """Keeps the likeliest unfinished answers at each step, and returns the best.

    The paper decodes COCO captions with 2 beams and TextCaps with 3 (PaliGemma 2,
    arXiv 2412.03555, appendix). A finished answer's score is its log-probability
    divided by `num_tokens ** length_penalty`, the end token counted, and a row
    ends when no unfinished one can beat the worst of `num_beams` finished ones at
    its present length; all as in transformers (`early_stopping=False`).

    Attributes:
        num_beams: number of unfinished answers that are kept.
        length_penalty: above 0 favours longer answers; 0 compares the
            log-probabilities themselves.
        repetition_penalty: as in `Sampler`, on log-probabilities.
        no_repeat_ngram_size: as in `Sampler`.

    Raises:
        ValueError: when a number is out of range.
    """

    num_beams: int = 4
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int | None = None

    def __post_init__(self) -> None:
        check_at_least_one("num_beams", self.num_beams)
        penalty = self.length_penalty
        if not (isinstance(penalty, Real) and np.isfinite(penalty)):
            raise ValueError(
                "Expected length_penalty as a finite number. Received: "
                f"length_penalty={penalty!r}."
            )
        check_repetition(self.repetition_penalty, self.no_repeat_ngram_size)

    @property
    def structure(self) -> BeamSearch:
        """What a compiled function depends on: all but numbers that are its inputs."""
        penalty = 1.0 if self.repetition_penalty == 1 else 2.0
        return dataclasses.replace(self, repetition_penalty=penalty)

    @property
    def parameters(self) -> SamplingParameters:
        """The numbers that are inputs; temperature and top_p are not used."""
        one = np.array(1.0, np.float32)
        penalty = np.array(self.repetition_penalty, np.float32)
        return SamplingParameters(one, one, penalty)

    def draw_uniforms(
        self, batch_size: int, num_steps: int, seed: int | None = None
    ) -> np.ndarray:
        """Nothing is drawn: float32[B, N] of zeros."""
        return np.zeros((batch_size, num_steps), np.float32)


def check_repetition(penalty: float, ngram_size: int | None) -> None:
    """Raises ValueError for numbers of repetition control that are out of range."""
    if not (isinstance(penalty, Real) and 0 < penalty < np.inf):
        raise ValueError(
            "Expected repetition_penalty as a number above 0 (1 is off). Received: "
            f"repetition_penalty={penalty}."
        )
    if ngram_size is not None:
        check_at_least_one("no_repeat_ngram_size", ngram_size)


_BY_NAME: dict[str, Sampler | BeamSearch] = {
    "greedy": Sampler(),
    "random": Sampler(temperature=1.0),
    "top_k": Sampler(temperature=1.0, top_k=5),
    "top_p": Sampler(temperature=1.0, top_p=0.1),
    "beam": BeamSearch(num_beams=5, length_penalty=0.0),
}
"""KerasHub's names, with the numbers its samplers default to."""


def get(identifier: Any) -> Sampler | BeamSearch:
    """Makes a sampler of a name, a sampler of ours or one of KerasHub.

    Raises:
        ValueError: when there is no sampler of that name or kind here.
    """
    if isinstance(identifier, Sampler | BeamSearch):
        return identifier
    if isinstance(identifier, str):
        if identifier in _BY_NAME:
            return _BY_NAME[identifier]
    elif type(identifier) is keras_hub.samplers.GreedySampler:
        return Sampler()
    elif type(identifier) is keras_hub.samplers.BeamSampler:
        return _from_beam_sampler(identifier)
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
        "keras_pg2.Sampler or BeamSearch, or a greedy, random, top-k, top-p or beam "
        f"sampler of keras_hub.samplers. Received: {identifier!r}. (Contrastive search "
        "is not here: it runs the network once for each candidate.)"
    )


def _from_beam_sampler(sampler: keras_hub.samplers.BeamSampler) -> BeamSearch:
    config = sampler.get_config()
    if config["return_all_beams"] or config["temperature"] != 1.0:
        raise ValueError(
            "Expected a BeamSampler with return_all_beams=False and temperature=1.0. "
            f"Received: {config}."
        )
    return BeamSearch(num_beams=config["num_beams"], length_penalty=0.0)
