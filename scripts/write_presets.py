"""Write presets/: a directory for each released checkpoint, without its weights.

    KERAS_BACKEND=torch python scripts/write_presets.py

The directories are what the package reads. This script has the facts that nothing else
follows from, and computes the rest from networks built on PyTorch's meta device, where
weights take no memory. It also notes what is computed in the metadata of presets with
weights.

Sources of the sizes: PaliGemma (arXiv 2407.07726) section 3.1, PaliGemma 2
(arXiv 2412.03555) section 3, big_vision `models/vit.py` and `models/ppp/gemma.py`.
Handles: KerasHub `pali_gemma_presets.py`; ids: huggingface.co/google.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_pg2 import (
    PaliGemma2Backbone,
    PaliGemma2CausalLM,
    PaliGemma2CausalLMPreprocessor,
    PaliGemma2ImageConverter,
    PaliGemma2Tokenizer,
    estimate_memory,
)
from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.catalogue.released import NUM_EXTRA_ROWS, has_weights, text_length
from keras_pg2.typing import Architecture

ROOT = Path(__file__).parents[1] / "presets"

VISION = {
    "patch_size": 14,
    "num_layers": 27,
    "num_heads": 16,
    "hidden_dim": 1152,
    "intermediate_dim": 4304,
}
GEMMA1 = {
    "attention_logit_soft_cap": None,
    "final_logit_soft_cap": None,
    "sliding_window": None,
    "has_post_norms": False,
}
# Soft caps and window as in the checkpoints' own configurations.
GEMMA2 = {
    "attention_logit_soft_cap": 50.0,
    "final_logit_soft_cap": 30.0,
    "sliding_window": 4096,
    "has_post_norms": True,
}
# num_layers, num_query_heads, num_key_value_heads, head_dim, hidden_dim,
# intermediate_dim, query_pre_attn_scalar.
DECODERS = {
    "Gemma 2B": (18, 8, 1, 256, 2048, 16384, 256, GEMMA1),
    "Gemma 2 2B": (26, 8, 4, 256, 2304, 9216, 256, GEMMA2),
    "Gemma 2 9B": (42, 16, 8, 256, 3584, 14336, 256, GEMMA2),
    "Gemma 2 27B": (46, 32, 16, 128, 4608, 36864, 144, GEMMA2),
}


class Released(NamedTuple):
    """What is to be known of a checkpoint.

    Args:
        generation: 1 for PaliGemma, 2 for PaliGemma 2.
        kind: "pt", "mix" or "ft_docci".
        size: Of the name.
        decoder: Name of the language model.
        image_size: Height and width of pictures in pixels.
        variation: End of the Kaggle handle, with the version.
    """

    generation: int
    kind: str
    size: str
    decoder: str
    image_size: int
    variation: str

    @property
    def name(self) -> str:
        if self.generation == 1:
            return self.variation.partition("/")[0]
        return f"pali_gemma2_{self.kind}_{self.size}_{self.image_size}"

    @property
    def huggingface_id(self) -> str:
        number = "2" if self.generation == 2 else ""
        kind = self.kind.replace("_", "-")
        return f"google/paligemma{number}-{self.size}-{kind}-{self.image_size}"

    @property
    def kaggle_handle(self) -> str:
        number = "2" if self.generation == 2 else ""
        return f"kaggle://keras/paligemma{number}/keras/{self.variation}"

    @property
    def figures_key(self) -> str:
        return f"{self.generation}_{self.kind}_{self.size}_{self.image_size}"


RELEASED = (
    Released(2, "pt", "3b", "Gemma 2 2B", 224, "pali_gemma2_pt_3b_224/2"),
    Released(2, "pt", "3b", "Gemma 2 2B", 448, "pali_gemma2_pt_3b_448/2"),
    Released(2, "pt", "3b", "Gemma 2 2B", 896, "pali_gemma2_pt_3b_896/2"),
    Released(2, "pt", "10b", "Gemma 2 9B", 224, "pali_gemma2_pt_10b_224/3"),
    Released(2, "pt", "10b", "Gemma 2 9B", 448, "pali_gemma2_pt_10b_448/3"),
    Released(2, "pt", "10b", "Gemma 2 9B", 896, "pali_gemma2_pt_10b_896/3"),
    Released(2, "pt", "28b", "Gemma 2 27B", 224, "pali_gemma2_pt_28b_224/4"),
    Released(2, "pt", "28b", "Gemma 2 27B", 448, "pali_gemma2_pt_28b_448/3"),
    Released(2, "pt", "28b", "Gemma 2 27B", 896, "pali_gemma2_pt_28b_896/3"),
    Released(2, "mix", "3b", "Gemma 2 2B", 224, "pali_gemma2_mix_3b_224/2"),
    Released(2, "mix", "3b", "Gemma 2 2B", 448, "pali_gemma2_mix_3b_448/2"),
    Released(2, "mix", "10b", "Gemma 2 9B", 224, "pali_gemma2_mix_10b_224/3"),
    Released(2, "mix", "10b", "Gemma 2 9B", 448, "pali_gemma2_mix_10b_448/3"),
    Released(2, "mix", "28b", "Gemma 2 27B", 224, "pali_gemma2_28b_mix_224/3"),
    Released(2, "mix", "28b", "Gemma 2 27B", 448, "pali_gemma2_28b_mix_448/3"),
    Released(2, "ft_docci", "3b", "Gemma 2 2B", 448, "pali_gemma_2_ft_docci_3b_448/2"),
    Released(2, "ft_docci", "10b", "Gemma 2 9B", 448, "pali_gemma2_ft_docci_10b_448/3"),
    Released(1, "pt", "3b", "Gemma 2B", 224, "pali_gemma_3b_224/4"),
    Released(1, "pt", "3b", "Gemma 2B", 448, "pali_gemma_3b_448/4"),
    Released(1, "pt", "3b", "Gemma 2B", 896, "pali_gemma_3b_896/4"),
    Released(1, "mix", "3b", "Gemma 2B", 224, "pali_gemma_3b_mix_224/4"),
    Released(1, "mix", "3b", "Gemma 2B", 448, "pali_gemma_3b_mix_448/4"),
)

# Figures of the papers. A checkpoint's card has those of its column, and no others.
TRANSFERS_OF = (
    "2_pt_3b_224",
    "2_pt_10b_224",
    "2_pt_28b_224",
    "2_pt_3b_448",
    "2_pt_10b_448",
    "2_pt_28b_448",
    "1_pt_3b_224",
    "1_pt_3b_448",
)
TRANSFERS_SOURCE = {
    1: "arXiv 2412.03555, table 15",
    2: "arXiv 2412.03555, table 13, mean of 5 runs",
}
TRANSFERS = {
    "AI2D": (74.7, 83.1, 83.2, 76.0, 84.4, 84.6, 72.1, 73.3),
    "COCO captions, CIDEr": (141.3, 143.7, 144.0, 143.4, 145.0, 145.2, 141.9, 144.6),
    "ChartQA, human": (42.0, 48.4, 46.8, 54.0, 66.4, 61.3, 40.0, 54.2),
    "CountBenchQA": (81.0, 84.0, 86.4, 82.0, 85.3, 87.4, 81.9, 83.1),
    "DocVQA, val": (39.9, 43.9, 44.9, 73.6, 76.6, 76.1, 37.8, 74.1),
    "InfoVQA, val": (25.2, 33.6, 36.4, 37.5, 47.8, 46.7, 25.5, 37.0),
    "OKVQA": (64.2, 68.0, 71.2, 64.1, 68.6, 70.6, 63.5, 63.2),
    "RefCOCO val, mIoU": (73.4, 75.9, 75.0, 76.3, 78.2, 77.3, 73.4, 75.6),
    "ScienceQA": (96.1, 98.2, 98.2, 96.2, 98.5, 98.6, 95.4, 95.9),
    "TextCaps, CIDEr": (127.5, 137.9, 139.9, 152.1, 157.7, 153.6, 127.5, 153.9),
    "TextVQA, val": (59.6, 64.0, 64.7, 75.2, 76.6, 76.2, 59.0, 74.6),
    "VQAv2, minival": (83.0, 84.3, 84.5, 84.8, 85.8, 85.8, 82.1, 84.6),
}
DETECTION_OF = (
    "1_pt_3b_224",
    "1_pt_3b_448",
    "1_pt_3b_896",
    "2_pt_3b_224",
    "2_pt_3b_448",
    "2_pt_3b_896",
    "2_pt_10b_224",
    "2_pt_10b_448",
    "2_pt_10b_896",
)
_DOMAINS = "arXiv 2412.03555, tables 2 to 8 and 11"
DETECTION = {
    "COCO boxes, mAP": (28.7, 37.0, 41.1, 30.4, 38.5, 42.3, 30.3, 39.2, 43.6),
    "DocLayNet boxes, mAP": (50.8, 64.1, 66.5, 46.7, 62.5, 66.1, 50.4, 63.5, 66.0),
}
_FIRST = "arXiv 2407.07726, table 1"
_BIG_VISION = "big_vision, configs/proj/paligemma/README.md"
SINGLE = {
    "2_pt_3b_224": (
        ("VSR, zero-shot split", "74.8", _DOMAINS),
        ("VSR, random split", "81.6", _DOMAINS),
    ),
    "2_pt_10b_224": (
        ("VSR, zero-shot split", "79.8", _DOMAINS),
        ("VSR, random split", "86.8", _DOMAINS),
    ),
    "2_pt_10b_448": (("molecules, exact SMILES", "94.8", _DOMAINS),),
    "2_pt_3b_896": (
        ("ICDAR'15 Incidental, words, F1", "75.9", _DOMAINS),
        ("Total-Text, words, F1", "74.2", _DOMAINS),
        ("FinTabNet, TEDS", "98.9", _DOMAINS),
        ("PubTabNet, TEDS", "97.3", _DOMAINS),
        ("GrandStaff, character error rate", "1.6", _DOMAINS),
        ("MIMIC-CXR, RadGraph F1", "28.8", _DOMAINS),
    ),
    "2_pt_10b_896": (("MIMIC-CXR, RadGraph F1", "29.5", _DOMAINS),),
    "2_ft_docci_3b_448": (("DOCCI, sentences not entailed, %", "28.4", _DOMAINS),),
    "2_ft_docci_10b_448": (("DOCCI, sentences not entailed, %", "20.3", _DOMAINS),),
    "1_pt_3b_896": (
        ("DocVQA, test", "84.8", _FIRST),
        ("InfoVQA, test", "47.8", _FIRST),
        ("ST-VQA, test", "84.4", _FIRST),
        ("TextVQA, test", "76.5", _FIRST),
        ("RefCOCO testA, mIoU", "78.7", _FIRST),
    ),
    "1_mix_3b_224": (
        ("MMVP", "46.0", _BIG_VISION),
        ("POPE, random / popular / adversarial", "88.0 / 86.6 / 85.7", _BIG_VISION),
    ),
    "1_mix_3b_448": (
        ("MMVP", "45.3", _BIG_VISION),
        ("POPE, random / popular / adversarial", "89.4 / 88.4 / 87.5", _BIG_VISION),
    ),
}

TEXT_LENGTHS = (128, 256, 512)
LORA_RANK = 16
TRAINED = {
    "full_checkpointed": "all weights, activations checkpointed",
    "lora_checkpointed": f"LoRA of rank {LORA_RANK}, activations checkpointed",
    "lora": f"LoRA of rank {LORA_RANK}",
}
"""Ways to train, by their keys in `training_bytes`."""

PURPOSE = {
    "pt": "Pretrained, to be fine-tuned on a task of yours.",
    "mix": "Fine-tuned on a mixture of tasks, to be used as it is.",
    "ft_docci": "Fine-tuned on DOCCI, to write long and detailed captions.",
}
PROMPTS = {
    "pt": """\
