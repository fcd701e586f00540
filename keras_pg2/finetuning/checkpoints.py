"""Checkpoints of a run: all that training goes on from, whole or not there.

A checkpoint is a directory of `state.safetensors` (what is trained, the optimizer, the
states of random generators), `progress.json` and, with LoRA, `adapter.safetensors`.
It is written beside the one before, and then takes its name (`files.whole_files`).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from keras_pg2.checks.texts import printable
from keras_pg2.conversion.adapters.files import ADAPTER_FILE
from keras_pg2.conversion.adapters.runs import PROGRESS_FILE
from keras_pg2.conversion.tables.number_types import is_finite
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.whole_files import replaced
from keras_pg2.finetuning.logs import LARGEST, LARGEST_STEP
from keras_pg2.metrics.registry import METRICS
from keras_pg2.tasks import PaliGemma2CausalLM

STATE_FILE = "state.safetensors"
_RECORD = ("model", "data", "settings")
"""What a run is, which it has to be when it goes on."""


class DivergedError(ValueError):
    """Training has led to numbers that are none."""


def write_checkpoint(
    directory: Path,
    model: PaliGemma2CausalLM,
    progress: dict[str, Any],
    with_optimizer: bool = True,
) -> None:
    """Writes a checkpoint in the place of the one before.

    Args:
        directory: of the checkpoint.
        model: compiled; its optimizer is built.
        progress: what else there is to know, for JSON.
        with_optimizer: False for one that nobody trains on from.

    Raises:
        DivergedError: when a weight is NaN or infinite; what was there stays.
        OSError: when the disk is full or not writable; what was there stays.
    """
    state = _read_state(model, with_optimizer)
    wrong = [key for key, value in state.items() if not is_finite_number(value)]
    if wrong:
        raise DivergedError(
            f"Expected finite weights, received NaN or infinity in {len(wrong)} of "
            f"{len(state)} arrays"
        )
    num_bytes = sum(value.nbytes for value in state.values())
    try:
        with replaced(directory) as part:
            part.mkdir()
            _check_space(part, num_bytes)
            save_file(state, part / STATE_FILE)
            if model.adapters.active is not None:
                model.adapters.save(part / ADAPTER_FILE)
            text = json.dumps(progress, indent=2)
            (part / PROGRESS_FILE).write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        kept = read_progress(directory)
        before = "there is none yet" if kept is None else f"step {kept['step']} stays"
        raise OSError(
            f"Expected to write a checkpoint of {num_bytes / 1e6:.1f} MB to "
            f"{directory}, but: {printable(error)}. The checkpoint before it is whole: "
            f"{before}. Make room on the disk, then go on with --resume (resume=True)."
        ) from error


def read_progress(directory: Path) -> dict[str, Any] | None:
    """Return what a checkpoint knows besides arrays; None if there is no checkpoint.

    Raises:
        OSError: if it cannot be read.
        ValueError: if a field is missing or of another kind; names file and field.
    """
    path = directory / PROGRESS_FILE
    if not path.is_file():
        return None
    fields = Fields.read(path)
    best = fields.fields("best", None)
    return {
        "step": fields.integer("step"),
        "evaluations": [
            _read_evaluation(each)
            for each in fields.items("evaluations", Fields.fields)
        ],
        "best": None if best is None else _read_evaluation(best),
        **{part: fields.table(part, Fields.value) for part in _RECORD},
    }


def _read_evaluation(fields: Fields) -> dict[str, Any]:
    return {
        "step": fields.integer("step"),
        "epoch": fields.number("epoch", at_least=0, at_most=LARGEST_STEP),
        "metric": fields.text("metric", choices=tuple(METRICS)),
        **{name: _read_score(fields, name) for name in ("loss", "accuracy", "score")},
    }


def _read_score(fields: Fields, name: str) -> float:
    """Return a number, which may be NaN, as the score of nothing is, or infinite."""
    value = fields.value(name)
    if isinstance(value, float) and not math.isfinite(value):
        return value
    return fields.number(name, at_least=-LARGEST, at_most=LARGEST)


def restore_state(directory: Path, model: PaliGemma2CausalLM) -> None:
    """Puts weights, optimizer and random generators back as they were.

    Raises:
        ValueError: when the checkpoint is damaged, or of another network; nothing is
            changed.
    """
    variables = _state_variables(model, with_optimizer=True)
    _assign(directory, _read_arrays(directory), variables)


def restore_weights(directory: Path, model: PaliGemma2CausalLM) -> None:
    """Puts the trained weights of a checkpoint back, and nothing else.

    Raises:
        ValueError: when the checkpoint is damaged, or of another network; nothing is
            changed.
    """
    variables, arrays = _weights(model), _read_arrays(directory)
    kept = {key: value for key, value in arrays.items() if key in variables}
    _assign(directory, kept, variables)


def _assign(
    directory: Path, arrays: Mapping[str, np.ndarray], variables: Mapping[str, Any]
) -> None:
    """Assign all arrays, or none if one does not fit."""
    wanted = {key: _describe(v.shape, v.dtype) for key, v in variables.items()}
    found = {
        key: _describe(value.shape, value.dtype)
        if is_finite_number(value)
        else "NaN or infinity"
        for key, value in arrays.items()
    }
    if wanted != found:
        differing = [
            f"{key} {found.get(key, 'missing')}, here {wanted.get(key, 'none')}"
            for key in {**wanted, **found}
            if wanted.get(key) != found.get(key)
        ]
        raise ValueError(
            f"Expected a checkpoint of this model in {directory}. Received "
            f"{len(differing)} arrays of another: {'; '.join(differing[:3])}. Resume "
            "with the model and the settings that it was made with."
        )
    for key, variable in variables.items():
        variable.assign(arrays[key])


def _describe(shape: Sequence[int], dtype: Any) -> str:
    """Say what must agree: whole numbers are of another size on each backend."""
    is_float = keras.backend.is_float_dtype(str(dtype))
    return f"{tuple(shape)} of {'floats' if is_float else 'whole numbers'}"


def is_finite_number(value: np.ndarray) -> bool:
    """True for whole numbers, and for floats without NaN and infinity."""
    return value.dtype.kind in "iub" or is_finite(value)


def _read_arrays(directory: Path) -> dict[str, np.ndarray]:
    path = directory / STATE_FILE
    try:
        return load_file(path)
    # Types that NumPy has not are a KeyError or TypeError of safetensors.
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Expected a whole checkpoint in {directory}, but {path} cannot be read: "
            f"{printable(error)}. Put a copy of the directory back if there is one "
            "(the adapter of the best evaluation is in best/ beside it), or start a "
            "new run."
        ) from error


def _check_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise OSError(f"there is no space left for it ({free / 1e6:.1f} MB are free)")


def _read_state(
    model: PaliGemma2CausalLM, with_optimizer: bool
) -> dict[str, np.ndarray]:
    variables = _state_variables(model, with_optimizer)
    return {key: _to_numpy(variable) for key, variable in variables.items()}


def _to_numpy(variable: Any) -> np.ndarray:
    value = variable.value
    if keras.backend.standardize_dtype(variable.dtype) == "bfloat16":
        value = ops.cast(value, "float32")  # Exact, and NumPy knows it everywhere.
    return np.asarray(ops.convert_to_numpy(value), order="C")


def _state_variables(model: PaliGemma2CausalLM, with_optimizer: bool) -> dict[str, Any]:
    found = _weights(model)
    if with_optimizer:
        found |= {f"optimizer/{i}": v for i, v in enumerate(model.optimizer.variables)}
    # Of another dtype on each backend, so it is not looked for by that.
    return found | {"random/0": model.backbone.text_decoder.noise.generator.state}


def _weights(model: PaliGemma2CausalLM) -> dict[str, Any]:
    # In Keras' order, which is that of the layers and so the same in every process.
    return {f"weights/{i}": v for i, v in enumerate(model.trainable_variables)}
