"""A recipe by task, size and resolution."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass

from keras_pg2.recipes.record import RESOLUTIONS, SIZES, Settings, Task
from keras_pg2.recipes.transfers import TASKS

# The report scaled the learning rates of pretraining so (arXiv:2412.03555 section 3).
_RATE_FACTORS = {"3b": 0.5, "10b": 0.25, "28b": 0.25}
# Names of the papers that are not those of the code, letters and digits only.
_ALIASES = {"refcoco": "refcoco_seg", "vizwiz": "vizwizvqa", "vatex": "vatex_cap"}


@dataclass(frozen=True)
class Recipe:
    """How to train one task with one model.

    Attributes:
        task: its name, "default" for `default()`.
        size: "3b", "10b" or "28b".
        resolution: height and width of the pictures in pixels.
        version: 2 for PaliGemma 2, 1 for PaliGemma.
        dataset: what the papers trained on.
        prompt: the prompt, with names of fields in braces.
        response: what the answer is.
        text_length: most tokens of prompt and answer together.
        epochs: passes over the training rows; None where nothing is trained.
        batch_size: rows of a step; None likewise.
        learning_rate: peak; None likewise.
        weight_decay: see `record.Settings`.
        dropout: in the language model.
        label_smoothing: in [0, 1).
        freezes_vision: whether the image encoder stays as it is.
        num_images: pictures (frames) of an example.
        frame_stride: frames from one taken to the next; None where there is no video.
        num_beams: beams at evaluation; 1 is greedy.
        antialias: whether pictures are resized with antialias in training and at
            evaluation; None where the source does not say.
        metric: one of `METRICS`.
        learning_rates: all rates that the source finds equally good or that differ
            between its metrics; `learning_rate` is the one it has most often, of
            several the smallest.
        text_source: where prompt, answer and length are from.
        settings_source: where epochs and the like are from.
        learning_rate_source: where the rate is from.
    """

    task: str
    size: str
    resolution: int
    version: int
    dataset: str
    prompt: str
    response: str
    text_length: int
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    weight_decay: float
    dropout: float
    label_smoothing: float
    freezes_vision: bool
    num_images: int
    frame_stride: int | None
    num_beams: int
    antialias: tuple[bool, bool] | None
    metric: str
    learning_rates: tuple[float, ...]
    text_source: str
    settings_source: str
    learning_rate_source: str

    @property
    def is_trained(self) -> bool:
        """False for tasks that are only evaluated."""
        return self.epochs is not None


def names() -> tuple[str, ...]:
    """The names of all tasks, sorted."""
    return tuple(sorted(TASKS))


def get(
    task: str, size: str = "3b", resolution: int | None = None, version: int = 2
) -> Recipe:
    """The recipe of a task.

    Args:
        task: one of `names()`; case and punctuation do not matter ("DocVQA").
        size: "3b", "10b" or "28b"; PaliGemma has only the first.
        resolution: 224, 448 or 896, of those the task was trained at; None for the
            lowest of them.
        version: 2 for PaliGemma 2, whose learning rates are smaller, or 1.

    Raises:
        ValueError: for an unknown task (with near names), size or version, or a
            resolution the papers have no settings for.
    """
    found = _find(task)
    _check_model(size, version)
    known = tuple(sorted(found.settings)) or RESOLUTIONS
    resolution = known[0] if resolution is None else resolution
    if resolution not in known:
        raise ValueError(
            f"Expected a resolution of {', '.join(map(str, known))}, which are those "
            f"that {found.name!r} was trained at; received {resolution!r}. Take the "
            "nearest one's recipe."
        )
    settings = found.settings.get(resolution)
    rates, rate_source = _rates(found, settings, size, version)
    return _recipe(
        found, size, resolution, version, settings, rates, _choose(rates), rate_source
    )


def default(size: str = "3b", resolution: int = 224, version: int = 1) -> Recipe:
    """What to try first for a task of one's own.

    PaliGemma's authors found 37 of 43 metrics within 2.5 % of the tuned settings with
    it; data sets that are hard to learn, as SciCap and RefCOCO, need more. For
    PaliGemma 2 the report says no more than that smaller learning rates are better,
    smaller still for larger models: `version=2` has the one that is best for most
    tasks.

    Args:
        size: "3b", "10b" or "28b"; PaliGemma has only the first.
        resolution: 224, 448 or 896.
        version: 1 for the numbers as the paper has them, 2 for the smaller rate.

    Raises:
        ValueError: for an unknown size, resolution or version.
    """
    _check_model(size, version)
    if resolution not in RESOLUTIONS:
        raise ValueError(
            f"Expected a resolution of {', '.join(map(str, RESOLUTIONS))}; received "
            f"{resolution!r}."
        )
    settings = Settings(
        epochs=10, batch_size=256, learning_rate=1e-5, source="[P1] section 6.2"
    )
    task = Task(
        name="default",
        dataset="a data set of one's own",
        prompt="{prompt}",
        response="the response",
        text_length=128 if resolution == 224 else 512,
        metric="perplexity",
        settings={resolution: settings},
        learning_rates={},
        source="text lengths of pretraining, [P1] section 3.2",
    )
    rate, source = settings.learning_rate, settings.source
    if version == 2:
        rate = (
            _choose(
                tuple(
                    _choose(task.learning_rates[size]) or 0.0
                    for task in TASKS.values()
                    if size in task.learning_rates
                )
            )
            or settings.learning_rate
        )
        source = "the rate that is best for most tasks of [P2] table 14"
    return _recipe(task, size, resolution, version, settings, (rate,), rate, source)


def _find(task: str) -> Task:
    if not isinstance(task, str):
        raise TypeError(
            f"Expected the name of a task as text, received {type(task).__name__}."
        )
    by_letters = {_letters(name): name for name in TASKS}
    by_letters |= {_letters(alias): name for alias, name in _ALIASES.items()}
    name = by_letters.get(_letters(task))
    if name is None:
        near = difflib.get_close_matches(_letters(task), by_letters, n=3, cutoff=0.5)
        hints = dict.fromkeys(repr(by_letters[one]) for one in near)
        hint = f" Did you mean {' or '.join(hints)}?" if near else ""
        raise ValueError(
            f"Expected one of {', '.join(names())}; received {task!r}.{hint} For a "
            "task of your own take recipes.default()."
        )
    return TASKS[name]


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _check_model(size: str, version: int) -> None:
    if version not in (1, 2):
        raise ValueError(f"Expected version 1 or 2, received {version!r}.")
    known = SIZES if version == 2 else SIZES[:1]
    if size not in known:
        raise ValueError(
            f"Expected a size of {', '.join(known)} for version {version}, received "
            f"{size!r}. The larger models are version 2."
        )


def _rates(
    task: Task, settings: Settings | None, size: str, version: int
) -> tuple[tuple[float, ...], str]:
    """The candidates, and where they are from."""
    if settings is None:
        return (), "not trained"
    if version == 1 or task.settings_are_of_any_model:
        return (settings.learning_rate,), settings.source
    if size in task.learning_rates:
        return task.learning_rates[size], "[P2] table 14, at 224 px"
    factor = _RATE_FACTORS[size]
    return (
        (settings.learning_rate * factor,),
        f"derived: {settings.source} times {factor}, as [P2] section 3 scales "
        "pretraining",
    )


def _choose(rates: tuple[float, ...]) -> float | None:
    """The most frequent; of several the smallest."""
    if not rates:
        return None
    counts = Counter(rates)
    most = max(counts.values())
    return min(rate for rate, count in counts.items() if count == most)


def _recipe(
    task: Task,
    size: str,
    resolution: int,
    version: int,
    settings: Settings | None,
    rates: tuple[float, ...],
    rate: float | None,
    rate_source: str,
) -> Recipe:
    return Recipe(
        task=task.name,
        size=size,
        resolution=resolution,
        version=version,
        dataset=task.dataset,
        prompt=task.prompt,
        response=task.response,
        text_length=task.text_length,
        epochs=settings.epochs if settings else None,
        batch_size=settings.batch_size if settings else None,
        learning_rate=rate,
        weight_decay=settings.weight_decay if settings else 0.0,
        dropout=settings.dropout if settings else 0.0,
        label_smoothing=settings.label_smoothing if settings else 0.0,
        freezes_vision=settings.freezes_vision if settings else False,
        num_images=task.num_images,
        frame_stride=task.frame_stride,
        num_beams=task.num_beams,
        antialias=task.antialias,
        metric=task.metric,
        learning_rates=rates,
        text_source=task.source,
        settings_source=settings.source if settings else "not trained",
        learning_rate_source=rate_source,
    )