It was pretrained on these, with answers that are rough before fine-tuning:
`caption en` (and other languages), `ocr`, `answer en QUESTION`, `question en ANSWER`,
`detect THING ; THING`, `segment THING ; THING`.""",
    "mix": """\
`caption en` (and other languages), `answer en QUESTION`, `detect THING ; THING`,
`segment THING ; THING`; questions and requests in plain words. `describe en`, `ocr`
and `question en ANSWER` are listed by Hugging Face's blog, and not by Google's
documentation.""",
    "ft_docci": "`caption en`.",
}
PYTHON = {
    "pt": """\
from keras_pg2 import PaliGemma2CausalLM, finetuning
from keras_pg2.datasets.jsonl import read_jsonl

model = PaliGemma2CausalLM.from_preset("{name}", dtype="bfloat16")
model.enable_lora({rank})
rows = read_jsonl("train.jsonl")  # lines of image, prefix, suffix
rows, eval_rows = finetuning.split_rows(rows, share=0.1)
settings = finetuning.Settings(epochs=3)
finetuning.finetune(model, rows, eval_rows, settings, output="run")""",
    "mix": """\
from keras_pg2 import PaliGemma2CausalLM

model = PaliGemma2CausalLM.from_preset("{name}", dtype="bfloat16")
inputs = {{"images": "photo.jpg", "prompts": "answer en what is on the table?"}}
model.generate(inputs, strip_prompt=True)
model.detect("photo.jpg", ["cat", "dog"])""",
    "ft_docci": """\
