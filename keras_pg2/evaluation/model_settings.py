"""What answers depend on besides the examples: model, settings, versions."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_pg2 import tasks
from keras_pg2.evaluation.asking import Plan
from keras_pg2.evaluation.publishing import ModelKind, kind_of
from keras_pg2.evaluation.sources import Source
from keras_pg2.start.backends import running_backend
from keras_pg2.tasks.answering.runners import Runner, is_runner

if TYPE_CHECKING:
    from keras_pg2.tasks import PaliGemma2CausalLM


def settings_of(model: Source, plan: Plan) -> dict[str, Any]:
    """Return what answers depend on; what is not known is left out."""
    settings: dict[str, Any] = {
        "prompt": plan.prompt,
        "mode": plan.mode,
        "num_images": plan.num_images,
        "shard": None if plan.shard is None else list(plan.shard),
    }
    if not isinstance(model, str | os.PathLike):
        settings |= {
            "num_beams": plan.num_beams,
            "antialias": plan.antialias,
            "max_new_tokens": plan.max_new_tokens,
        }
        if plan.mode in ("detect", "segment"):
            settings["max_detections"] = plan.max_detections
        settings |= _settings_of_network(model, plan)
    return {key: value for key, value in settings.items() if value is not None}


def _settings_of_network(
    model: PaliGemma2CausalLM | Runner, plan: Plan
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if not isinstance(model, tasks.PaliGemma2CausalLM):
        manifest = model.manifest
        if plan.antialias is None:
            settings["antialias"] = manifest["antialias"]
        return settings | {
            "resolution": manifest["image_size"],
            "dtype": manifest["quantization"] or "float32",
            "backend": type(model).__name__,
        }
    assert model.preprocessor is not None
    converter = model.preprocessor.image_converter
    if plan.antialias is None and converter is not None:
        settings["antialias"] = converter.antialias
    if plan.max_new_tokens is None:
        settings["text_length"] = model.preprocessor.sequence_length
    vision = model.backbone.architecture["vision_encoder"]
    return settings | {
        "resolution": vision["image_size"],
        "dtype": str(model.backbone.dtype_policy.name),
        "backend": str(running_backend()),
    }


def name_of(model: Source) -> str:
    """Return what a model is called: its preset and adapter, or its file."""
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    if not isinstance(model, tasks.PaliGemma2CausalLM):
        return type(model).__name__
    active = model.adapters.active
    base = model.adapters.base_name or model.name
    return base if active is None else f"{base} with {active}"


def model_kind(model: Source) -> ModelKind | None:
    """Return which of the papers' models it is like; None if that is not known."""
    if isinstance(model, str | os.PathLike):
        return None
    if not isinstance(model, tasks.PaliGemma2CausalLM):
        return None
    return kind_of(model.backbone.architecture)


def versions_of(model: Source) -> dict[str, str]:
    """Return the versions of the packages that compute."""
    packages = ["keras-pg2", "numpy"]
    if is_runner(model):
        packages += ["ai-edge-litert", "onnxruntime"]
    elif not isinstance(model, str | os.PathLike):
        packages += ["keras", str(running_backend())]
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def fingerprint(model: PaliGemma2CausalLM | Runner) -> str:
    """Return a checksum of the beginning of every weight; "" without weights."""
    if not isinstance(model, tasks.PaliGemma2CausalLM):
        return ""
    from keras import ops  # The model has brought it.

    checksum = 0
    for variable in model.backbone.weights:
        first = ops.reshape(ops.convert_to_tensor(variable.value), (-1,))[:16]
        numbers = ops.convert_to_numpy(ops.cast(first, "float32"))
        checksum = zlib.crc32(np.ascontiguousarray(numbers).tobytes(), checksum)
    return f"{checksum:08x}"
