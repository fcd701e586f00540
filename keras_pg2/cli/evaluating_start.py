"""How `evaluate` starts: everything is checked, then the model is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

from keras_pg2.catalogue.names import resolve
from keras_pg2.cli.loading import load_model
from keras_pg2.cli.messages import notice, progress
from keras_pg2.cli.options import ModelChoice
from keras_pg2.cli.outputs import expand_user

if TYPE_CHECKING:
    from keras_pg2.datasets.public.examples import Examples
    from keras_pg2.evaluation import Evaluation
    from keras_pg2.evaluation.answering import Source
    from keras_pg2.evaluation.asking import Plan, Shard
    from keras_pg2.recipes import Recipe

_NUM_TOLD = 5
_LINES = (".jsonl", ".ndjson")
"""Endings of files of one's own examples, with all their answers."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked; the options of the command."""

    data: Path
    data_set: str | None
    split: str | None
    limit: int | None
    skip_bad: bool
    recipe: str | None
    prompt: str | None
    metric: str | None
    mode: Any
    num_beams: int | None
    max_new_tokens: int | None
    antialias: bool | None
    max_detections: int
    shard: Shard | None


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What the command has to tell.

    Attributes:
        evaluation: What was found.
        skipped: What was wrong with entries that were left out.
        may_skip: Whether pictures that cannot be read are no error.
    """

    evaluation: Evaluation
    skipped: Sequence[str] = ()
    may_skip: bool = False


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Examples, and what is settled with them.

    Attributes:
        examples: The examples.
        name: Name or path of the data set.
        split: Name of the split; "" where there are none.
        asked: Prompt, metric and recipe.
    """

    examples: Examples
    name: str
    split: str
    asked: dict[str, str | None]


