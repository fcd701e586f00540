"""What a run is, in a record: for its files, and to know it again when it goes on."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_pg2.catalogue.names import is_name
from keras_pg2.conversion.adapters.files import ADAPTER_FILE, in_words
from keras_pg2.conversion.adapters.runs import BEST, PRESET, SETTINGS_FILE
from keras_pg2.datasets.rows import Row
from keras_pg2.files.user_paths import user_path
from keras_pg2.files.whole_files import recover
from keras_pg2.finetuning.checkpoints import read_progress
from keras_pg2.finetuning.data_files import fingerprint
from keras_pg2.finetuning.plan import Plan
from keras_pg2.finetuning.settings import Settings, differences
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.adapters.layers import dense_layers
from keras_pg2.tasks.training.memory import estimate_memory

CLAIM = "run"
"""Stands for the whole run, while a process has it."""
_LATER = (BEST, ADAPTER_FILE, PRESET)
"""What a run has only after its first checkpoint."""


def describe_model(model: PaliGemma2CausalLM) -> dict[str, Any]:
    """Return what a run's record says of its model, for JSON."""
    return {
        "base": model.adapters.base_name,
        **_where_base_lies(model),
        "lora": _describe_lora(model),
        "num_trainable": sum(math.prod(v.shape) for v in model.trainable_variables),
        "dtype": model.backbone.dtype_policy.name,
        "backend": keras.config.backend(),
    }


def _where_base_lies(model: PaliGemma2CausalLM) -> dict[str, Any]:
    """Return what finds the base again, which has its name alone beside it."""
    origin = model.adapters.origin
    if origin is None:
        return {}
    base = str(origin.base)
    is_path = not is_name(base) and "://" not in base
    return {
        "base_path": str(user_path(base).absolute()) if is_path else base,
        "base_adapters": [str(path.absolute()) for path in origin.adapters],
    }


def describe_data(rows: Sequence[Row], eval_rows: Sequence[Row]) -> dict[str, Any]:
    """Return how many rows there are, and hashes of them, for JSON."""
    return {
        "num_rows": len(rows),
        "num_skipped": getattr(rows, "num_skipped", 0),
        "num_eval_rows": len(eval_rows),
        "rows": fingerprint(rows),
        "eval_rows": fingerprint(eval_rows),
    }


def find_progress(last: Path, resume: bool) -> dict[str, Any] | None:
    """What the last checkpoint knows; None for a run that has not begun.

    Args:
        last: the checkpoint, in the directory of the run.
        resume: whether a run may be there.

    Raises:
        FileExistsError: when there is something, and `resume` is False.
        NotADirectoryError: when a file is in the place of the directory.
        FileNotFoundError: when there is no directory of a run to go on with, or its
            last checkpoint is gone.
        OSError: when nothing can be written there.
    """
    folder = last.parent
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"Expected a directory for the run, but {str(folder)!r} is a file."
        )
    for name in (CLAIM, SETTINGS_FILE, last.name, *_LATER):
        recover(folder / name)
    if not resume:
        if folder.is_dir() and any(folder.iterdir()):
            raise FileExistsError(
                f"Expected a new directory for the run, but there is something in "
                f"{str(folder)!r}. Choose another one, or go on with the run that is "
                "there (--resume, resume=True)."
            )
        _check_writable(folder)
        return None
    # One that was killed at once has settings, but no checkpoint yet.
    if not (folder / SETTINGS_FILE).is_file():
        raise FileNotFoundError(
            f"Expected the directory of a run to resume, but there is no "
            f"{SETTINGS_FILE} in {str(folder)!r}. Start without resuming."
        )
    found = read_progress(last)
    later = [name for name in _LATER if (folder / name).exists()]
    if found is None and later:
        raise FileNotFoundError(
            f"Expected the last checkpoint of the run in {str(last)!r}, but it is not "
            f"there, while {', '.join(later)} beside it would be written over. Put it "
            "back, or start a new run in another directory."
        )
    return found


def _check_writable(folder: Path) -> None:
    """Make a file without a name where the run's directory will be."""
    parent = next(
        each for each in (folder, *folder.absolute().parents) if each.exists()
    )
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise OSError(
            f"Expected a directory for the run that can be written, but in "
            f"{str(parent)!r}: {error.strerror}. Choose another one."
        ) from error


