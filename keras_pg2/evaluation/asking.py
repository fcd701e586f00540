"""What each example is asked, settled and checked before a model is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from keras_pg2 import metrics, recipes
from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.detections import Detections
from keras_pg2.datasets.entries import fill_prompt
from keras_pg2.datasets.public.examples import Example
from keras_pg2.datasets.rows import check_picture_files
from keras_pg2.metrics.metric import Answer, Id, Metric, Truth
from keras_pg2.metrics.things.referring import MaskIou
from keras_pg2.recipes import Recipe
from keras_pg2.tasks.answering.detection_prompts import labels_of

Mode: TypeAlias = Literal["answer", "detect", "segment", "likelihood"]
Shard: TypeAlias = tuple[int, int]
"""Index of a part and the number of parts."""
OWN_FIELD = "prompt"
OWN_PROMPT = "{prompt}"
"""The prompt where nothing else is said: examples have it as a field."""
_USES: dict[Mode, str] = {
    "answer": "to answer",
    "detect": "to detect things",
    "segment": "to segment things",
    "likelihood": "to compute likelihoods",
}
"""What a mode is for, in the words of errors."""
LIKELIHOOD_METRICS = ("perplexity",)
"""Metrics of how probable the right answers are; the model says none of its own."""


class ExampleError(ValueError):
    """Says what is wrong with one example, but not which file it is of."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An example with its prompt.

    Attributes:
        id: Name of the example.
        images: Its pictures, none, one or several.
        prompt: What the model is asked.
        truth: What is true.
        response: The answer whose probability `likelihood` computes.
    """

    id: Id
    images: tuple[Any, ...]
    prompt: str
    truth: Truth
    response: str

    @property
    def row(self) -> dict[str, Any]:
        """The row that `predict` takes."""
        row: dict[str, Any] = {"id": self.id, "prompts": self.prompt}
        if self.images:
            alone = len(self.images) == 1
            row["images"] = self.images[0] if alone else list(self.images)
        return row


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked, how, and what it is scored by.

    Attributes:
        asked: The examples.
        metric: What scores them.
        mode: "answer" for texts, "detect" and "segment" for answers that are held to
            the form of things found, "likelihood" for the probability of the truth.
        prompt: The prompt, with names of fields in braces.
        recipe: Name of the recipe; None without one.
        num_beams: Beams of the search; 1 takes the likeliest tokens.
        antialias: Whether pictures are resized with antialias; None for the model's
            own way.
        max_new_tokens: Most tokens of an answer; None for the model's own.
        max_detections: Most things in a picture, for "detect" and "segment".
        num_images: Pictures of an example; None where examples differ.
        shard: Which part of the data this is; None for all.
    """

    asked: tuple[Asked, ...]
    metric: Metric
    mode: Mode
    prompt: str
    recipe: str | None
    num_beams: int
    antialias: bool | None
    max_new_tokens: int | None
    max_detections: int
    num_images: int | None
    shard: Shard | None


def make_plan(
    examples: Sequence[Example],
    metric: str | Metric | None = None,
    prompt: str | None = None,
    recipe: str | Recipe | None = None,
    *,
    mode: Mode | Literal["auto"] = "auto",
    max_new_tokens: int | None = None,
    num_beams: int | None = None,
    antialias: bool | None = None,
    max_detections: int = 20,
    shard: Shard | None = None,
) -> Plan:
    """Settle what is asked, and check all that can be checked without a model.

    What is not given is the recipe's. See `evaluate` for the arguments.

    Raises:
        ValueError: if there is no example or no metric, an id occurs twice, a prompt
            names a field that an example lacks, an example has another number of
            pictures than the recipe, or lacks what the metric needs; names the example.
        FileNotFoundError, PermissionError: if a picture is missing or not readable.
        ImportError: if the metric needs a package that is not installed.
    """
    known = recipes.get(recipe) if isinstance(recipe, str) else recipe
    chosen = _choose_metric(metric, known)
    chosen.check()
    if max_new_tokens is not None:
        check_at_least_one("max_new_tokens", max_new_tokens, ", or None")
    check_at_least_one("max_detections", max_detections)
    if num_beams is not None:
        check_at_least_one("num_beams", num_beams)
    if antialias is None and known is not None and known.antialias is not None:
        antialias = known.antialias[1]
    template = prompt or (OWN_PROMPT if known is None else known.prompt)
    if not len(examples):
        raise ValueError("Expected examples to evaluate on, received none.")
    asked = [_ask(example, template, index) for index, example in enumerate(examples)]
    _check_ids(asked)
    kind = _choose_mode(mode, chosen, asked)
    if kind != "answer" and num_beams not in (None, 1):
        raise ValueError(
            f"Expected one beam (--num-beams) {_USES[kind]}, received {num_beams}."
        )
    if kind != "detect":  # What runs an exported model cuts what it detects.
        check_length(kind, max_new_tokens)
    if known is not None and kind == "answer":
        num_beams = num_beams or known.num_beams
        max_new_tokens = max_new_tokens or known.text_length
    if known is not None and known.task != "default":
        _check_num_images(asked, known)
    for one in asked:
        try:
            check_truth(chosen, one.truth, one.response, kind)
        except ValueError as error:
            raise ExampleError(f"Example {one.id!r}: {error}") from error
    # What is wrong is told of all examples, not only of those of a part.
    own = part_of(asked, shard)
    check_picture_files((one.images for one in own), partial(_name, own))
    counts = {len(one.images) for one in asked}
    return Plan(
        asked=tuple(own),
        metric=chosen,
        mode=kind,
        prompt=template,
        recipe=None if known is None else known.task,
        num_beams=num_beams or 1,
        antialias=antialias,
        max_new_tokens=max_new_tokens,
        max_detections=max_detections,
        num_images=counts.pop() if len(counts) == 1 else None,
        shard=shard,
    )


