"""Directories as tools leave them, and what becomes of them here and elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from tests.support.layout_writers import (
    HEAD,
    SHARDS,
    TABLE,
    Network,
    adapter_beside_weights,
    adapter_by_itself,
    adapter_with_config,
    another_projector,
    as_of_4_52,
    as_of_5,
    cache_of_the_hub,
    channels_last,
    checkpoint_of_a_run,
    files,
    in_front,
    inside_decoder,
    lfs_pointer,
    no_weights,
    old_buffers,
    one_file,
    pickle_beside,
    pickles,
    policy,
    policy_of_lerobot,
    run_folder,
    shards,
    single_beside_shards,
    single_beside_stale_index,
    twice_more,
    wrapped_everywhere,
    zeros,
)

SAME, OTHER, ERROR = "the same", "other numbers", "an error"
"""What becomes of a directory: logits as of the network, other ones, an error."""
NOTED = "the same, with a note"


class Layout(NamedTuple):
    """One way in which a directory is left.

    Attributes:
        name: for the table.
        write: called with an empty directory and the network.
        theirs: what transformers makes of it: SAME, OTHER or ERROR.
        ours: SAME, NOTED or ERROR.
        told: words of our note or error.
    """

    name: str
    write: Callable[[Path, Network], None]
    theirs: str = SAME
    ours: str = SAME
    told: str = ""


_QUERY = "language_model.model.layers.0.self_attn.q_proj."
_UNDER = "paligemma_with_expert.paligemma."

LAYOUTS = (
    # Names of keys by version.
    Layout("as on the hub", one_file),
    Layout("keys of transformers 4.52 on", partial(one_file, key=as_of_4_52)),
    Layout(
        "keys of transformers 5 without `vision_model`", partial(one_file, key=as_of_5)
    ),
    Layout(
        "keys with `language_model.model` twice (transformers 5.10 to 5.23)",
        partial(one_file, key=lambda key: f"model.{key}"),
    ),
    Layout("the same once more", partial(one_file, key=twice_more)),
    Layout(
        "keys of `PaliGemmaModel`, without a head",
        partial(one_file, key=lambda key: as_of_5(key).removeprefix("model.")),
    ),
    Layout(
        "the table twice, as lm_head too",
        partial(one_file, extra=lambda tensors: {HEAD: tensors[TABLE]}),
    ),
    Layout(
        "the table as lm_head alone",
        partial(
            one_file, without=[TABLE], extra=lambda t: {"lm_head.weight": t[TABLE]}
        ),
        ours=NOTED,
        told="tied to",
    ),
    Layout(
        "an lm_head of its own",
        partial(one_file, extra=lambda tensors: {HEAD: tensors[TABLE] + 1}),
        OTHER,
        ERROR,
        "trained untied",
    ),
    Layout(
        "one table, and `tie_word_embeddings` false",
        partial(one_file, tie_word_embeddings=False),
        OTHER,
        ERROR,
        "tie_word_embeddings false",
    ),
    Layout("buffers of old versions", partial(one_file, extra=old_buffers)),
    Layout(
        "SigLIP's pooling head",
        partial(one_file, extra=zeros("vision_tower.vision_model.head.probe")),
    ),
    Layout(
        "a tensor of no part of the network",
        partial(one_file, extra=zeros("score.weight")),
        SAME,
        ERROR,
        "not of this model: score.weight",
    ),
    # Types of numbers.
    Layout("float64", partial(one_file, dtype=np.float64)),
    Layout("bfloat16", partial(one_file, dtype=ml_dtypes.bfloat16)),
    Layout("float16", partial(one_file, dtype=np.float16)),
    # Files.
    Layout("shards and their index", shards),
    Layout(
        "an index with `./` before the names",
        partial(
            shards, in_index=lambda names: {k: f"./{name}" for k, name in names.items()}
        ),
    ),
    Layout(
        "an index that mixes up the shards",
        partial(
            shards,
            in_index=lambda names: dict(zip(names, reversed(list(names.values())))),
        ),
    ),
    Layout(
        "an index with the tied table, which is in no shard",
        partial(shards, in_index=lambda names: {**names, HEAD: SHARDS[0]}),
    ),
    Layout("one file beside shards of other numbers", single_beside_shards),
    Layout("one file beside an index without shards", single_beside_stale_index),
    Layout(
        "shards without an index",
        partial(shards, in_index=None),
        ERROR,
        ERROR,
        "download the index",
    ),
    Layout(
        "a shard is missing",
        partial(shards, without=SHARDS[1]),
        ERROR,
        ERROR,
        f"missing: {SHARDS[1]}",
    ),
    Layout(
        "`model.fp16.safetensors` alone",
        partial(one_file, name="model.fp16.safetensors"),
        ERROR,
        ERROR,
        "Rename it",
    ),
    Layout("a pointer of Git LFS", lfs_pointer, ERROR, ERROR, "git lfs pull"),
    Layout("pickles beside the weights", pickle_beside),
    Layout("pytorch_model.bin alone", pickles, SAME, ERROR, "weights of PyTorch"),
    Layout(
        "pytorch_model.bin in shards",
        partial(pickles, num_files=2),
        SAME,
        ERROR,
        "weights of PyTorch",
    ),
    *(
        Layout(
            title,
            lambda folder, network, name=name: no_weights(folder, network, name),
            ERROR,
            ERROR,
            told,
        )
        for title, name, told in (
            ("a checkpoint of Lightning", "last.ckpt", "weights of PyTorch"),
            ("GGUF", "model-q4_k_m.gguf", "weights of llama.cpp"),
            ("ONNX", "onnx/decoder_model_merged.onnx", "graphs of ONNX"),
            ("LiteRT", "model.tflite", "files of LiteRT"),
            ("Flax", "flax_model.msgpack", "weights of Flax"),
            ("TensorFlow", "tf_model.h5", "weights of TensorFlow"),
        )
    ),
    # What others write into safetensors.
    Layout(
        "MLX, 16 bits: channels of the patches last",
        partial(one_file, extra=channels_last, written_by="mlx"),
        ERROR,
    ),
    Layout(
        "MLX, 4 bits",
        partial(
            one_file,
            without=[f"{_QUERY}weight"],
            extra=zeros(*(_QUERY + n for n in ("weight", "scales", "biases"))),
            written_by="mlx",
            quantization={"group_size": 64, "bits": 4},
        ),
        ERROR,
        ERROR,
        "of MLX, quantised",
    ),
    Layout(
        "GPTQ, not said in config.json",
        partial(
            one_file,
            without=[f"{_QUERY}weight"],
            extra=zeros(f"{_QUERY}qweight", f"{_QUERY}scales", dtype="int32"),
        ),
        OTHER,
        ERROR,
        "of GPTQ or AWQ",
    ),
    Layout(
        "bitsandbytes",
        partial(
            one_file,
            quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True},
        ),
        ERROR,
        ERROR,
        "quantised by 'bitsandbytes'",
    ),
    # Names that others put before the keys.
    *(
        Layout(title, partial(one_file, key=key), OTHER, NOTED, told)
        for title, key, told in (
            ("`module.` (DDP)", in_front("module."), "begin with 'module.'"),
            ("`_orig_mod.` (torch.compile)", in_front("_orig_mod."), "torch.compile"),
            ("`_orig_mod.` inside", inside_decoder, "torch.compile"),
            ("`_fsdp_wrapped_module.`", wrapped_everywhere, "FSDP"),
            (
                "`base_model.model.` (PEFT, merged)",
                in_front("base_model.model."),
                "begin with 'base_model.model.'",
            ),
            ("`vlm.`", in_front("vlm."), "begin with 'vlm.'"),
            ("`model.` before `model.` (Lightning)", in_front("model."), "'model.'"),
        )
    ),
    Layout(
        f"`{_UNDER}` in a policy for robots, the table as lm_head alone",
        partial(one_file, without=[TABLE], key=in_front(_UNDER), extra=policy),
        OTHER,
        NOTED,
        "2 tensors without that beginning",
    ),
    Layout(
        f"`model.{_UNDER}`, as well",
        partial(
            one_file,
            without=[TABLE],
            key=in_front(f"model.{_UNDER}"),
            extra=partial(policy, around="model."),
        ),
        OTHER,
        NOTED,
        "2 tensors without that beginning",
    ),
    Layout(
        "`vlm.`, and one tensor is missing",
        partial(one_file, key=in_front("vlm."), without=[f"{_QUERY}weight"]),
        OTHER,
        ERROR,
        "after 'vlm.'",
    ),
    Layout(
        "adapters that are not merged",
        partial(
            one_file,
            key=lambda key: (
                "base_model.model."
                + as_of_4_52(key).replace("q_proj.", "q_proj.base_layer.")
            ),
            extra=zeros("base_model.model.x.q_proj.lora_A.default.weight"),
        ),
        OTHER,
        ERROR,
        "adapters that are not merged",
    ),
    # Directories of other things.
    Layout("an adapter of PEFT", adapter_by_itself, OTHER, ERROR, "a PEFT adapter"),
    Layout(
        "an adapter with its base's config.json",
        adapter_with_config,
        ERROR,
        ERROR,
        "a PEFT adapter",
    ),
    Layout(
        "an adapter beside weights",
        adapter_beside_weights,
        OTHER,
        NOTED,
        "an adapter beside the weights",
    ),
    Layout(
        "ColPali of transformers",
        partial(one_file, key=lambda key: f"vlm.{as_of_5(key)}", model_type="colpali"),
        OTHER,
        ERROR,
        "a ColPali",
    ),
    Layout(
        "ColPali of colpali-engine",
        partial(
            one_file,
            key=as_of_4_52,
            architectures=["ColPali"],
            extra=zeros("custom_text_proj.weight"),
        ),
        SAME,
        ERROR,
        "a ColPali",
    ),
    Layout(
        "ColPali by its keys alone",
        partial(one_file, key=as_of_4_52, extra=zeros("custom_text_proj.weight")),
        SAME,
        ERROR,
        "a ColPali",
    ),
    Layout(
        "a training run", run_folder, ERROR, ERROR, "checkpoint-500, checkpoint-1000"
    ),
    Layout("a checkpoint of a run, with its optimizer", checkpoint_of_a_run),
    Layout(
        "DeepSpeed",
        lambda folder, network: no_weights(
            folder,
            network,
            "global_step500/mp_rank_00_model_states.pt",
            "zero_to_fp32.py",
        ),
        ERROR,
        ERROR,
        "shards of DeepSpeed",
    ),
    Layout(
        "FSDP",
        lambda folder, network: no_weights(
            folder, network, "pytorch_model_fsdp_0/__0_0.distcp"
        ),
        ERROR,
        ERROR,
        "accelerate merge-weights",
    ),
    Layout(
        "a folder of the hub's cache",
        cache_of_the_hub,
        ERROR,
        ERROR,
        "snapshots/0123abc",
    ),
    Layout("an empty folder", lambda folder, network: None, ERROR, ERROR, "empty"),
    Layout(
        "a .npz of JAX in a folder",
        lambda folder, network: files(folder, network, "paligemma-3b-pt-224.npz"),
        ERROR,
        ERROR,
        "Name the file",
    ),
    *(
        Layout(
            title,
            partial(one_file, key=another_projector, model_type=kind),
            OTHER,
            ERROR,
            f"model_type '{kind}'",
        )
        for title, kind in (("Gemma 3", "gemma3"), ("LLaVA", "llava"))
    ),
    Layout(
        "a policy of LeRobot",
        policy_of_lerobot,
        ERROR,
        ERROR,
        "type 'pi0'",
    ),
)


def table(layouts: Iterable[Layout]) -> str:
    """Return the table of docs/checkpoints.md, whose truth a test holds."""
    lines = ["| in the directory | transformers | here |", "| --- | --- | --- |"]
    for layout in layouts:
        ours = layout.ours if layout.ours != ERROR else f"{ERROR}: {layout.told}"
        lines.append(f"| {layout.name} | {layout.theirs} | {ours} |")
    return "\n".join(lines)
