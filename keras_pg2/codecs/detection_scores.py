"""How sure the model is of each thing it found, from the probabilities of its tokens.

An answer to `detect` has no score in it. What it has are the probabilities of the
tokens it chose: of the four locations, the first of which also says that there is one
more thing at all, and of the label. Their geometric mean is a score in [0, 1] that
puts sure things before doubtful ones, but is no probability of being right: a location
is one of 1024, and its neighbours are as good. A `ScoreCalibration`, fitted where the
truth is known, makes it one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from keras_pg2.files.json_fields import Fields, read_config
from keras_pg2.files.whole_files import write_text
from keras_pg2.preprocessing.preset_files import CALIBRATION_FILE

NUM_FEATURES = 3
_LARGEST = 1e6
"""Bound of weights and bias; what is fitted has up to some tens."""
RATHER_RIGHT = 0.5
"""Lowest score that is kept where scores are probabilities: rather right than wrong."""


class Scored(Protocol):
    """An answer of a model or a runner with the probabilities of its tokens."""

    @property
    def text(self) -> str:
        """The answer."""

    @property
    def token_ids(self) -> np.ndarray:
        """int32[N], its tokens, the end token included."""

    @property
    def token_log_probabilities(self) -> np.ndarray:
        """float32[N], of each token after those before it."""


class Vocabulary(Protocol):
    """What a tokenizer of a model or a runner knows of tokens."""

    @property
    def location_ids(self) -> range:
        """Ids of the location tokens."""

    @property
    def segment_ids(self) -> range:
        """Ids of the tokens of masks."""

    @property
    def end_token_id(self) -> int:
        """Id of the token that ends an answer."""

    def tokenize(self, texts: list[str]) -> Iterable[Sequence[int]]:
        """Return the ids of each text, with nothing around them."""


@dataclass(frozen=True)
class ScoreCalibration:
    """Logistic regression on the log-probabilities of an instance's tokens.

    Attributes:
        bias: number added.
        weights: of the first location, of the mean of the other three locations, and
            of the sum of the label's tokens; each a natural logarithm.
        fitted_on: what it was fitted on, and what counted as right, in words.
    """

    bias: float
    weights: tuple[float, float, float]
    fitted_on: str = ""

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """float[N, 3] -> float32[N], the probability of being right."""
        logits = features @ np.array(self.weights) + self.bias
        return (1 / (1 + np.exp(-logits.clip(-50, 50)))).astype(np.float32)

    def save(self, directory: str | Path) -> None:
        """Writes `CALIBRATION_FILE` into a preset's directory."""
        text = json.dumps(asdict(self), indent=2)
        write_text(text + "\n", Path(directory) / CALIBRATION_FILE)

    @classmethod
    def from_directory(cls, directory: str | Path) -> ScoreCalibration | None:
        """Reads the file of a preset; None where there is none.

        Raises:
            ValueError: when the file holds something else; names the field.
        """
        path = Path(directory) / CALIBRATION_FILE
        return cls._from_fields(read_config(path)) if path.is_file() else None

    @classmethod
    def from_bytes(cls, content: bytes, source: str | Path) -> ScoreCalibration:
        """Read the content of the file, which errors call `source`.

        Raises:
            ValueError: if it holds something else; names the field.
        """
        return cls._from_fields(Fields.parse(content, source))

    @classmethod
    def _from_fields(cls, fields: Fields) -> ScoreCalibration:
        weights = fields.items("weights", _read_weight)
        if len(weights) != NUM_FEATURES:
            raise fields.error("weights", f"a list of {NUM_FEATURES} numbers")
        return cls(
            bias=_read_weight(fields, "bias"),
            weights=tuple(weights),
            fitted_on=fields.text("fitted_on", ""),
        )


def _read_weight(fields: Fields, name: str) -> float:
    number: float = fields.number(name, at_least=-_LARGEST, at_most=_LARGEST)
    return number


def geometric_mean(features: np.ndarray) -> np.ndarray:
    """The score without a calibration: float[N, 3] features -> float32[N].

    The geometric mean of the probabilities of the four locations and the label.
    """
    total = features @ np.array([1.0, 3.0, 1.0])
    return np.exp(total / 5).astype(np.float32)


def token_features(answer: Scored, tokenizer: Vocabulary) -> np.ndarray:
    """What a score is made of, for each instance of a well-formed answer.

    Args:
        answer: to `detect` or `segment`, held to a `LocationGrammar`.
        tokenizer: of the model.

    Returns:
        float64[N, 3]: natural logarithms of the probability of the first location,
        of the geometric mean of the other three, and of all tokens of the label.
    """
    ids = answer.token_ids.tolist()
    is_location = np.isin(ids, list(tokenizer.location_ids))
    is_segment = np.isin(ids, list(tokenizer.segment_ids))
    is_end = np.isin(ids, [tokenizer.end_token_id])
    is_label = ~(is_location | is_segment | is_end)
    starts = np.flatnonzero(is_location)[::4].tolist()
    log_probabilities = answer.token_log_probabilities.astype(np.float64)
    features = np.zeros((len(starts), NUM_FEATURES))
    for row, (start, end) in enumerate(zip(starts, [*starts[1:], len(ids)])):
        label = log_probabilities[start:end][is_label[start:end]]
        others = log_probabilities[start + 1 : start + 4].mean()
        features[row] = log_probabilities[start], others, label.sum()
    return features


def fit_calibration(
    features: np.ndarray, is_right: Sequence[bool] | np.ndarray, fitted_on: str = ""
) -> ScoreCalibration:
    """Fits a calibration by Newton's method, with a slight pull of weights to 0.

    Args:
        features: float[N, 3], as `token_features` gives them.
        is_right: bool[N], whether each instance is right.
        fitted_on: what these are, in words.

    Raises:
        ValueError: when all are right or none is.
    """
    right = np.asarray(is_right, np.float64)
    if not 0 < right.mean() < 1:
        raise ValueError(
            "Expected instances of which some are right and some wrong, received "
            f"{int(right.sum())} right ones of {len(right)}."
        )
    columns = np.column_stack([np.ones(len(right)), features])
    pull = np.diag([0.0] + [1e-3 * len(right)] * NUM_FEATURES)
    weights = np.zeros(columns.shape[1])
    for _ in range(50):
        probability = 1 / (1 + np.exp(-(columns @ weights).clip(-50, 50)))
        gradient = columns.T @ (probability - right) + pull @ weights
        variance = probability * (1 - probability)
        curvature = (columns * variance[:, None]).T @ columns + pull
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    bias, first, others, label = weights.tolist()
    return ScoreCalibration(bias, (first, others, label), fitted_on)