def check_length(mode: Mode, max_new_tokens: int | None) -> None:
    """Raise ValueError for a length of answers that have the length they need."""
    if mode != "answer" and max_new_tokens is not None:
        raise ValueError(
            f"Expected no length of answers (--max-new-tokens) {_USES[mode]}, received "
            f"{max_new_tokens}. Leave it out, or let the model say what it likes "
            "(--mode answer)."
        )


def part_of(asked: Sequence[Asked], shard: Shard | None) -> Sequence[Asked]:
    """Return one of several parts of like length, in the order of the data.

    Raises:
        ValueError: if the shard is no part, or an empty one.
    """
    if shard is None:
        return asked
    index, count = shard
    check_at_least_one("the number of shards", count)
    if not 0 <= index < count:
        raise ValueError(
            f"Expected a shard of 0 to {count - 1} of {count}, received {index}."
        )
    part = asked[len(asked) * index // count : len(asked) * (index + 1) // count]
    if not part:
        raise ValueError(
            f"Expected examples in shard {index} of {count}, received {len(asked)} "
            "examples in all. Take fewer shards."
        )
    return part


def _choose_metric(metric: str | Metric | None, recipe: Recipe | None) -> Metric:
    if metric is None and recipe is None:
        raise ValueError(
            "Expected a metric (--metric) or a recipe (--recipe), received neither."
        )
    if metric is None:
        assert recipe is not None
        try:
            return metrics.get(recipe.metric)
        except ValueError as error:
            raise ValueError(
                f"Expected a metric that can be computed, but that of the recipe "
                f"{recipe.task!r} is {recipe.metric!r}: {error} Pass another one "
                "(--metric)."
            ) from error
    return metrics.get(metric) if isinstance(metric, str) else metric


def _choose_mode(
    mode: Mode | Literal["auto"], metric: Metric, asked: Sequence[Asked]
) -> Mode:
    if mode not in (*get_args(Mode), "auto"):
        raise ValueError(
            f"Expected mode as one of auto, {', '.join(get_args(Mode))}; received "
            f"{mode!r}."
        )
    is_likelihood = metric.name in LIKELIHOOD_METRICS
    if mode == "auto":
        if is_likelihood:
            return "likelihood"
        words = {one.prompt.partition(" ")[0] for one in asked}
        has_things = all(one.truth.things is not None for one in asked)
        for task in ("detect", "segment"):
            if has_things and words == {task}:
                return task
        return "answer"
    if (mode == "likelihood") != is_likelihood:
        raise ValueError(
            f"Expected mode 'likelihood' together with one of the metrics "
            f"{', '.join(LIKELIHOOD_METRICS)}, and with no other; received {mode!r} "
            f"and {metric.name}."
        )
    if mode in ("detect", "segment"):
        for one in asked:
            try:
                labels_of(one.prompt, mode)
            except ValueError as error:
                raise ExampleError(
                    f"Example {one.id!r}: {error} Pass another prompt (--prompt), or "
                    f"another mode than {mode!r} (--mode)."
                ) from error
    return mode


def _ask(example: Example, template: str, index: int) -> Asked:
    images = example.images
    if images is None:
        several: tuple[Any, ...] = ()
    else:
        several = tuple(images) if isinstance(images, tuple | list) else (images,)
    try:
        if template == OWN_PROMPT and OWN_FIELD in example.fields:
            text = example.fields[OWN_FIELD]  # Which may be empty.
        else:
            text = fill_prompt(template, example.fields)
    except ValueError as error:
        raise ExampleError(f"Example {example.id!r} ({index}): {error}") from error
    answers, response = example.truth.answers, example.response
    if response not in answers:  # What is trained on may be written otherwise.
        response = answers[0] if answers else ""
    return Asked(
        id=example.id,
        images=several,
        prompt=text,
        truth=example.truth,
        response=response or "",
    )


def _name(asked: Sequence[Asked], index: int) -> str:
    return f"Example {asked[index].id!r}"


def _check_ids(asked: Sequence[Asked]) -> None:
    seen: set[str] = set()
    for one in asked:
        # A file of answers has ids as texts or numbers, whichever wrote it.
        if str(one.id) in seen:
            raise ValueError(
                f"Expected every example once, received {one.id!r} twice. Give "
                "examples ids of their own."
            )
        seen.add(str(one.id))


def _check_num_images(asked: Sequence[Asked], recipe: Recipe) -> None:
    for one in asked:
        if len(one.images) != recipe.num_images:
            what = "pictures" if recipe.frame_stride is None else "frames"
            raise ValueError(
                f"Expected {recipe.num_images} {what} of each example, as the recipe "
                f"{recipe.task!r} has, received {len(one.images)} in example "
                f"{one.id!r}."
            )


def check_truth(
    metric: Metric, truth: Truth, response: str, mode: Mode = "answer"
) -> None:
    """Let a metric refuse what it could not score later.

    Args:
        metric: The metric.
        truth: What is true of an example.
        response: An answer that a model might give.
        mode: What it is asked for.

    Raises:
        ValueError: if the truth lacks what the metric needs.
    """
    shape = truth.size or (1, 1)
    nothing = Detections(
        (),
        np.zeros((0, 4), np.float32),
        np.zeros((0, *shape), bool) if mode == "segment" else None,
        np.zeros(0, np.float32),
    )
    things = nothing if mode in ("detect", "segment") else None
    answer = Answer(response, log_probability=-1.0, num_tokens=1, things=things)
    if isinstance(metric, MaskIou):  # The model brings its decoder later.
        metric = replace(metric, decode_crops=lambda codes: np.zeros((1, 64, 64)))
    metric.statistics(answer, truth)
