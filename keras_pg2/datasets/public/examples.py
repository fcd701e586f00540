"""Examples of a data set: pictures, what is asked, and what is true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np

from keras_pg2.datasets.checks import OnBad
from keras_pg2.metrics.metric import Id, Truth
from keras_pg2.preprocessing.images import ImageInput


@dataclass(frozen=True, kw_only=True)
class Example:
    """One thing to ask a model.

    Attributes:
        id: Its name in the data set, or what the reader makes of several.
        images: A picture, mostly its path; a tuple where an example has several.
        truth: What metrics need, with all answers of the file.
        fields: What names in braces of a prompt stand for, as "question".
        response: The answer to train on, where it is none of `truth.answers`, as for
            boxes; None draws one of those.
    """

    id: Id
    images: ImageInput | tuple[ImageInput, ...]
    truth: Truth
    fields: Mapping[str, str] = field(default_factory=dict)
    response: str | None = None


class Examples(Sequence[Example]):
    """Examples of a file, in its order.

    Args:
        examples: The examples.
        skipped: What was wrong with each entry that was left out.
        sources: File and entry of each example; none where they are not known.
    """

    def __init__(
        self,
        examples: Iterable[Example],
        skipped: Iterable[str] = (),
        sources: Iterable[str] = (),
    ) -> None:
        self._examples = tuple(examples)
        self.skipped = tuple(skipped)
        self.sources = tuple(sources)

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Examples: ...
    def __getitem__(self, index: int | slice) -> Example | Examples:
        if isinstance(index, slice):
            return Examples(self._examples[index], self.skipped, self.sources[index])
        return self._examples[index]

    def __repr__(self) -> str:
        return f"Examples({len(self)} examples, {len(self.skipped)} skipped)"


class Reader(Protocol):
    """Reads a split of a data set."""

    def __call__(
        self, directory: Path, split: str, on_bad: OnBad, **options: Any
    ) -> Examples:
        """Return the examples, checked, in the order of the file."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A public data set.

    Attributes:
        name: As `--data-set` and `public.read` call it.
        title: Its own name, and what it is.
        source: Where its files are described.
        files: What is expected in the directory, for help and errors.
        splits: Names of its splits; the first is the one to evaluate on.
        recipe: The recipe whose prompt, length and metric it has; None for none.
        metric: Name of the metric; that of the recipe where there is one.
        prompt: The prompt, with names of fields in braces; that of the recipe.
        read: The reader.
        lower_case: Whether answers are trained on in lower case.
        vary: Returns what an epoch trains on of an example, as with options in another
            order; None if it is the example itself.
    """

    name: str
    title: str
    source: str
    files: str
    splits: tuple[str, ...]
    read: Reader | Callable[..., Examples]
    metric: str
    prompt: str
    recipe: str | None = None
    lower_case: bool = False
    vary: Callable[[Example, np.random.Generator], Example] | None = None