def read_shard(text: str) -> Shard:
    """Return the index of a part and the number of parts, of "0/2".

    Raises:
        ValueError: if it is something else.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise ValueError(
            f"Expected --shard as 0/2 or 1/2, a part and the number of parts; received "
            f"{text!r}."
        )
    return int(match[1]), int(match[2])


def merge_reports(
    directories: Sequence[Path], output: Path, given: Sequence[str] = ()
) -> Examined:
    """Make one report of those of the parts.

    Args:
        directories: Directories of the parts.
        output: Directory of the report of all.
        given: Other options that the command was given, which would have no effect.

    Raises:
        FileNotFoundError, ValueError: if a directory has no report, or parts do not
            belong together.
    """
    from keras_pg2 import evaluation

    if given:
        raise ValueError(
            "Expected --merge without other options, as it asks and scores nothing "
            f"anew, received {', '.join(given)} too. Leave them out."
        )
    parts = [evaluation.read_report(expand_user(path)) for path in directories]
    found = evaluation.merge(parts)
    evaluation.write_report(found, output)
    return Examined(evaluation=found, may_skip=True)


def evaluate_model(
    choice: ModelChoice,
    asking: Asking,
    output: Path,
    *,
    adapter: Path | None,
    predictions: Path | None,
    batch_size: int,
    num_draws: int,
    seed: int,
) -> Examined:
    """Check everything that can be checked, then load the model and ask it.

    Raises:
        ValueError, OSError, ImportError: as `evaluation.evaluate`, most of it before
            the model is loaded.
    """
    from keras_pg2 import evaluation
    from keras_pg2.evaluation.asking import make_plan
    from keras_pg2.evaluation.evaluating import evaluate_plan

    if predictions is None:
        _check_model(choice, adapter)
    elif adapter is not None:
        raise ValueError(
            "Expected either --adapter, of a model, or --predictions, received both."
        )
    with progress(f"Reading {asking.data}"):
        read = _read(asking)
        plan = make_plan(
            read.examples,
            **read.asked,
            mode=asking.mode,
            max_new_tokens=asking.max_new_tokens,
            num_beams=asking.num_beams,
            antialias=asking.antialias,
            max_detections=asking.max_detections,
            shard=asking.shard,
        )
    _tell(plan, read)
    if output.exists() and not output.is_dir():
        raise OSError(
            f"Expected --output as a directory, received the file {str(output)!r}."
        )
    model, name = _load(choice, adapter, predictions)
    found = evaluate_plan(
        model,
        plan,
        output,
        batch_size=batch_size,
        name=name,
        data_set=read.name,
        split=read.split,
        num_draws=num_draws,
        seed=seed,
    )
    with progress("Writing the report"):
        evaluation.write_report(found, output, seed)
    return Examined(
        evaluation=found, skipped=read.examples.skipped, may_skip=asking.skip_bad
    )


def _check_model(choice: ModelChoice, adapter: Path | None) -> None:
    if adapter is not None and not expand_user(adapter).exists():
        raise FileNotFoundError(
            f"Expected an adapter. Received: {adapter}, where there is none."
        )
    if _exported_manifest(choice.preset) is None:
        resolve(choice.preset)
    elif adapter is not None:
        raise ValueError(
            "Expected --adapter with a checkpoint, received an exported model: export "
            "it with its adapter (keras-pg2 export --adapter)."
        )


def _exported_manifest(preset: str) -> str | None:
    """Return the name of the manifest of an exported directory, if it is one."""
    folder = expand_user(preset)
    found = (name for name in ("litert.json", "onnx.json") if (folder / name).is_file())
    return next(found, None)


def _load(
    choice: ModelChoice, adapter: Path | None, predictions: Path | None
) -> tuple[Source, str]:
    """Return what answers, and what it is called."""
    if predictions is not None:
        return expand_user(predictions), str(predictions)
    manifest = _exported_manifest(choice.preset)
    if manifest is not None:
        from keras_pg2.deploy.runners import LiteRTModel, ONNXModel

        runner = LiteRTModel if manifest == "litert.json" else ONNXModel
        with progress(f"Loading {choice.preset}"):
            return runner(expand_user(choice.preset)), choice.preset
    model = load_model(choice)
    if adapter is None:
        return model, choice.preset
    with progress(f"Loading {adapter}"):
        model.adapters.load(adapter)
    return model, f"{choice.preset} with {adapter}"


def _read(asking: Asking) -> _Read:
    """Return the examples, with prompt, metric and recipe as far as they are settled.

    Raises:
        ValueError, OSError: if they cannot be read; names file and entry.
    """
    from keras_pg2 import recipes
    from keras_pg2.datasets.public import registry
    from keras_pg2.evaluation.rows import examples_of
    from keras_pg2.finetuning import read_rows

    recipe = None if asking.recipe is None else recipes.get(asking.recipe)
    on_bad: Any = "skip" if asking.skip_bad else "raise"
    asked = {
        "prompt": asking.prompt,
        "metric": asking.metric,
        "recipe": None if recipe is None else recipe.task,
    }
    name = asking.data_set
    if name is None and recipe is not None and asking.data.is_dir():
        name = recipe.task if recipe.task in registry.DATA_SETS else None
    if name is None and asking.data.suffix.lower() in _LINES:
        name = "jsonl"
    if name is None:
        if asking.split is not None:
            raise ValueError(
                "Expected --split with a public data set (--data-set), received it "
                f"with {str(asking.data)!r}. Leave it out."
            )
        rows = read_rows(
            asking.data, prompt=asking.prompt, recipe=recipe, on_bad=on_bad
        )
        # Rows have their prompts filled in.
        asked |= {"prompt": "{prompt}"}
        return _Read(
            examples=examples_of(rows)[: asking.limit],
            name=str(asking.data),
            split="",
            asked=asked,
        )
    found = registry.find(name)
    split = found.splits[0] if asking.split is None else asking.split
    if recipe is None or recipe.task == found.recipe:
        asked = {
            "prompt": asking.prompt or found.prompt,
            "metric": asking.metric or found.metric,
            "recipe": found.recipe,
        }
    options: dict[str, Any] = {}
    if asking.limit and "count" in signature(found.read).parameters:
        options["count"] = asking.limit  # No more than these is drawn.
    examples = registry.read(name, asking.data, split, on_bad=on_bad, **options)
    examples = examples[: asking.limit]
    if asking.data.is_file():
        asked["prompt"] = asking.prompt or _prompt_of(examples, recipe)
        return _Read(examples=examples, name=str(asking.data), split="", asked=asked)
    return _Read(examples=examples, name=name, split=split, asked=asked)


def _prompt_of(examples: Examples, recipe: Recipe | None) -> str:
    """Return the recipe's prompt if all lines have what it names, or their own."""
    if recipe is not None:
        names = {name for _, name, _, _ in Formatter().parse(recipe.prompt) if name}
        if names and all(names <= example.fields.keys() for example in examples):
            return recipe.prompt
    return "{prompt}"


def _tell(plan: Plan, read: _Read) -> None:
    """Say what will be done, and what was left out."""
    for text in read.examples.skipped[:_NUM_TOLD]:
        notice(f"Left out: {text}")
    more = len(read.examples.skipped) - _NUM_TOLD
    if more > 0:
        notice(f"and {more} more")
    parts = [
        f"{len(plan.asked):,} examples of {read.name} {read.split}".rstrip(),
        f"prompt {plan.prompt!r}",
        f"metric {plan.metric.name} ({plan.metric.meaning})",
        f"mode {plan.mode}",
    ]
    if plan.recipe is not None:
        parts.append(f"recipe {plan.recipe}")
    if plan.num_beams > 1:
        parts.append(f"{plan.num_beams} beams")
    if plan.antialias is not None:
        parts.append(f"{'with' if plan.antialias else 'without'} antialias")
    notice("; ".join(parts))