from keras_pg2 import PaliGemma2CausalLM

model = PaliGemma2CausalLM.from_preset("{name}", dtype="bfloat16")
inputs = {{"images": "photo.jpg", "prompts": "caption en"}}
model.generate(inputs, strip_prompt=True)""",
}
COMMAND = {
    "pt": """\
keras-pg2 finetune --data train.jsonl --eval-share 0.1 --output run \\
    --preset {name} --dtype bfloat16""",
    "mix": "keras-pg2 detect photo.jpg -l cat --preset {name} --dtype bfloat16",
    "ft_docci": "keras-pg2 caption photo.jpg --preset {name} --dtype bfloat16",
}
NO_SOFT_CAPS = """\
The report trained its transfers without soft caps, while the published configuration
has them: `attention_logit_soft_cap=None, final_logit_soft_cap=None` in `from_preset`
turn both off."""
NO_WINDOW = """\
Picture and text are more than 4096 tokens. big_vision, which trained the model, has no
sliding window, while the published configuration has one: `sliding_window=None` in
`from_preset` turns it off."""


def directory_files(released: Released) -> dict[str, str]:
    """Return the content of every file of a checkpoint's directory by its name."""
    metadata = describe(released)
    preprocessor = _serialize(
        PaliGemma2CausalLMPreprocessor(
            PaliGemma2Tokenizer(name="pali_gemma2_tokenizer"),
            PaliGemma2ImageConverter(
                released.image_size, name="pali_gemma2_image_converter"
            ),
            sequence_length=metadata["sequence_length"],
            name="pali_gemma2_causal_lm_preprocessor",
        )
    )
    contents = {
        "config.json": _measure(released.decoder, released.image_size).config,
        "preprocessor.json": preprocessor,
        "tokenizer.json": preprocessor["config"]["tokenizer"],
        "image_converter.json": preprocessor["config"]["image_converter"],
        "metadata.json": metadata,
    }
    files = {name: _json(content) for name, content in contents.items()}
    return {**files, "README.md": model_card(released, metadata)}


