"""How `evaluate` starts: everything is checked, then the model is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from keras_pg2.cli.evaluating_data import Asking, DataRead, read_data
from keras_pg2.cli.loading import ChosenExport, ChosenModel, choose_model
from keras_pg2.cli.messages import notice, progress
from keras_pg2.cli.options import ModelChoice
from keras_pg2.cli.outputs import expand_user

if TYPE_CHECKING:
    from keras_pg2.evaluation import Evaluation
    from keras_pg2.evaluation.asking import Plan, Shard
    from keras_pg2.evaluation.sources import Source

_NUM_TOLD = 5


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
    from keras_pg2.evaluation.files import check_no_answers

    if given:
        raise ValueError(
            "Expected --merge without other options, as it asks and scores nothing "
            f"anew, received {', '.join(given)} too. Leave them out."
        )
    inputs = [expand_user(path) for path in directories]
    if any(path.resolve() == output.resolve() for path in inputs):
        raise ValueError(
            "Expected --output as another directory than those of the parts, received "
            f"{str(output)!r}."
        )
    check_no_answers(output)
    parts = [evaluation.read_report(path) for path in inputs]
    found = evaluation.merge(parts)
    evaluation.write_report(found, output)
    return Examined(evaluation=found, may_skip=True)


def evaluate_model(
    choice: ModelChoice,
    asking: Asking,
    output: Path,
    *,
    predictions: Path | None,
    batch_size: int,
    num_draws: int,
    seed: int,
) -> Examined:
    """Check everything that can be checked, then load the model and ask it.

    With predictions, masks are decoded by the preset's codec if it was given, otherwise
    by the released one.

    Raises:
        ValueError, OSError, ImportError: as `evaluation.evaluate`, most of it before
            the model is loaded.
    """
    from keras_pg2 import evaluation
    from keras_pg2.evaluation.evaluating import evaluate_plan

    chosen = choose_model(choice) if predictions is None else expand_user(predictions)
    with progress(f"Reading {asking.data}"):
        read = read_data(asking)
        plan = _make_plan(asking, read)
    _tell(plan, read)
    if output.exists() and not output.is_dir():
        raise OSError(
            f"Expected --output as a directory, received the file {str(output)!r}."
        )
    if predictions is not None:
        plan = _with_codec(plan, choice.preset)
    model, name = _load(chosen, plan)
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


def _make_plan(asking: Asking, read: DataRead) -> Plan:
    from keras_pg2.evaluation.asking import ExampleError, make_plan

    try:
        return make_plan(
            read.examples,
            **read.asked,
            mode=asking.mode,
            max_new_tokens=asking.max_new_tokens,
            num_beams=asking.num_beams,
            antialias=asking.antialias,
            max_detections=asking.max_detections,
            shard=asking.shard,
        )
    except ExampleError as error:
        raise ValueError(f"{asking.data}: {error}") from error


def _with_codec(plan: Plan, preset: str | None) -> Plan:
    """Return a plan that decodes masks of a file of answers, and say by which codec.

    A file does not say who answered: without a preset that was given it is the codec of
    the released checkpoints.
    """
    from keras_pg2.evaluation.mask_decoding import needs_decoder, with_codec

    if not needs_decoder(plan):
        if preset is not None:
            raise ValueError(
                "Expected --preset beside --predictions where masks are decoded, which "
                f"{plan.metric.name} does not need. Leave it out."
            )
        return plan
    from keras_pg2.codecs import MaskCodec
    from keras_pg2.tasks.deciding.model_files import ModelFiles

    codec = None if preset is None else ModelFiles.of_preset(preset).mask_codec
    if codec is not None:
        notice(f"Masks are decoded by the codec of {preset}")
        return with_codec(plan, codec)
    notice("Masks are decoded by the released codec; --preset takes another model's")
    return with_codec(plan, MaskCodec.released())


def _load(chosen: ChosenModel | ChosenExport | Path, plan: Plan) -> tuple[Source, str]:
    """Return what answers, and what it is called."""
    from keras_pg2.evaluation.mask_decoding import needs_decoder

    if isinstance(chosen, Path):
        return chosen, str(chosen)
    if isinstance(chosen, ChosenExport):
        with_codec = plan.mode == "segment" or needs_decoder(plan)
        chosen = replace(chosen, with_codec=with_codec)
    return chosen.load(), chosen.title


def _tell(plan: Plan, read: DataRead) -> None:
    """Say what will be done, and what was left out."""
    for text in read.notes:
        notice(text)
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
