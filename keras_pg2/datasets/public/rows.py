"""Examples of data sets to rows, for `fit` and for `predict`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_pg2.datasets.answer_turns import answer_of_epoch
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.entries import fill_prompt
from keras_pg2.datasets.public.examples import DataSet, Example
from keras_pg2.datasets.rows import Row, Rows


def rows_of(
    data_set: DataSet,
    examples: Sequence[Example],
    *,
    prompt: str | None = None,
    seed: int = 0,
    epoch: int = 0,
    on_bad: OnBad = "raise",
) -> Rows:
    """Return training rows as the recipe of a data set has them.

    Args:
        data_set: The data set; has the prompt, and says what becomes of answers.
        examples: Examples of it.
        prompt: Another prompt; None for that of the data set.
        seed: As for `training_rows`.
        epoch: As for `training_rows`.
        on_bad: As for `training_rows`.

    Raises:
        ValueError: as `training_rows`.
    """
    return training_rows(
        examples,
        data_set.prompt if prompt is None else prompt,
        seed=seed,
        epoch=epoch,
        lower_case=data_set.lower_case,
        vary=data_set.vary,
        on_bad=on_bad,
    )


def training_rows(
    examples: Sequence[Example],
    prompt: str,
    *,
    seed: int = 0,
    epoch: int = 0,
    lower_case: bool = False,
    vary: Callable[[Example, np.random.Generator], Example] | None = None,
    on_bad: OnBad = "raise",
) -> Rows:
    """Return training rows, one for each example, with one of its answers.

    What is true of each, with all of its answers, is in `truths` of the rows.

    Args:
        examples: The examples.
        prompt: The prompt, with names of their fields in braces.
        seed: Seed of the order of the answers, and of `vary`.
        epoch: Number of the epoch, from 0. Another one has another answer, until all
            had their turn.
        lower_case: Whether to train on answers in lower case.
        vary: Returns what this epoch trains on of an example; None if it is the
            example itself.
        on_bad: "skip" leaves examples without an answer out and lists them in
            `skipped` of the result.

    Raises:
        ValueError: if the prompt has other names in braces, an example has no answer,
            or none is left; names the example.
    """
    problems = Problems(on_bad)
    rows, sources, truths = [], [], []
    known = getattr(examples, "sources", ())
    for position, example in enumerate(examples):
        source = known[position] if known else f"Example {example.id!r}"
        if vary is not None:
            rng = np.random.default_rng([seed, position, epoch])
            example = vary(example, rng)
        row = _asked(example, prompt)
        with problems.of(source):
            response = _response(example, seed, position, epoch)
            if lower_case:
                response = response.lower()
            rows.append({**row, "responses": response})
            sources.append(source)
            truths.append(example.truth)
    problems.check_some_left(len(rows), "Examples")
    skipped = [*getattr(examples, "skipped", ()), *problems.messages]
    return Rows(rows, skipped, sources, truths=truths)


def asked_rows(examples: Sequence[Example], prompt: str) -> list[Row]:
    """Return rows for `predict`: `{"id", "images", "prompts"}`, in the same order.

    Raises:
        ValueError: if the prompt has names in braces that the examples lack.
    """
    return [{"id": example.id, **_asked(example, prompt)} for example in examples]


def _asked(example: Example, prompt: str) -> Row:
    images = example.images
    return {
        "images": list(images) if isinstance(images, tuple) else images,
        "prompts": fill_prompt(prompt, example.fields),
    }


def _response(example: Example, seed: int, position: int, epoch: int) -> str:
    if example.response is not None:
        return example.response
    answers = [answer for answer in example.truth.answers if answer.strip()]
    if not answers:
        raise ValueError(
            "expected an answer to train on, received "
            f"{list(example.truth.answers)}. Take a split that has answers."
        )
    return answer_of_epoch(answers, seed=seed, position=position, epoch=epoch)