def describe(released: Released) -> dict[str, Any]:
    """Return the metadata of a checkpoint, with KerasHub's keys and others."""
    decoder, side = released.decoder, released.image_size
    architecture = architecture_of(decoder, side)
    length = text_length(side, released.kind)
    unversioned = released.kaggle_handle.rpartition("/")[0]
    names = (
        unversioned.rpartition("/")[2],
        unversioned,
        released.kaggle_handle,
        released.huggingface_id,
        f"hf://{released.huggingface_id}",
    )
    measured = _measure(decoder, side)
    count = measured.num_parameters
    in_files = count + NUM_EXTRA_ROWS * architecture["text_decoder"]["hidden_dim"]
    generation = "PaliGemma 2" if released.generation == 2 else "PaliGemma"
    network = f"{generation} with the {decoder} decoder, pictures of {side} x {side}."
    return {
        "parameter_count": count,
        "tasks": ["CausalLM"],
        "description": f"{network} {PURPOSE[released.kind]}",
        "kind": released.kind,
        "license": "gemma",
        "kaggle_handle": released.kaggle_handle,
        "huggingface_id": released.huggingface_id,
        "aliases": [name for name in names if name != released.name],
        "sequence_length": length,
        # bfloat16 on the hub; float32 of the first PaliGemma.
        "download_bytes": (2 if released.generation == 2 else 4) * in_files,
        "memory_bytes": memory_bytes(architecture),
        "training_bytes": measured.training_bytes[length],
    }


