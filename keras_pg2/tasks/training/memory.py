"""How much memory a training step takes, from the numbers of a model alone.

Counted is what lives at the same time at the worst moment of a step: weights, factors
and optimizer always; beside them either all that forward left for backward, with the
chunk of logits of the loss or the inner arrays of the block whose gradients are due,
or, at the end of backward, all gradients. What forward leaves is what the formulas of
`modeling/` need for their gradients: the input of every norm, queries, keys and values,
the two arrays of a gated MLP, and the input of each projection that is trained. That
is what XLA keeps on JAX; PyTorch, which runs one operation after another, keeps more.

Axes: B batch, I image tokens, S tokens of image and text, D hidden_dim,
F intermediate_dim, N query heads, K key/value heads, H head_dim, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.modeling.attention import QUERY_BLOCK
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.cpu import has_accelerator
from keras_pg2.tasks.adapters.layers import dense_layers
from keras_pg2.tasks.training.accumulation import accumulation_steps
from keras_pg2.tasks.training.causal_lm import CausalLM
from keras_pg2.tasks.training.loss import default_chunk_size
from keras_pg2.tasks.training.precision import check_trained_dtypes

RUNTIME_ON_CPU = 770_000_000
"""What the compiler and the runtime took of a process beside XLA's arrays, on JAX: the
mean of five settings (0.67 to 1.10 GB) in `benchmarks/memory_estimate.py`."""
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int32": 4, "int8": 1, "uint8": 1}
_FLOAT = 4
_MOMENTS = 2
_QUERY_KEY_VALUE = ("query_dense", "key_dense", "value_dense")


class MemoryEstimate(NamedTuple):
    """Bytes of a training step, in parts.

    Args:
        weights: of the network, quantised or not, without factors.
        adapters: the factors of LoRA.
        optimizer: its states.
        gradients: of all that is trained.
        activations: what forward leaves for backward, and the pictures; of quantised
            projections also their kernels as floats, which XLA makes once a step, and
            in mixed precision the kernels in the type that is computed in.
        working: inner arrays of the block whose gradients are due.
        loss: the chunk of logits, with the vocabulary where it is converted for them,
            and the vocabulary's gradient where that is trained.
        runtime: of the compiler, in the memory of the process; 0 on an accelerator.
            Python and its imported packages, some 0.5 GB, are not counted.
    """

    weights: int
    adapters: int
    optimizer: int
    gradients: int
    activations: int
    working: int
    loss: int
    runtime: int

    @property
    def total(self) -> int:
        """The most at a time; less than the sum, as not all parts meet."""
        always = self.weights + self.adapters + self.optimizer + self.runtime
        in_backward = self.activations + max(self.loss, self.working)
        return always + max(in_backward, self.gradients + self.working)

    def __str__(self) -> str:
        """A line for each part, in GB of 10 ** 9 bytes."""
        parts = {**self._asdict(), "total": self.total}
        lines = [f"{name:12}{size / 1e9:9.3f} GB" for name, size in parts.items()]
        return "\n".join([*lines, "(the most at a time; not all parts meet)"])


def estimate_memory(
    model: CausalLM, batch_size: int, text_length: int, num_images: int = 1
) -> MemoryEstimate:
    """Return the memory of a training step of a model as it is, without running it.

    Counted are its weights (quantised or not), what is trained, LoRA, checkpointed
    blocks, dtype, and the optimizer and loss that it was compiled with.

        print(keras_pg2.estimate_memory(model, batch_size=4, text_length=64))

    Args:
        model: A `PaliGemma2CausalLM`.
        batch_size: Examples of a step.
        text_length: Number of tokens of prompt and response.
        num_images: Number of pictures of an example.

    Returns:
        Bytes in parts, with `total`; printed, a table.

    Raises:
        ValueError: if a size is no integer in range, or the step would be refused:
            weights in bfloat16 or float16 are to be trained.
    """
    if not isinstance(model, CausalLM):
        raise TypeError(
            "Expected a PaliGemma2CausalLM. Received: "
            f"{model!r:.60}. Load one by from_preset, with load_weights=False for one "
            "that is not here."
        )
    sizes = {
        "batch_size": batch_size,
        "text_length": text_length,
        "num_images": num_images,
    }
    for name, size in sizes.items():
        lowest = 0 if name == "num_images" else 1
        if isinstance(size, bool) or not isinstance(size, int) or size < lowest:
            raise ValueError(
                f"Expected {name} as an integer >= {lowest}. Received: {size!r}."
            )
    backbone = model.backbone
    architecture = backbone.architecture
    vision, decoder = architecture["vision_encoder"], architecture["text_decoder"]
    trained = model.trainable_variables
    check_trained_dtypes(v.dtype for v in trained)
    factors = [v for v in backbone.variables if "lora_kernel" in v.path]
    item = _BYTES[backbone.compute_dtype]
    num_patches = backbone.vision_encoder.num_image_tokens
    image_tokens = batch_size * num_images * num_patches
    tokens = batch_size * (num_images * num_patches + text_length)

    blocks = _Blocks(item, {v.path for v in trained})
    pictures = batch_size * num_images * vision["image_size"] ** 2 * 3 * _FLOAT
    activations, working = pictures, 0
    for part, found in (
        ("vision_encoder", blocks.of_vision(vision, image_tokens, num_patches)),
        ("text_decoder", blocks.of_decoder(decoder, tokens, tokens // batch_size)),
    ):
        if not found.is_needed:
            continue
        num_layers = architecture[part]["num_layers"]
        kernels = _of_cast_kernels(backbone, part, item)
        if part in backbone.checkpoint_activations:
            activations += num_layers * found.entry
            in_block = found.saved + found.working + kernels // num_layers
            working = max(working, in_block)
        else:
            activations += num_layers * found.saved + kernels
            working = max(working, found.working)
    # The states before and after the final norm, and their gradient.
    activations += 3 * tokens * decoder["hidden_dim"] * item
    activations += _of_float_kernels(backbone, item)
    of_weights = _num_bytes(backbone.variables) - _num_bytes(factors)
    return MemoryEstimate(
        weights=of_weights,
        adapters=_num_bytes(factors),
        optimizer=_of_optimizer(model.optimizer, trained),
        gradients=_num_bytes(trained),
        activations=activations,
        working=working,
        loss=_of_loss(model, decoder, batch_size, text_length),
        runtime=0 if has_accelerator() else RUNTIME_ON_CPU,
    )


class _Block(NamedTuple):
    """Bytes of a block: its input, what backward needs, inner arrays of backward."""

    entry: int
    saved: int
    working: int
    is_needed: bool


class _Blocks:
    """What a block leaves for backward.

    Args:
        item: bytes of a number.
        paths: of the variables that are trained.
    """

    def __init__(self, item: int, paths: set[str]) -> None:
        self.item = item
        self.paths = paths

    def of_vision(self, sizes: dict[str, Any], tokens: int, length: int) -> _Block:
        width, inner = sizes["hidden_dim"], sizes["intermediate_dim"]
        part = "vision_encoder"
        # Inputs of two norms, and queries, keys, values.
        saved = 2 * width + 3 * width + inner
        saved += width * self._trains(part, _QUERY_KEY_VALUE)
        saved += width * self._trains(part, ("output_dense",))
        saved += width * self._trains(part, ("mlp_up",))
        saved += inner * self._trains(part, ("mlp_down",))
        logits = sizes["num_heads"] * min(length, QUERY_BLOCK)
        working = self._working(tokens, length, logits, 3 * inner)
        # Only what is trained in it, or before it, asks for its gradients.
        is_needed = self._trains(part, ("",))
        return self._block(tokens, width, saved, working, is_needed)

    def of_decoder(self, sizes: dict[str, Any], tokens: int, length: int) -> _Block:
        width, inner = sizes["hidden_dim"], sizes["intermediate_dim"]
        heads = sizes["num_query_heads"] + 2 * sizes["num_key_value_heads"]
        part = "text_decoder"
        norms = 4 if sizes["has_post_norms"] else 2
        saved = norms * width + heads * sizes["head_dim"] + 2 * inner
        saved += width * self._trains(part, _QUERY_KEY_VALUE)
        attended = sizes["num_query_heads"] * sizes["head_dim"]
        saved += attended * self._trains(part, ("output_dense",))
        saved += width * self._trains(part, ("gate_dense", "up_dense"))
        saved += inner * self._trains(part, ("down_dense",))
        logits = sizes["num_query_heads"] * min(length, QUERY_BLOCK)
        working = self._working(tokens, length, logits, 4 * inner)
        return self._block(tokens, width, saved, working, bool(self.paths))

    def _working(self, tokens: int, length: int, logits: int, inner: int) -> int:
        """The larger of attention's float32 logits, three of them, and the MLP's."""
        rows = tokens // max(length, 1)
        return max(3 * _FLOAT * rows * logits * length, self.item * tokens * inner)

    def _block(
        self, tokens: int, width: int, saved: int, working: int, is_needed: bool
    ) -> _Block:
        size = self.item * tokens
        return _Block(
            entry=size * width, saved=size * saved, working=working, is_needed=is_needed
        )

    def _trains(self, part: str, names: tuple[str, ...]) -> bool:
        return any(
            path.startswith(f"{part}/") and f"/{name}" in path
            for path in self.paths
            for name in names
        )


def _of_float_kernels(backbone: PaliGemma2Backbone, item: int) -> int:
    """Return the size of the kernels of quantised projections as floats."""
    return item * _num_in_kernels(
        backbone, lambda path, layer: layer.quantization_mode is not None
    )


def _of_cast_kernels(backbone: PaliGemma2Backbone, part: str, item: int) -> int:
    """Return the size of a part's kernels in the type that is computed in.

    It is 0 where they are stored in it. Backward multiplies by them, so what forward
    has cast is kept: by `jit` on XLA until backward comes to the block.
    """
    return item * _num_in_kernels(
        backbone,
        lambda path, layer: (
            path.startswith(f"{part}/")
            and layer.quantization_mode is None
            and layer.variable_dtype != layer.compute_dtype
        ),
    )


def _num_in_kernels(
    backbone: PaliGemma2Backbone, is_counted: Callable[[str, Any], bool]
) -> int:
    shapes = variable_shapes(**backbone.architecture)
    return sum(
        math.prod(shapes[f"{path}/kernel"])
        for path, layer in dense_layers(backbone).items()
        if is_counted(path, layer)
    )


def _of_loss(
    model: CausalLM, decoder: dict[str, Any], batch_size: int, text_length: int
) -> int:
    width, vocabulary_size = decoder["hidden_dim"], decoder["vocabulary_size"]
    loss = model.chunked_loss
    embedding = model.backbone.token_embedding
    item = _BYTES[model.backbone.compute_dtype]
    if loss is None:
        # Logits, and the arrays of softmax and gradient.
        return 4 * batch_size * text_length * vocabulary_size * _FLOAT
    chunk_size = loss.chunk_size or default_chunk_size(width, vocabulary_size)
    num_chunks = -(-text_length // -(-chunk_size // batch_size))
    num_tokens = batch_size * -(-text_length // num_chunks)
    size = 2 * num_tokens * vocabulary_size * _FLOAT
    size += batch_size * text_length * width * _FLOAT
    is_converted = (
        embedding.quantization_mode is not None
        or embedding.variable_dtype != embedding.compute_dtype
    )
    if is_converted:
        size += vocabulary_size * width * item
    if embedding.trainable_variables:
        # The sum over chunks, and that of one.
        size += 2 * vocabulary_size * width * _FLOAT
    return size


def _of_optimizer(optimizer: Any, trained: list[keras.Variable]) -> int:
    """States that are there, or will be: of Adam, where none was chosen yet."""
    if optimizer is not None and optimizer.built:
        return _num_bytes(optimizer.variables)
    accumulates = optimizer is not None and accumulation_steps(optimizer) is not None
    return (_MOMENTS + accumulates) * _num_bytes(trained)


def _num_bytes(variables: Iterable[keras.Variable]) -> int:
    return sum(math.prod(v.shape) * _BYTES.get(v.dtype, _FLOAT) for v in variables)
