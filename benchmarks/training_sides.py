"""Training side by side: the same weights, factors, rows and optimizer in each package.

Axes: B batch, T text length, D hidden_dim, R rank.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.conversion.adapters.files import Adapter, Base, Factors
from keras_pg2.conversion.adapters.peft import read_peft, write_peft

RANK = 8
RATES = {"lora": 1e-3, "full": 1e-5}
"""Of Adam, for what is trained."""
EPSILON = 1e-7
"""Of Adam as Keras writes it."""


class Setting(NamedTuple):
    """What is trained, and how.

    Args:
        trained: "lora" (query and value of image encoder and decoder) or "full".
        is_checkpointed: whether blocks are computed again in backward.
        dtype: of weights and activations.
    """

    trained: str
    is_checkpointed: bool
    dtype: str = "float32"


SETTINGS = {
    "lora": Setting("lora", False),
    "lora_checkpointed": Setting("lora", True),
    "full": Setting("full", False),
}

OnStep = Callable[[float], None]
"""Called at the end of every step with its loss."""
Train = Callable[[int, OnStep], None]
"""(number of steps, on_step); all steps see the same rows."""


class Rows(NamedTuple):
    """A batch for Keras: inputs, the next tokens, and 1 where those are responses."""

    inputs: dict[str, np.ndarray]
    labels: np.ndarray
    weights: np.ndarray


def make_rows(
    architecture: dict[str, Any], batch_size: int, text_length: int, num_responses: int
) -> Rows:
    """Random pictures and tokens; the last `num_responses` labels of a row count."""
    rng = np.random.default_rng(0)
    size = architecture["vision_encoder"]["image_size"]
    most = architecture["text_decoder"]["vocabulary_size"]
    tokens = rng.integers(300, most, (batch_size, text_length + 1)).astype("int32")
    index = np.broadcast_to(np.arange(text_length), (batch_size, text_length))
    start = text_length - num_responses
    pictures = rng.uniform(-1, 1, (batch_size, size, size, 3))
    inputs = {
        "images": pictures.astype("float32"),
        "token_ids": tokens[:, :-1],
        "padding_mask": np.ones_like(index, bool),
        "response_mask": index > start,
    }
    return Rows(inputs, tokens[:, 1:], (index >= start).astype("float32"))


def write_factors(directory: Path, architecture: dict[str, Any]) -> None:
    """A directory of PEFT: random A, and B of zeros, of all queries and values."""
    rng = np.random.default_rng(1)
    layers = {}
    for path, shape in variable_shapes(**architecture).items():
        if path.endswith(("query_dense/kernel", "value_dense/kernel")):
            a = rng.normal(0, shape[0] ** -0.5, (shape[0], RANK)).astype("float32")
            b = np.zeros((RANK, shape[1]), "float32")
            layers[path.removesuffix("/kernel")] = Factors(a, b, float(RANK))
    write_peft(
        Adapter(layers, base=Base(architecture=architecture)), directory, base=""
    )


def load_keras_pg2(
    directory: Path, factors: Path, setting: Setting, rows: Rows
) -> Train:
    """Our `fit`, with the loss it has by default."""
    from keras_pg2 import PaliGemma2CausalLM

    model = PaliGemma2CausalLM.from_preset(str(directory), dtype=setting.dtype)
    if setting.trained == "lora":
        model.adapters.load(factors, check_base=False)
    if setting.is_checkpointed:
        model.backbone.checkpoint_activations = ("vision_encoder", "text_decoder")
    model.compile(optimizer=_adam(setting))
    return _fit(model, rows)


def load_keras_hub(
    directory: Path, factors: Path, setting: Setting, rows: Rows
) -> Train:
    """KerasHub's task with its own LoRA, whose factors in the decoder are others.

    Its query and value kernels of the decoder are [heads, D, H], and Keras gives such a
    layer an A for every head and one B for all: A is ours for each head.
    """
    import keras
    import keras_hub
    from keras import config

    from keras_pg2.tasks.loading.loading import load_parts
    from tests.support.keras_hub_copy import copy_to_keras_hub

    config.set_dtype_policy(setting.dtype)
    ours, _ = load_parts(str(directory), dtype=setting.dtype)
    architecture = ours.architecture
    if setting.is_checkpointed:
        with keras.RematScope(mode="full"):
            backbone = copy_to_keras_hub(ours)
    else:
        backbone = copy_to_keras_hub(ours)
    del ours
    gc.collect()
    model = keras_hub.models.PaliGemmaCausalLM(None, backbone)
    if setting.trained == "lora":
        backbone.enable_lora(RANK)
        for path, factor in read_peft(factors, architecture).layers.items():
            layer = _keras_hub_layer(backbone, path)
            shape = layer.lora_kernel_a.shape
            layer.lora_kernel_a.assign(np.broadcast_to(factor.a, shape))
            layer.lora_kernel_b.assign(np.zeros(layer.lora_kernel_b.shape))
    model.compile(optimizer=_adam(setting))
    # Its loss is the mean over all text tokens, those without a weight as 0.
    return _fit(model, rows._replace(weights=rows.weights / rows.weights.mean()))


def _keras_hub_layer(backbone: Any, path: str) -> Any:
    part, block, _, name = path.split("/")
    number = int(block.removeprefix("block_"))
    if part == "text_decoder":
        return getattr(backbone.transformer_layers[number].attention, name)
    encoder = backbone.vit_encoder.get_layer("image_encoder")
    name = {"query_dense": "query_proj", "value_dense": "value_proj"}[name]
    return getattr(encoder.resblocks[number].attn, name)


def _adam(setting: Setting) -> Any:
    import keras

    return keras.optimizers.Adam(RATES[setting.trained], epsilon=EPSILON)


def _fit(model: Any, rows: Rows) -> Train:
    """`keras.Model.fit` itself, as KerasHub's goes through TensorFlow first."""
    import keras

    class Same(keras.utils.PyDataset):
        def __init__(self, num_steps: int) -> None:
            super().__init__()
            self.num_steps = num_steps

        def __len__(self) -> int:
            return self.num_steps

        def __getitem__(self, index: int) -> tuple:
            return tuple(rows)

    class StepLosses(keras.callbacks.Callback):
        def __init__(self, on_step: OnStep) -> None:
            super().__init__()
            self.on_step, self.total = on_step, 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            # Keras gives the mean of the epoch so far.
            total = float(logs["loss"]) * (batch + 1)
            self.on_step(total - self.total)
            self.total = total

    def train(num_steps: int, on_step: OnStep) -> None:
        keras.Model.fit(
            model,
            Same(num_steps),
            callbacks=[StepLosses(on_step)],
            shuffle=False,
            verbose=0,
        )

    return train


