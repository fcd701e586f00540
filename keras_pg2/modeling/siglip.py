"""The SigLIP image encoder (So400m/14 in every released PaliGemma).

A plain pre-norm vision transformer: patches by a strided convolution, a learned
table of positions, no class token, no pooling, a final LayerNorm over all
tokens (big_vision `models/vit.py`; Zhai et al. 2023, arXiv 2303.15343).

Axes: B batch, M images of an example, I image tokens, N heads, H head_dim,
D hidden_dim, F intermediate_dim.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
from keras import ops

from keras_pg2.checks.architecture import check_part
from keras_pg2.modeling.attention import dot_product_attention, join_heads, split_heads
from keras_pg2.modeling.checkpointing import checkpoint, recompute_if_cheap
from keras_pg2.modeling.dense import Dense
from keras_pg2.typing import Tensor

LAYER_NORM_EPSILON = 1e-6


class SigLIPAttention(keras.layers.Layer):
    """Multi-head self-attention with biases; every token sees every token."""

    def __init__(self, num_heads: int, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim

        def dense(name: str) -> Dense:
            return Dense(hidden_dim, dtype=self.dtype_policy, name=name)

        self.query_dense = dense("query_dense")
        self.key_dense = dense("key_dense")
        self.value_dense = dense("value_dense")
        self.output_dense = dense("output_dense")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        projections = (self.query_dense, self.key_dense, self.value_dense)
        for layer in (*projections, self.output_dense):
            layer.build((None, None, self.hidden_dim))

    def call(self, x: Tensor) -> Tensor:
        head_dim = self.hidden_dim // self.num_heads
        # [B, N, I, H]
        query, key, value = (
            split_heads(dense(x), head_dim)
            for dense in (self.query_dense, self.key_dense, self.value_dense)
        )
        output = dot_product_attention(query, key, value, None, head_dim**-0.5)
        return self.output_dense(join_heads(output))


class SigLIPBlock(keras.layers.Layer):
    """`x += attention(norm(x)); x += mlp(norm(x))`, GELU by its tanh formula."""

    def __init__(
        self, num_heads: int, hidden_dim: int, intermediate_dim: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        dtype = self.dtype_policy
        self.attention_norm = keras.layers.LayerNormalization(
            epsilon=LAYER_NORM_EPSILON, dtype=dtype, name="attention_norm"
        )
        self.attention = SigLIPAttention(
            num_heads, hidden_dim, dtype=dtype, name="attention"
        )
        self.mlp_norm = keras.layers.LayerNormalization(
            epsilon=LAYER_NORM_EPSILON, dtype=dtype, name="mlp_norm"
        )
        self.mlp_up = Dense(intermediate_dim, dtype=dtype, name="mlp_up")
        self.mlp_down = Dense(hidden_dim, dtype=dtype, name="mlp_down")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (None, None, self.hidden_dim)
        for layer in (self.attention_norm, self.attention, self.mlp_norm, self.mlp_up):
            layer.build(shape)
        self.mlp_down.build((None, None, self.mlp_up.units))

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        hidden = recompute_if_cheap(_gelu, self.mlp_up(self.mlp_norm(x)))
        return x + self.mlp_down(hidden)


def _gelu(x: Tensor) -> Tensor:
    return ops.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package="keras_pg2")
class SigLIPEncoder(keras.layers.Layer):
    """Image pixels to image features.

    Args:
        image_size: height and width of the square input in pixels, a multiple
            of `patch_size`.
        patch_size: height and width of a patch in pixels.
        num_layers: number of transformer blocks.
        num_heads: number of attention heads, dividing `hidden_dim`.
        hidden_dim: width of the features.
        intermediate_dim: width inside the MLPs.

    Raises:
        ValueError: when a size is no whole number >= 1, is beyond any network, or does
            not divide as said above.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_size = image_size
        self.patch_size = patch_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        check_part("vision_encoder", self._numbers())
        self.num_image_tokens = (image_size // patch_size) ** 2
        self.checkpoints_blocks = False
        dtype = self.dtype_policy
        self.patch_embedding = keras.layers.Conv2D(
            hidden_dim,
            kernel_size=patch_size,
            strides=patch_size,
            padding="valid",
            data_format="channels_last",
            dtype=dtype,
            name="patch_embedding",
        )
        self.position_embedding = keras.layers.Embedding(
            self.num_image_tokens, hidden_dim, dtype=dtype, name="position_embedding"
        )
        self.blocks = [
            SigLIPBlock(
                num_heads, hidden_dim, intermediate_dim, dtype=dtype, name=f"block_{i}"
            )
            for i in range(num_layers)
        ]
        self.final_norm = keras.layers.LayerNormalization(
            epsilon=LAYER_NORM_EPSILON, dtype=dtype, name="final_norm"
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.patch_embedding.build((None, self.image_size, self.image_size, 3))
        self.position_embedding.build((None,))
        for block in self.blocks:
            block.build((None, None, self.hidden_dim))
        self.final_norm.build((None, None, self.hidden_dim))

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        """Encodes each image by itself and joins the tokens of an example.

        Args:
            images: float[B, M, image_size, image_size, 3] in [-1, 1]. M may be
                0: an example of text alone. Without that axis M is 1.
            training: True for dropout of LoRA.

        Returns:
            float[B, M * I, D].
        """
        if len(images.shape) == 4:
            images = images[:, None]
        batch, num_images = ops.shape(images)[:2]
        if images.shape[1] == 0:
            return ops.zeros((batch, 0, self.hidden_dim), dtype=self.compute_dtype)
        pixels = (-1, self.image_size, self.image_size, 3)
        # [B * M, side, side, D]
        x = self.patch_embedding(ops.reshape(images, pixels))
        x = ops.reshape(x, (-1, self.num_image_tokens, self.hidden_dim))
        # Without a dtype it would be int16 with a floatx of 16 bits, which XLA lacks.
        positions = ops.arange(self.num_image_tokens, dtype="int32")
        x = x + self.position_embedding(positions)
        for block in self.blocks:
            run = partial(_run_block, block, training)
            x = checkpoint(run, x) if self.checkpoints_blocks else run(x)
        x = self.final_norm(x)
        num_tokens = num_images * self.num_image_tokens
        return ops.reshape(x, (batch, num_tokens, self.hidden_dim))

    def compute_output_spec(
        self, images: keras.KerasTensor, training: bool | None = None
    ) -> keras.KerasTensor:
        # Known without tracing `call`, which is most of the time it takes to build.
        batch, *leading = images.shape[:-3]
        num_images = leading[0] if leading else 1
        num_tokens = None if num_images is None else num_images * self.num_image_tokens
        shape = (batch, num_tokens, self.hidden_dim)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._numbers()}

    def _numbers(self) -> dict[str, Any]:
        return {
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
        }


def _run_block(block: SigLIPBlock, training: bool | None, x: Tensor) -> Tensor:
    return block(x, training=training)