def check_same(before: Mapping[str, Any], now: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that a run goes on as it began.

    Args:
        before: Progress of the last checkpoint.
        now: Model, data and settings, or what of these is known so far.

    Raises:
        ValueError: naming all that differs.
    """
    found = [
        f"{part} {difference}"
        for part, values in now.items()
        for difference in differences(
            {name: before[part][name] for name in values if name in before[part]},
            values,
        )
    ]
    if found:
        raise ValueError(
            "Expected a run to be resumed with the model, data and settings that it "
            f"began with. Received others: {'; '.join(found)}. Pass the same, or start "
            "a new run in another directory."
        )


def plan_lines(
    model: PaliGemma2CausalLM, plan: Plan, record: Mapping[str, Any], output: Path
) -> dict[str, str]:
    """What a user should see before a run starts, by names."""
    settings, data, base = plan.settings, record["data"], record["model"]
    num_weights = sum(math.prod(v.shape) for v in model.weights)
    update = (settings.batch_size or 1) * (settings.accumulate or 1)
    evaluated = (
        f"{min(settings.eval_rows, data['num_eval_rows']):,} rows by "
        f"{settings.metric}, every {plan.eval_steps:,} steps{_beams(plan)}"
        if data["num_eval_rows"]
        else "none: no evaluation rows (--eval-data, --eval-share)"
    )
    is_default = settings.learning_rate == plan.default_rate.value
    origin = f" ({plan.default_rate})" if is_default else ""
    return {
        "model": f"{base['base'] or 'unnamed'}, {base['dtype']}, {base['backend']}",
        "trained": f"{base['num_trainable']:,} of {num_weights:,} weights "
        f"({base['lora'] or 'no LoRA'})",
        "rows": f"{data['num_rows']:,}, {data['num_skipped']:,} skipped",
        "evaluation": evaluated,
        "recipe": f"{plan.recipe.task} of {plan.recipe.size.upper()} at "
        f"{plan.recipe.resolution} px",
        "steps": f"{plan.num_steps:,} of {settings.batch_size} rows, {settings.epochs} "
        f"epochs of {plan.steps_per_epoch:,}; an update of {update} rows every "
        f"{settings.accumulate}",
        "learning rate": f"{settings.learning_rate:.3g}{origin} after "
        f"{plan.num_warmup_steps:,} steps, then a cosine to 0; weight decay "
        f"{settings.weight_decay:.3g}, label smoothing {settings.label_smoothing:g}, "
        f"dropout {settings.dropout:g}",
        "text length": f"{settings.text_length} tokens",
        **_resizing(plan),
        "memory": _describe_memory(model, settings),
        "output": str(output),
    }


def _beams(plan: Plan) -> str:
    count = plan.recipe.num_beams
    return f", with {count} beams as in the recipe" if count > 1 else ""


def _resizing(plan: Plan) -> dict[str, str]:
    """Return a line of how pictures are resized, where the recipe says so."""
    if plan.recipe.antialias is None:
        return {}
    in_training, at_evaluation = map(describe_antialias, plan.recipe.antialias)
    return {
        "pictures": f"resized {in_training} in training, {at_evaluation} at evaluation"
    }


def describe_antialias(antialias: bool | None) -> str:
    """Return how pictures are resized; None for the preset's own way."""
    if antialias is None:
        return "as by the preset"
    return "with antialias" if antialias else "without antialias"


def _describe_memory(model: PaliGemma2CausalLM, settings: Settings) -> str:
    assert settings.text_length is not None
    found = estimate_memory(model, settings.batch_size or 1, settings.text_length)
    runtime = ""
    if found.runtime:
        runtime = f", compiler and runtime {found.runtime / 1e9:.2f} in any case"
    return (
        f"about {found.total / 1e9:.2f} GB for a step (weights "
        f"{found.weights / 1e9:.2f}, activations {found.activations / 1e9:.2f}, loss "
        f"{found.loss / 1e9:.2f}{runtime}), packages not counted"
    )


def _describe_lora(model: PaliGemma2CausalLM) -> str | None:
    layers = [x for x in dense_layers(model.backbone).values() if x.lora_enabled]
    if model.adapters.active is None:
        return None
    ranks = in_words(layer.lora_rank for layer in layers)
    alphas = in_words(layer.lora_alpha for layer in layers)
    modes = {layer.quantization_mode for layer in layers} - {None}
    base = f" of {'/'.join(sorted(modes))} kernels" if modes else ""
    return f"LoRA of rank {ranks}, alpha {alphas} in {len(layers)} layers{base}"
