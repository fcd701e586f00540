"""Makers of directories as tools leave them, all of one small network.

Weights are numbers that bfloat16 and float16 have too, so that whoever reads them
rightly computes the same logits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import torch
from safetensors.numpy import save_file

Tensors = dict[str, np.ndarray]

TABLE = "language_model.model.embed_tokens.weight"
HEAD = "language_model.lm_head.weight"
PATCHES = "vision_tower.vision_model.embeddings.patch_embedding.weight"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = tuple(f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3))


class Network(NamedTuple):
    """What every layout is made of.

    Attributes:
        config: content of config.json, in the hub's form.
        tensors: float32 tensors by their names on the hub.
    """

    config: dict[str, Any]
    tensors: Tensors


def hub_network(config: Mapping[str, Any], state: Mapping[str, Any]) -> Network:
    """Return a network of transformers 5 under the hub's names, rounded to 8 bits."""
    hub = (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower.vision_model."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
    )
    tensors = {}
    for key, value in state.items():
        for theirs, ours in hub:
            if key.startswith(theirs):
                rounded = value.numpy().astype(ml_dtypes.bfloat16).astype("float32")
                tensors[key.replace(theirs, ours, 1)] = rounded
    return Network(dict(config), tensors)


def as_of_4_52(key: str) -> str:
    """The name that transformers 4.52 gave a tensor."""
    return "model." + key.replace("language_model.model.", "language_model.", 1)


def as_of_5(key: str) -> str:
    return as_of_4_52(key).replace("vision_tower.vision_model.", "vision_tower.", 1)


def twice_more(key: str) -> str:
    return key.replace("language_model.model.", "language_model.model.model.", 1)


def write_config(folder: Path, network: Network, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps({**network.config, **changes}))


def one_file(
    folder: Path,
    network: Network,
    *,
    key: Callable[[str], str] = lambda key: key,
    dtype: Any = np.float32,
    without: Iterable[str] = (),
    extra: Callable[[Tensors], Tensors] = lambda tensors: {},
    name: str = SINGLE,
    written_by: str = "pt",
    **config: Any,
) -> None:
    """One file of weights under other names, of another type, or with others beside."""
    tensors = {k: v for k, v in network.tensors.items() if k not in without}
    renamed = {
        key(k): np.ascontiguousarray(v.astype(dtype)) for k, v in tensors.items()
    }
    renamed |= extra(network.tensors)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(renamed, folder / name, {"format": written_by})
    write_config(folder, network, **config)


def shards(
    folder: Path,
    network: Network,
    *,
    in_index: Callable[[dict[str, str]], dict[str, str]] | None = lambda names: names,
    without: str | None = None,
) -> None:
    """Three files, and an index, which may be changed or missing."""
    keys = list(network.tensors)
    weight_map = {key: SHARDS[i % 3] for i, key in enumerate(keys)}
    for name in SHARDS:
        part = {k: network.tensors[k] for k in keys if weight_map[k] == name}
        if name != without:
            save_file(part, folder / name, {"format": "pt"})
    if in_index is not None:
        index = {"metadata": {"total_size": 1}, "weight_map": in_index(weight_map)}
        (folder / INDEX).write_text(json.dumps(index))
    write_config(folder, network)


def changed(network: Network) -> Network:
    """The network with a final norm of its own."""
    key = "language_model.model.norm.weight"
    return network._replace(tensors={**network.tensors, key: network.tensors[key] + 1})


def single_beside_shards(folder: Path, network: Network) -> None:
    shards(folder, changed(network))
    one_file(folder, network)


def single_beside_stale_index(folder: Path, network: Network) -> None:
    single_beside_shards(folder, network)
    for name in SHARDS:
        (folder / name).unlink()


def pickles(folder: Path, network: Network, num_files: int = 1) -> None:
    state = {k: torch.from_numpy(v) for k, v in network.tensors.items()}
    write_config(folder, network)
    if num_files == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return
    weight_map = {}
    for i in range(num_files):
        name = f"pytorch_model-{i + 1:05d}-of-{num_files:05d}.bin"
        part = dict(list(state.items())[i::num_files])
        torch.save(part, folder / name)
        weight_map.update(dict.fromkeys(part, name))
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def pickle_beside(folder: Path, network: Network) -> None:
    pickles(folder, changed(network))
    one_file(folder, network)


