"""What `info` says: of a checkpoint, a run, an adapter or exported files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from keras_pg2.catalogue.names import Preset, locate, resolve
from keras_pg2.conversion.adapters.files import in_words, read_adapter
from keras_pg2.conversion.adapters.opening import find_adapter, is_adapter
from keras_pg2.conversion.adapters.peft import WEIGHTS_FILE
from keras_pg2.conversion.adapters.peft_config import read_peft_config
from keras_pg2.conversion.adapters.runs import (
    BEST,
    LAST,
    PROGRESS_FILE,
    RunFolder,
    read_run,
)
from keras_pg2.conversion.adapters.tensors import float_blocks
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.found_models import ExportedFiles, find_exported, find_path
from keras_pg2.deploy.runners.files import read_manifest
from keras_pg2.files.json_fields import Fields, read_config
from keras_pg2.preprocessing.preset_files import CODEC_FILE

_MANIFESTS = {"LiteRT": "export_litert", "ONNX": "export_onnx"}
"""Functions that write a manifest, by the name of the runtime."""


def describe(source: str, tokenizer: Path | None = None) -> dict[str, Any]:
    """Return what is known of a model, for JSON; no weights are loaded.

    Args:
        source: Name, URI, directory or file; a released one not here is described by
            its name.
        tokenizer: A SentencePiece file in place of a checkpoint's own.

    Raises:
        FileNotFoundError, OSError, ValueError: if it is damaged or nothing of these,
            or a tokenizer is given for something else than a checkpoint.
    """
    path = find_path(source)
    special = None if path is None else _describe_special(path)
    if special is None:
        return _describe_checkpoint(source, tokenizer)
    if tokenizer is not None:
        raise ValueError(
            f"Expected --tokenizer with a checkpoint. Received: {source}, "
            f"{special['kind']}. Leave it out."
        )
    return special


def _describe_special(path: Path) -> dict[str, Any] | None:
    """Return what is known of a path; None if it is not one of three kinds."""
    exported = find_exported(path)
    if exported is not None:
        return _describe_exported(exported)
    run = read_run(path)
    if run is not None:
        return _describe_run(run)
    return _describe_adapter(find_adapter(path)) if is_adapter(path) else None


def _describe_run(run: RunFolder) -> dict[str, Any]:
    data, settings = run.record.fields("data"), run.record.fields("settings")
    files = [run.path / name / PROGRESS_FILE for name in (LAST, BEST)]
    progress = next((read_config(file) for file in files if file.is_file()), None)
    best = None if progress is None else progress.fields("best", None)
    found: dict[str, Any] = {
        "kind": "a run of finetune",
        "path": str(run.path),
        "state": "finished" if run.is_finished else "not finished (--resume)",
        "base": run.base_name,
        "base_path": run.base_path or "not known",
        "merged_first": ", ".join(map(str, run.base_adapters)) or "nothing",
        "trained": run.lora or "all weights",
        "rows": data.integer("num_rows"),
        "evaluation_rows": data.integer("num_eval_rows"),
        "recipe": settings.text("recipe", None) or "default",
        "steps": 0 if progress is None else progress.integer("step"),
    }
    if best is not None:
        found |= {
            "metric": best.text("metric"),
            "best_score": best.value("score"),
            "best_loss": best.value("loss"),
            "best_step": best.integer("step"),
        }
    if run.is_finished and run.trains_lora:
        found["adapter"] = _describe_adapter(run.result())
    elif run.is_finished:
        found["preset"] = str(run.result())
    return found


def _describe_adapter(path: Path) -> dict[str, Any]:
    kind: dict[str, Any] = {"kind": "an adapter", "path": str(path)}
    if path.is_dir():
        config = read_peft_config(path)
        blocks = float_blocks(path / WEIGHTS_FILE)
        targets = config.target_modules
        return {
            **kind,
            "format": "PEFT",
            "base": config.base or "not known",
            "rank": in_words([config.rank, *config.rank_pattern.values()]),
            "alpha": in_words([config.alpha, *config.alpha_pattern.values()]),
            "layers": len(blocks) // 2,
            "parameters": sum(math.prod(block.shape) for block in blocks.values()),
            "bytes": sum(block.num_bytes for block in blocks.values()),
            "targets": targets
            if isinstance(targets, str)
            else ", ".join(targets or ()),
        }
    adapter = read_adapter(path)
    factors = adapter.layers.values()
    return {
        **kind,
        "format": "keras_pg2",
        "base": adapter.base.name or "not known",
        "rank": in_words(each.rank for each in factors),
        "alpha": in_words(each.alpha for each in factors),
        "layers": len(factors),
        "parameters": sum(each.a.size + each.b.size for each in factors),
        "bytes": path.stat().st_size,
        "targets": ", ".join(adapter.targets),
    }


def _describe_exported(found: ExportedFiles) -> dict[str, Any]:
    path, runtime = found.path, found.runtime
    record: dict[str, Any] = {
        "kind": "an exported model",
        "path": str(path),
        "runtime": runtime.name,
        "run_by": found.how_to_run(),
    }
    if runtime.name in _MANIFESTS:
        manifest = read_manifest(
            path, runtime.marker, _MANIFESTS[runtime.name], _read_nothing
        )
        record |= {
            "dtype": manifest["quantization"] or "float32",
            "image_size": manifest["image_size"],
            "cache_length": manifest["cache_length"],
            "mask_codec": "its own" if (path / CODEC_FILE).is_file() else "none",
        }
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    sizes = {
        file.name if file == path else file.relative_to(path).as_posix(): (
            file.stat().st_size
        )
        for file in files
        if file.is_file()
    }
    return {**record, "bytes": sum(sizes.values()), "files": sizes}


def _read_nothing(fields: Fields) -> dict[str, Any]:
    return {}


def _describe_checkpoint(source: str, tokenizer: Path | None) -> dict[str, Any]:
    """Return what is known of a checkpoint; of a released one not here, by its name."""
    found = resolve(source)
    if isinstance(found, Preset):
        return {
            "name": found.name,
            "kind": found.kind,
            "parameters": found.num_parameters,
            "sequence_length": found.sequence_length,
            "huggingface_id": found.huggingface_id,
            "kaggle_handle": found.kaggle_handle,
            **found.architecture,
        }
    checkpoint = open_checkpoint(locate(source), tokenizer)
    ignored = checkpoint.check()
    proto = checkpoint.preprocessing.tokenizer
    return {
        "path": str(checkpoint.path),
        "format": checkpoint.format,
        "parameters": checkpoint.num_parameters,
        "weights_bytes": checkpoint.num_bytes,
        "dtype": ", ".join(checkpoint.stored_types),
        "tensors": len(checkpoint.keys),
        "tokenizer": "none" if proto is None else f"{len(proto):,} bytes",
        "sequence_length": checkpoint.preprocessing.sequence_length,
        "interpolation": checkpoint.preprocessing.interpolation,
        **{
            part: dict(architecture)
            for part, architecture in checkpoint.architecture.items()
        },
        "left_outs": [f"{key} ({reason})" for key, reason in ignored.items()],
        "notes": list(checkpoint.notes),
    }