def load_transformers(
    directory: Path, factors: Path, setting: Setting, rows: Rows
) -> Train:
    """transformers with peft, the loss its model gives for labels."""
    import torch
    from transformers import AutoModelForImageTextToText

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # The other implementations leave the soft cap of attention out.
    model = AutoModelForImageTextToText.from_pretrained(
        directory, dtype=getattr(torch, setting.dtype), attn_implementation="eager"
    ).to(device)
    image_id = model.config.image_token_id
    vision = model.config.vision_config
    num_image_tokens = (vision.image_size // vision.patch_size) ** 2
    if setting.is_checkpointed:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if setting.trained == "lora":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(factors), is_trainable=True)
    model.train()
    trained = [each for each in model.parameters() if each.requires_grad]
    print(
        f"transformers: {sum(each.numel() for each in trained):,} trained weights",
        file=sys.stderr,
    )
    optimizer = torch.optim.Adam(trained, RATES[setting.trained], eps=EPSILON)

    # The last label is an input too, whose logits nobody asks for.
    tokens = np.concatenate([rows.inputs["token_ids"], rows.labels[:, -1:]], axis=1)
    is_response = np.pad(rows.weights > 0, ((0, 0), (1, 0)))
    image = np.full((len(tokens), num_image_tokens), image_id)
    ids = np.concatenate([image, tokens], axis=1)
    types = np.concatenate([np.zeros_like(image), is_response], axis=1)
    pixels = torch.tensor(rows.inputs["images"].transpose(0, 3, 1, 2).copy())
    batch = {
        "input_ids": torch.tensor(ids).long(),
        "attention_mask": torch.ones(ids.shape, dtype=torch.int64),
        "token_type_ids": torch.tensor(types).long(),
        "labels": torch.tensor(np.where(types > 0, ids, -100)).long(),
        "pixel_values": pixels.to(getattr(torch, setting.dtype)),
    }
    batch = {name: value.to(device) for name, value in batch.items()}

    def train(num_steps: int, on_step: OnStep) -> None:
        for number in range(1, num_steps + 1):
            # Keras adds epsilon before the correction of the second moment.
            for group in optimizer.param_groups:
                group["eps"] = EPSILON / (1 - 0.999**number) ** 0.5
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            on_step(loss.item())

    return train


LOADERS: dict[str, Callable[[Path, Path, Setting, Rows], Train]] = {
    "keras_pg2": load_keras_pg2,
    "keras_hub": load_keras_hub,
    "transformers": load_transformers,
}
"""By package: a checkpoint, a directory of PEFT, a setting and rows to the trainer."""
