"""How good a model is on rows: loss and token accuracy, and its own answers scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.parsing import has_only_whole_boxes, parse_detections
from keras_pg2.datasets.loading import RowBatches
from keras_pg2.datasets.rows import Row, columns
from keras_pg2.metrics import coco_average_precision
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.answering.answers import ScoredAnswer
from keras_pg2.tasks.answering.detection_scores import geometric_mean, token_features
from keras_pg2.tasks.answering.requests import Batch

_SPARE_TOKENS = 8
# Average precision at IoU 0.5 is the same in pictures of any size.
_SIDE = 1024


class Answered(NamedTuple):
    """An answer beside the truth, as metrics take them."""

    truth: str
    answer: str
    things: Callable[[], Detections]


class Metric(NamedTuple):
    """A score of answers.

    Attributes:
        meaning: in words.
        score: of all answers; None for what needs no answers but the loss.
        is_higher_better: False for losses.
    """

    meaning: str
    score: Callable[[Sequence[Answered]], float] | None
    is_higher_better: bool = True


class Sample(NamedTuple):
    """What is shown of an evaluation."""

    prompt: str
    truth: str
    answer: str


class Evaluation(NamedTuple):
    """Scores on evaluation rows.

    Attributes:
        loss: mean cross-entropy of an example's response tokens, then over examples
            (where the model was compiled by a run), without label smoothing.
        accuracy: share of response tokens that are the likeliest.
        score: the metric's; for "perplexity" the loss.
        samples: some answers.
    """

    loss: float
    accuracy: float
    score: float
    samples: tuple[Sample, ...]


def exact_match(answered: Sequence[Answered]) -> float:
    """Share of answers that equal the truth, but for blanks around them."""
    return _mean(one.answer.strip() == one.truth.strip() for one in answered)


def anls(answered: Sequence[Answered]) -> float:
    """Mean of 1 - edit distance / longer length, 0 below 0.5, in lower case."""

    def similarity(one: Answered) -> float:
        answer, truth = one.answer.strip().lower(), one.truth.strip().lower()
        longer = max(len(answer), len(truth), 1)
        close = 1 - edit_distance(answer, truth) / longer
        return close if close >= 0.5 else 0.0

    return _mean(map(similarity, answered))


def relaxed_accuracy(answered: Sequence[Answered]) -> float:
    """Share of numbers within 5 % of the truth, and of other answers that equal it.

    As ChartQA is scored by pix2struct (`metrics.py: relaxed_correctness`) and
    big_vision (`evaluators/proj/paligemma/transfers/chartqa.py`), in lower case and
    but for blanks around: "50%" is 0.5, "1,000" is no number, and a truth of 0 has to
    be written as it is.
    """

    def is_right(one: Answered) -> bool:
        answer, truth = one.answer.strip().lower(), one.truth.strip().lower()
        given, wanted = _number(answer), _number(truth)
        if given is None or not wanted:
            return answer == truth
        return abs(given - wanted) / abs(wanted) <= 0.05

    return _mean(map(is_right, answered))


def ap50(answered: Sequence[Answered]) -> float:
    """COCO's average precision of boxes at IoU 0.5, each row a picture of its own."""
    truths = [parse_detections(one.truth, _SIDE, _SIDE) for one in answered]
    found = [one.things() for one in answered]
    return coco_average_precision(found, truths).ap50


METRICS: Mapping[str, Metric] = {
    "exact_match": Metric("share of answers that equal the truth", exact_match),
    "anls": Metric("mean similarity by edit distance, 0 below 0.5", anls),
    "relaxed_accuracy": Metric("numbers within 5 %, others equal", relaxed_accuracy),
    "ap50": Metric("average precision of boxes at IoU 0.5", ap50),
    "perplexity": Metric(
        "mean negative log-likelihood of an answer's tokens", None, False
    ),
}
"""By the names of `recipes.METRICS` where they are the same."""


def check_packages(metric: str) -> None:
    """Raises ImportError when the metric needs a package that is not installed."""
    if metric == "ap50":
        nothing = parse_detections("", _SIDE, _SIDE)
        truth = parse_detections("<loc0000><loc0000><loc0009><loc0009> a", _SIDE, _SIDE)
        coco_average_precision([nothing], [truth])


def evaluate(
    model: PaliGemma2CausalLM,
    rows: Sequence[Row],
    metric: str,
    batch_size: int,
    num_samples: int = 3,
) -> Evaluation:
    """Evaluates a compiled model; it answers greedily.

    Args:
        model: a `PaliGemma2CausalLM` with a preprocessor.
        rows: of images, prompts, responses.
        metric: a name of `METRICS`.
        batch_size: rows at a time.
        num_samples: answers to keep; spread over the rows.
    """
    batches = RowBatches(rows, batch_size, shuffle=False)
    losses = model.evaluate(batches, verbose=0, return_dict=True)
    assert isinstance(losses, dict)
    loss, score = float(losses["loss"]), METRICS[metric].score
    spread = np.linspace(0, len(rows) - 1, num_samples).astype(int)
    indices = np.unique(spread).tolist()
    if score is None:
        shown = [rows[i] for i in indices]
        given = answer_rows(model, shown, batch_size)
        result = loss
    else:
        answers = answer_rows(model, rows, batch_size)
        result = score(
            [
                Answered(row["responses"], one.text, _reader(model, one))
                for row, one in zip(rows, answers, strict=True)
            ]
        )
        shown, given = [rows[i] for i in indices], [answers[i] for i in indices]
    samples = tuple(
        Sample(row["prompts"], row["responses"], one.text)
        for row, one in zip(shown, given)
    )
    return Evaluation(loss, float(losses["accuracy"]), result, samples)


def answer_rows(
    model: PaliGemma2CausalLM, rows: Sequence[Row], batch_size: int
) -> list[ScoredAnswer]:
    """The model's answers, little longer than the longest truth."""
    if not rows:
        return []
    assert model.preprocessor is not None
    truths = model.preprocessor.tokenizer.tokenize([row["responses"] for row in rows])
    room = max(len(truth) for truth in truths) + _SPARE_TOKENS
    answers: list[ScoredAnswer] = []
    for start in range(0, len(rows), batch_size):
        asked = columns(rows[start : start + batch_size])
        inputs: Batch = {"images": asked["images"], "prompts": asked["prompts"]}
        answers += model.generate(inputs, max_new_tokens=room, return_scores=True)
    return answers


def _reader(
    model: PaliGemma2CausalLM, answer: ScoredAnswer
) -> Callable[[], Detections]:
    """Reads an answer's boxes, each as sure as its tokens are probable.

    Where the text is not well formed, all are as sure as the whole answer.
    """

    def read() -> Detections:
        found = parse_detections(answer.text, _SIDE, _SIDE)
        if has_only_whole_boxes(answer.text):
            assert model.preprocessor is not None
            features = token_features(answer, model.preprocessor.tokenizer)
            scores = geometric_mean(features)
        else:
            mean = answer.log_probability / max(len(answer.token_ids), 1)
            scores = np.full(len(found), np.exp(mean), np.float32)
        return Detections(found.labels, found.boxes_xyxy, scores=scores)

    return read


def edit_distance(a: str, b: str) -> int:
    """Fewest insertions, deletions and replacements of characters (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            cost = diagonal + (left != right)
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, cost)
    return row[-1]


def _number(text: str) -> float | None:
    try:
        if text.endswith("%"):
            return float(text.rstrip("%")) / 100.0
        return float(text)
    except ValueError:
        return None


def _mean(values: Any) -> float:
    return float(np.mean([float(value) for value in values]))