def architecture_of(decoder: str, image_size: int) -> Architecture:
    """Return the arguments of the backbone."""
    layers, queries, keys, head_dim, width, inner, scalar, shared = DECODERS[decoder]
    return {
        "vision_encoder": {"image_size": image_size, **VISION},
        "text_decoder": {
            "vocabulary_size": 257_152,
            "num_layers": layers,
            "num_query_heads": queries,
            "num_key_value_heads": keys,
            "head_dim": head_dim,
            "hidden_dim": width,
            "intermediate_dim": inner,
            "query_pre_attn_scalar": scalar,
            **shared,
        },
    }


def memory_bytes(architecture: Architecture) -> dict[str, int]:
    """Return bytes of the weights by type, those that stay floats in bfloat16.

    `quantize` makes integers of kernels of dense layers and of the token embedding:
    "int8" has a scale for each output; "int4" packs two numbers in a byte along the
    outputs, and has a scale and a zero point of one byte for each output and group of
    128 inputs, and the group of each input as a float32.
    """
    sizes = {"bfloat16": 0, "int8": 0, "int4": 0}
    for path, shape in variable_shapes(**architecture).items():
        count = math.prod(shape)
        sizes["bfloat16"] += 2 * count
        is_table = path.endswith("token_embedding/embeddings")
        if not is_table and not (path.endswith("/kernel") and len(shape) == 2):
            sizes["int8"] += 2 * count
            sizes["int4"] += 2 * count
            continue
        outputs, inputs = shape if is_table else shape[::-1]
        # The last axis is packed: of a table that of the inputs.
        packed = shape[0] * math.ceil(shape[1] / 2)
        groups = math.ceil(inputs / 128)
        sizes["int8"] += count + 2 * outputs
        sizes["int4"] += packed + groups * outputs * (2 + 1) + 4 * inputs
    return sizes


class _Measured(NamedTuple):
    """What is read off a built network.

    Args:
        config: Of the serialised backbone.
        num_parameters: Number of its weights.
        training_bytes: By the text length, and by the way to train.
    """

    config: dict[str, Any]
    num_parameters: int
    training_bytes: dict[int, dict[str, int]]


@cache
def _measure(decoder: str, image_size: int) -> _Measured:
    """Build a network of weights in bfloat16, and note what training it takes.

    All weights are trained in mixed_bfloat16, as bfloat16 weights are not.
    """
    sizes: dict[int, dict[str, int]] = {length: {} for length in TEXT_LENGTHS}

    def note(name: str, model: PaliGemma2CausalLM, parts: tuple[str, ...]) -> None:
        model.backbone.checkpoint_activations = parts
        for length in TEXT_LENGTHS:
            estimate = estimate_memory(model, 1, length)
            # That of an accelerator, wherever this runs.
            sizes[length][name] = estimate._replace(runtime=0).total

    both = ("vision_encoder", "text_decoder")
    with keras.device("meta"):
        backbone = _build(decoder, image_size, "bfloat16")
        config, count = _serialize(backbone), backbone.count_params()
        mixed = PaliGemma2CausalLM(_build(decoder, image_size, "mixed_bfloat16"))
        note("full_checkpointed", mixed, both)
        model = PaliGemma2CausalLM(backbone)
        # That of the task would read the factors, which are on no device.
        backbone.enable_lora(LORA_RANK)
        note("lora_checkpointed", model, both)
        note("lora", model, ())
    return _Measured(config, count, sizes)


def _build(decoder: str, image_size: int, dtype: str) -> PaliGemma2Backbone:
    return PaliGemma2Backbone(
        **architecture_of(decoder, image_size),
        dtype=dtype,
        name="pali_gemma2_backbone",
    )


