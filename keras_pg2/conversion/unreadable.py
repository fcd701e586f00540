"""What a path holds that is no checkpoint to be opened, and what to do with it.

Directories are recognised by names of files alone; none of them is opened but the
JSON of an adapter.
"""

from __future__ import annotations

import re
from pathlib import Path

from keras_pg2.checks.texts import first_names
from keras_pg2.files.json_fields import Fields

_FORMATS = (
    "Expected a directory with a config.json of keras_pg2, KerasHub or Hugging Face, "
    "or a file that ends in .npz (big_vision) or .sbs (gemma.cpp). "
)
_ADAPTER = "adapter_config.json"
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_SAVE = (
    "Load it in transformers (PaliGemmaForConditionalGeneration.from_pretrained), "
    "and save it by save_pretrained, which writes safetensors."
)
_SOURCE = "Load the checkpoint it was made from."
# What a trainer leaves beside the weights.
_STATE = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state).*")
# Names of files, what they are and what to do; the surest first.
_KINDS = (
    (
        ("global_step*", "zero_to_fp32.py", "*_optim_states.pt"),
        "shards of DeepSpeed. Run `python zero_to_fp32.py . OUT --safe_serialization` "
        "in it, and copy the JSON files to OUT.",
    ),
    (
        ("*.distcp", "pytorch_model_fsdp*", "shard-*-model-*.safetensors"),
        "shards of a distributed run (FSDP). Run `accelerate merge-weights` on the "
        "folder of shards, and copy the JSON files to what it writes.",
    ),
    (
        ("*.safetensors",),
        "safetensors files of other names than a config.json goes with: one file is "
        "model.safetensors, shards have a model.safetensors.index.json. Rename it, or "
        "download the index.",
    ),
    (
        ("*.bin", "*.pt", "*.pth", "*.ckpt", "pytorch_model.bin.index.json"),
        f"weights of PyTorch, pickles, which could run any code and are not read. "
        f"{_SAVE}",
    ),
    (("*.gguf",), f"GGUF, weights of llama.cpp. {_SOURCE}"),
    (("*.msgpack",), f"weights of Flax. {_SAVE}"),
    (("tf_model.h5",), f"weights of TensorFlow. {_SAVE}"),
    (
        ("*.onnx", "onnx"),
        f"graphs of ONNX, which have no weights to load. {_SOURCE}",
    ),
    (
        ("*.tflite", "*.task", "*.litertlm"),
        f"files of LiteRT, which have no weights to load. {_SOURCE}",
    ),
    (("saved_model.pb",), f"a SavedModel, which is run as it is. {_SOURCE}"),
    (("*.keras",), "an archive of Keras. Load it by keras.models.load_model."),
)


def no_checkpoint(path: Path) -> Exception:
    """Return the error for a file or directory that is no checkpoint.

    Raises:
        ValueError: if a file that tells more about it is no JSON.
    """
    if path.is_file():
        return ValueError(f"{_FORMATS}Received: the file {path}.{_of_file(path)}")
    config = path / "config.json"
    if config.is_file():
        return ValueError(f"{_FORMATS}Received: {path}, with {_of_config(config)}.")
    return FileNotFoundError(f"{_FORMATS}Received: {describe(path)}")


def describe(directory: Path) -> str:
    """Return what a directory holds instead of weights to load, and what to do.

    Raises:
        ValueError: if the configuration of an adapter is no JSON.
    """
    if (directory / _ADAPTER).is_file():
        return f"{directory}, {_of_adapter(directory)}"
    if not any(directory.iterdir()):
        return f"the empty directory {directory}. Download the whole repository."
    for patterns, what in _KINDS:
        names = sorted(p.name for glob in patterns for p in directory.glob(glob))
        found = [name for name in names if not _STATE.fullmatch(name)]
        if found:
            return f"{directory} with {first_names(found)}, {what}"
    files = sorted(
        p.name for p in directory.iterdir() if p.suffix.lower() in (".npz", ".sbs")
    )
    if files:
        return f"a directory of {', '.join(files)}. Name the file."
    models = _models_below(directory)
    if models:
        return (
            f"{directory}, with models in folders of it. Pass one of them: "
            f"{first_names(models)}."
        )
    return (
        f"the directory {str(directory)!r} without one. Download the whole "
        "repository, and pass the directory of one model."
    )


def has_adapter(directory: Path) -> bool:
    """Return whether a directory has an adapter of PEFT."""
    return (directory / _ADAPTER).is_file() and any(
        (directory / name).is_file() for name in _ADAPTER_WEIGHTS
    )


def _of_file(path: Path) -> str:
    if path.suffix.lower() == ".safetensors" or path.name == "config.json":
        return f" Pass its directory, {path.parent}."
    for patterns, what in _KINDS:
        if any(path.match(pattern) for pattern in patterns):
            return f" It is of {what}"
    return ""


def _of_config(path: Path) -> str:
    config = Fields.read(path)
    # Keras, KerasHub, LeRobot.
    for name in ("registered_name", "class_name", "type"):
        found = config.text(name, None)
        if found is not None:
            return f"{name} {found!r} in config.json"
    return "no model_type in config.json"


def _of_adapter(directory: Path) -> str:
    config = Fields.read(directory / _ADAPTER)
    base = config.text("base_model_name_or_path", None)
    named = f"{base!r}, the model it was trained on" if base else "its model"
    return (
        f"a PEFT adapter without the weights of a model. Load {named}, then the "
        "adapter by model.adapters.load(path)."
    )


def _models_below(directory: Path) -> list[str]:
    """Folders with a configuration, two levels down, as in a run or a cache."""
    found = [
        path.parent.relative_to(directory).as_posix()
        for depth in ("*", "*/*")
        for name in ("config.json", _ADAPTER)
        for path in directory.glob(f"{depth}/{name}")
    ]
    return sorted(set(found), key=_by_number)


def _by_number(name: str) -> list[int | str]:
    """A key that sorts checkpoint-500 before checkpoint-1000."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]