def no_weights(folder: Path, network: Network, *names: str, **config: Any) -> None:
    """A configuration, and files that are not looked into."""
    write_config(folder, network, **config)
    files(folder, network, *names)


def files(folder: Path, network: Network, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights of another kind")


def lfs_pointer(folder: Path, network: Network) -> None:
    write_config(folder, network)
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (folder / SINGLE).write_text(text)


def adapter(folder: Path, network: Network, base: str = "base") -> None:
    """An adapter of PEFT that adds something to one kernel."""
    folder.mkdir(exist_ok=True)
    name = "base_model.model.model.language_model.layers.0.self_attn.o_proj.lora_{}"
    shape = network.tensors[
        "language_model.model.layers.0.self_attn.o_proj.weight"
    ].shape
    factors = {
        f"{name.format('A')}.weight": np.ones((2, shape[1]), "float32"),
        f"{name.format('B')}.weight": np.ones((shape[0], 2), "float32"),
    }
    save_file(factors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": 2,
        "lora_alpha": 4,
        "target_modules": r".*language_model.layers.0.self_attn.o_proj",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def adapter_by_itself(folder: Path, network: Network) -> None:
    base = folder.parent / f"{folder.name}_base"
    one_file(base, network)
    adapter(folder, network, str(base))


def adapter_with_config(folder: Path, network: Network) -> None:
    adapter(folder, network)
    write_config(folder, network)


def adapter_beside_weights(folder: Path, network: Network) -> None:
    adapter(folder, network)
    one_file(folder, network)


def run_folder(folder: Path, network: Network) -> None:
    for step in (500, 1000):
        one_file(folder / f"checkpoint-{step}", network)
    files(folder, network, "training_args.bin", "runs/events.out.tfevents.1")


def checkpoint_of_a_run(folder: Path, network: Network) -> None:
    one_file(folder, network)
    names = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")
    files(folder, network, *names)


def cache_of_the_hub(folder: Path, network: Network) -> None:
    one_file(folder / "snapshots" / "0123abc", network)
    files(folder, network, "refs/main")


def in_front(text: str) -> Callable[[str], str]:
    return lambda key: text + as_of_4_52(key)


def inside_decoder(key: str) -> str:
    """As of a decoder that torch.compile was called on."""
    return as_of_4_52(key).replace("language_model.", "language_model._orig_mod.")


def wrapped_everywhere(key: str) -> str:
    """As of FSDP around the model and around each layer."""
    found = as_of_4_52(key).replace(".layers.0.", ".layers.0._fsdp_wrapped_module.")
    return f"_fsdp_wrapped_module.{found}"


def another_projector(key: str) -> str:
    """As of a model with two layers between pictures and text."""
    return key.replace(
        "multi_modal_projector.linear.", "multi_modal_projector.linear_1."
    )


def policy(tensors: Tensors, around: str = "") -> Tensors:
    """A table under the output's name, and what a policy for robots has beside it."""
    start = f"{around}paligemma_with_expert."
    return {
        f"{start}paligemma.lm_head.weight": tensors[TABLE],
        f"{start}gemma_expert.model.norm.weight": np.ones(4, "float32"),
        f"{around}action_in_proj.weight": np.ones((4, 4), "float32"),
    }


def channels_last(tensors: Tensors) -> Tensors:
    return {PATCHES: np.ascontiguousarray(tensors[PATCHES].transpose(0, 2, 3, 1))}


def old_buffers(tensors: Tensors) -> Tensors:
    layer = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq"
    return {
        layer: np.ones(4, "float32"),
        "vision_tower.vision_model.embeddings.position_ids": np.arange(9)[None],
    }


def zeros(*keys: str, dtype: str = "float32") -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: np.zeros((2, 2), dtype) for key in keys}


def policy_of_lerobot(folder: Path, network: Network) -> None:
    (folder / "config.json").write_text('{"type": "pi0"}')