def _serialize(layer: keras.layers.Layer) -> dict[str, Any]:
    """Return what KerasHub's `save_to_preset` writes of a layer."""

    def without(content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        left_out = ("compile_config", "build_config")
        return {k: without(v) for k, v in content.items() if k not in left_out}

    return without(keras.saving.serialize_keras_object(layer))


def model_card(released: Released, metadata: Mapping[str, Any]) -> str:
    """Return the README.md of a checkpoint."""
    side, kind = released.image_size, released.kind
    repository = metadata["huggingface_id"]
    notes = []
    if released.generation == 2 and kind != "pt":
        notes.append(NO_SOFT_CAPS)
    if released.generation == 2 and side == 896:
        notes.append(NO_WINDOW)
    sections = [
        f"""---
library_name: keras-hub
pipeline_tag: image-text-to-text
license: {metadata["license"]}
base_model: {repository}
tags:
- paligemma
- keras_pg2
---

# {released.name}

{metadata["description"]}

| | |
|---|---|
| parameters | {metadata["parameter_count"]:,} |
| pictures | {side} x {side} pixels, {(side // 14) ** 2:,} tokens |
| text | {metadata["sequence_length"]} tokens in training |
| weights | [{repository}](https://huggingface.co/{repository}), \
{_gigabytes(metadata["download_bytes"])}; `{metadata["kaggle_handle"]}` |
| licence | [Gemma terms](https://ai.google.dev/gemma/terms) |

The weights and the vocabulary are not in this directory: `from_preset` downloads them
when they are first used. Accept the licence at the page above and log in with
`hf auth login`.
""",
        f"""## Use

```python
{PYTHON[kind].format(name=released.name, rank=LORA_RANK)}
```

```console
{COMMAND[kind].format(name=released.name)}
```
""",
        "\n\n".join([f"## Prompts\n\n{PROMPTS[kind]}", *notes]) + "\n",
        _memory_section(metadata),
        _figures_section(released),
    ]
    return "\n".join(section for section in sections if section)


def _memory_section(metadata: Mapping[str, Any]) -> str:
    loaded = [
        f"| weights in {name} | {_gigabytes(size)} |"
        for name, size in metadata["memory_bytes"].items()
    ]
    trained = [
        f"| training: {TRAINED[name]} | {_gigabytes(size)} |"
        for name, size in metadata["training_bytes"].items()
    ]
    lines = "\n".join([*loaded, *trained])
    length = metadata["sequence_length"]
    return f"""## Memory

| | |
|---|---|
{lines}

Training is a step of one example (a picture and {length} tokens) with Adam on JAX and
an accelerator, as `keras_pg2.estimate_memory` counts: LoRA beside weights in bfloat16,
all weights with `dtype="mixed_bfloat16"`, which stores float32.
"""


def _figures_section(released: Released) -> str:
    figures = list(_figures(released.figures_key))
    if not figures:
        return ""
    means = "Each after fine-tuning on the task." if released.kind == "pt" else ""
    rows = "\n".join(
        f"| {task} | {value} | {source} |" for task, value, source in figures
    )
    return "\n".join(
        [
            "## Published figures\n",
            *([f"{means}\n"] if means else []),
            f"| task | | source |\n|---|---|---|\n{rows}\n",
        ]
    )


def _figures(key: str) -> Iterator[tuple[str, str, str]]:
    """Task, figure and source of what is published of a checkpoint."""
    for columns, table, source in (
        (TRANSFERS_OF, TRANSFERS, TRANSFERS_SOURCE[int(key[0])]),
        (DETECTION_OF, DETECTION, _DOMAINS),
    ):
        if key in columns:
            for task, values in table.items():
                yield task, f"{values[columns.index(key)]}", source
    yield from SINGLE.get(key, ())


def bundled_metadata(directory: Path) -> dict[str, Any]:
    """Return the metadata of a preset with weights, with what is computed of them."""
    metadata = json.loads((directory / "metadata.json").read_text("utf-8"))
    config = json.loads((directory / "config.json").read_text("utf-8"))["config"]
    parts = ("vision_encoder", "text_decoder")
    sizes = memory_bytes({part: config[part] for part in parts})
    return {
        **metadata,
        "description": "PaliGemma 2, small and trained from scratch on drawn scenes.",
        "kind": "scenes",
        "license": "apache-2.0",
        "memory_bytes": sizes,
        "note": "It knows only drawn scenes of coloured shapes and a short text, and "
        "is as sure of its answers about photographs, which are wrong. For these load "
        "a released model, such as pali_gemma2_mix_3b_448.",
    }


def all_files(root: Path = ROOT) -> dict[Path, str]:
    """Return the content of every file that this script writes."""
    files = {
        root / released.name / name: content
        for released in RELEASED
        for name, content in directory_files(released).items()
    }
    for directory in sorted(root.iterdir()):
        if has_weights(directory):
            files[directory / "metadata.json"] = _json(bundled_metadata(directory))
    return files


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=4) + "\n"


def main() -> None:
    for path, content in all_files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
