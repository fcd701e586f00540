"""The Gemma 2 decoder, and Gemma 1 by its numbers.

What is unusual about it (Gemma 2 report, arXiv 2408.00118, section 2):

- RMSNorm with a zero-centred weight, before *and after* attention and MLP
  (`has_post_norms`; Gemma 1 has only the norms before);
- soft caps on attention logits (50) and on vocabulary logits (30);
- a sliding window in the layers of even index;
- a query scale that is a number of its own (256, 256 and 144, not head_dim);
- token embeddings multiplied by sqrt(D), and tied to the output projection.

Axes: B batch, I image tokens, T text length, S key length, D hidden_dim,
F intermediate_dim, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
from keras import ops

from keras_pg2.checks.architecture import check_part
from keras_pg2.modeling.attention import GroupedQueryAttention, soft_cap, take_tokens
from keras_pg2.modeling.attention_mask import (
    AttentionMasks,
    attention_masks,
    token_layout,
)
from keras_pg2.modeling.checkpointing import checkpoint, recompute_if_cheap
from keras_pg2.modeling.cpu.products import multiply_by_vocabulary
from keras_pg2.modeling.dense import Dense
from keras_pg2.modeling.dropout import Dropout, Noise, check_dropout
from keras_pg2.modeling.kv_cache import KVCache, LayerCache, empty_cache
from keras_pg2.modeling.rotary import Rotation, compute_rotation
from keras_pg2.typing import Tensor

RMS_NORM_EPSILON = 1e-6


class RMSNorm(keras.layers.Layer):
    """`x / rms(x) * (1 + scale)` in float32, returned in the compute dtype."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.scale = self.add_weight(
            shape=(input_shape[-1],), initializer="zeros", name="scale"
        )

    def call(self, x: Tensor) -> Tensor:
        scale = 1.0 + ops.cast(self.scale, "float32")
        x = ops.rms_normalization(x, scale, axis=-1, epsilon=RMS_NORM_EPSILON)
        return ops.cast(x, self.compute_dtype)


class GatedMLP(keras.layers.Layer):
    """`down(gelu(gate(x)) * up(x))`, GELU by its tanh formula."""

    def __init__(self, hidden_dim: int, intermediate_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim

        def dense(units: int, name: str) -> Dense:
            return Dense(units, use_bias=False, dtype=self.dtype_policy, name=name)

        self.gate_dense = dense(intermediate_dim, "gate_dense")
        self.up_dense = dense(intermediate_dim, "up_dense")
        self.down_dense = dense(hidden_dim, "down_dense")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.gate_dense.build((None, None, self.hidden_dim))
        self.up_dense.build((None, None, self.hidden_dim))
        self.down_dense.build((None, None, self.up_dense.units))

    def call(self, x: Tensor) -> Tensor:
        gated = recompute_if_cheap(_gate, self.gate_dense(x), self.up_dense(x))
        return self.down_dense(gated)


def _gate(gate: Tensor, up: Tensor) -> Tensor:
    return ops.gelu(gate, approximate=True) * up


class Gemma2Block(keras.layers.Layer):
    """Attention and MLP, each `x += post_norm(f(pre_norm(x)))`.

    Without post-norms (Gemma 1) the residual is `x += f(pre_norm(x))`. Dropout comes
    after the post-norm of the attention and before that of the MLP, as in big_vision
    (`models/ppp/gemma.py:Block`).
    """

    def __init__(
        self,
        attention: dict[str, Any],
        intermediate_dim: int,
        has_post_norms: bool,
        dropouts: tuple[Dropout, Dropout],
        **kwargs: Any,
    ) -> None:
        # Keras would round the rotation to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        dtype = self.dtype_policy
        self.hidden_dim = attention["hidden_dim"]
        self.attention_dropout, self.mlp_dropout = dropouts
        self.pre_attention_norm = RMSNorm(dtype=dtype, name="pre_attention_norm")
        self.attention = GroupedQueryAttention(
            **attention, dtype=dtype, name="attention"
        )
        self.pre_mlp_norm = RMSNorm(dtype=dtype, name="pre_mlp_norm")
        self.mlp = GatedMLP(self.hidden_dim, intermediate_dim, dtype=dtype, name="mlp")
        # An identity is a post-norm that does nothing, so `call` has no branch.
        post_norm = RMSNorm if has_post_norms else keras.layers.Identity
        self.post_attention_norm = post_norm(dtype=dtype, name="post_attention_norm")
        self.post_mlp_norm = post_norm(dtype=dtype, name="post_mlp_norm")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (None, None, self.hidden_dim)
        for layer in (
            self.pre_attention_norm,
            self.attention,
            self.post_attention_norm,
            self.pre_mlp_norm,
            self.mlp,
            self.post_mlp_norm,
        ):
            layer.build(shape)

    def call(
        self,
        x: Tensor,
        rotation: Rotation,
        mask: Tensor,
        cache: LayerCache | None = None,
        cache_index: Tensor = 0,
        query_positions: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[Tensor, LayerCache | None]:
        attended, cache = self.attention(
            self.pre_attention_norm(x),
            rotation,
            mask,
            cache=cache,
            cache_index=cache_index,
            query_positions=query_positions,
        )
        attended = self.post_attention_norm(attended)
        x = take_tokens(x, query_positions)
        x = x + self.attention_dropout(attended, training)
        hidden = self.mlp(self.pre_mlp_norm(x))
        return x + self.post_mlp_norm(self.mlp_dropout(hidden, training)), cache


@keras.saving.register_keras_serializable(package="keras_pg2")
class Gemma2Decoder(keras.layers.Layer):
    """Token embeddings, decoder blocks, final norm and tied vocabulary.

    Args:
        vocabulary_size: V.
        num_layers: number of decoder blocks.
        num_query_heads: N.
        num_key_value_heads: K, dividing N.
        head_dim: H, even.
        hidden_dim: D.
        intermediate_dim: F, the true width of the gated MLP.
        query_pre_attn_scalar: queries are scaled by this number ** -0.5 (256,
            256 and 144 for PaliGemma 2 3B, 10B and 28B).
        attention_logit_soft_cap: 50 in Gemma 2; None for none.
        final_logit_soft_cap: 30 in Gemma 2; None for none.
        sliding_window: window of the even layers, 4096 in Gemma 2; None for
            none, as in big_vision, which trained the released weights.
        has_post_norms: whether blocks have norms after attention and MLP (True
            in Gemma 2, False in Gemma 1).
        dropout: the probability in training that a number of what attention or MLP
            add is left out; 0 in released models.

    Raises:
        ValueError: when a number is of another kind, not above 0, not finite or beyond
            any network, `num_key_value_heads` does not divide `num_query_heads`, or
            `dropout` is not in [0, 1).
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_query_heads: int,
        num_key_value_heads: int,
        head_dim: int,
        hidden_dim: int,
        intermediate_dim: int,
        query_pre_attn_scalar: float,
        attention_logit_soft_cap: float | None = 50.0,
        final_logit_soft_cap: float | None = 30.0,
        sliding_window: int | None = 4096,
        has_post_norms: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.query_pre_attn_scalar = query_pre_attn_scalar
        self.attention_logit_soft_cap = attention_logit_soft_cap
        self.final_logit_soft_cap = final_logit_soft_cap
        self.sliding_window = sliding_window
        self.has_post_norms = has_post_norms
        self.dropout = check_dropout(dropout)
        check_part("text_decoder", self._numbers())
        self.noise = Noise()
        self.checkpoints_blocks = False
        dtype = self.dtype_policy
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            hidden_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=dtype,
            name="token_embedding",
        )
        attention = {
            "num_query_heads": num_query_heads,
            "num_key_value_heads": num_key_value_heads,
            "head_dim": head_dim,
            "hidden_dim": hidden_dim,
            "query_pre_attn_scalar": query_pre_attn_scalar,
            "logit_soft_cap": attention_logit_soft_cap,
        }
        self.blocks = [
            Gemma2Block(
                attention,
                intermediate_dim,
                has_post_norms,
                (
                    Dropout(self.noise, self.dropout, 2 * i),
                    Dropout(self.noise, self.dropout, 2 * i + 1),
                ),
                dtype=dtype,
                name=f"block_{i}",
            )
            for i in range(num_layers)
        ]
        self.final_norm = RMSNorm(dtype=dtype, name="final_norm")

    def set_dropout(self, rate: float) -> None:
        """Changes `dropout`; steps that are compiled keep what they had.

        Raises:
            TypeError, ValueError: when it is no number in [0, 1).
        """
        self.dropout = check_dropout(rate)
        self.noise.is_used = self.noise.is_used or self.dropout > 0
        for block in self.blocks:
            block.attention_dropout.rate = block.mlp_dropout.rate = self.dropout

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        self.token_embedding.build((None, None))
        for block in self.blocks:
            block.build((None, None, self.hidden_dim))
        self.final_norm.build((None, None, self.hidden_dim))

    def call(
        self,
        image_embeddings: Tensor,
        token_ids: Tensor,
        padding_mask: Tensor,
        response_mask: Tensor,
        training: bool | None = None,
    ) -> Tensor:
        """Runs image and text through the decoder, with no cache.

        Args:
            image_embeddings: float[B, I, D], in the decoder's own space.
            token_ids: int32[B, T].
            padding_mask: bool[B, T], True at real tokens.
            response_mask: bool[B, T], True at response tokens.
            training: True for dropout.

        Returns:
            float[B, I + T, D], hidden states after the final norm.
        """
        x = self.join(image_embeddings, token_ids)
        layout = token_layout(
            *prepend_image(image_embeddings, padding_mask, response_mask)
        )
        masks = attention_masks(layout, layout, self.sliding_window)
        return self.run_layers(x, layout.positions, masks, training=training)[0]

    def compute_output_spec(
        self,
        image_embeddings: keras.KerasTensor,
        token_ids: keras.KerasTensor,
        padding_mask: keras.KerasTensor,
        response_mask: keras.KerasTensor,
        training: bool | None = None,
    ) -> keras.KerasTensor:
        # Known without tracing `call`, as in `SigLIPEncoder`.
        lengths = (image_embeddings.shape[1], token_ids.shape[1])
        num_tokens = None if None in lengths else sum(lengths)
        shape = (token_ids.shape[0], num_tokens, self.hidden_dim)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def embed(self, token_ids: Tensor) -> Tensor:
        """int32[B, T] -> float[B, T, D], scaled by sqrt(D) in the compute dtype."""
        x = self.token_embedding(token_ids)
        return x * ops.cast(self.hidden_dim**0.5, x.dtype)

    def join(self, image_embeddings: Tensor, token_ids: Tensor) -> Tensor:
        """Puts the image before the text: float[B, I + T, D].

        Image embeddings are not scaled by sqrt(D) (big_vision `paligemma.py`).
        """
        text = self.embed(token_ids)
        return ops.concatenate([ops.cast(image_embeddings, text.dtype), text], axis=1)

    def run_layers(
        self,
        x: Tensor,
        positions: Tensor,
        masks: AttentionMasks,
        cache: KVCache | None = None,
        cache_index: Tensor = 0,
        query_positions: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[Tensor, Any]:
        """The one way through the decoder, for training, prefill and decoding.

        Args:
            x: float[B, T, D], embedded tokens.
            positions: int32[B, T].
            masks: bool[B, T, S]; S is T without a cache, and with one the slots that
                are looked at, the first S.
            cache: what earlier tokens left, or None; used up.
            cache_index: int32 scalar, the cache slot of the first token of `x`.
            query_positions: int32[B, Q], indices of the tokens of `x` whose states are
                computed in the last layer, where the others only leave their keys and
                values; None computes all.
            training: True for dropout.

        Returns:
            float[B, T, D] (float[B, Q, D] with `query_positions`) after the final norm,
            and the cache with `x` in it (None for None).
        """
        rotation = compute_rotation(positions, self.head_dim)
        layer_caches: list[LayerCache | None] = []
        for i, block in enumerate(self.blocks):
            mask = masks.windowed if i % 2 == 0 else masks.full
            queries = query_positions if block is self.blocks[-1] else None
            if self.checkpoints_blocks and cache is None and queries is None:
                x = checkpoint(partial(_run_block, block, rotation, mask, training), x)
                continue
            x, layer_cache = block(
                x,
                rotation,
                take_tokens(mask, queries),
                cache=None if cache is None else cache[i],
                cache_index=cache_index,
                query_positions=queries,
                training=training,
            )
            layer_caches.append(layer_cache)
        return self.final_norm(x), None if cache is None else tuple(layer_caches)

    def project_to_vocabulary(self, hidden: Tensor) -> Tensor:
        """float[..., D] -> float32[..., V], soft cap applied."""
        hidden = ops.convert_to_tensor(hidden)
        embedding = self.token_embedding
        is_int8 = embedding.quantization_mode == "int8"
        if is_int8 and embedding.inputs_quantizer is not None:
            # As the layer does, but for the transpose of a vector, which PyTorch
            # warns of.
            rounded, scale = embedding.inputs_quantizer(hidden)
            products = ops.matmul(rounded, ops.transpose(embedding.embeddings))
            scale = ops.multiply(scale, embedding.embeddings_scale)
            logits = ops.divide(ops.cast(products, hidden.dtype), scale)
        else:
            # As the layer does, but for its transpose, which XLA's CPU code pays for.
            # Of 4 bits, Keras rounds the states or not: by whether it was loaded.
            table = ops.cast(self.vocabulary_table(), hidden.dtype)
            logits = multiply_by_vocabulary(hidden, table)
        return soft_cap(ops.cast(logits, "float32"), self.final_logit_soft_cap)

    def vocabulary_table(self) -> Tensor:
        """float[V, D], what hidden states are multiplied with, without rounding.

        In the dtype of the weights; of a quantised embedding in the compute dtype.
        """
        embedding = self.token_embedding
        if embedding.quantization_mode is not None:
            return embedding(ops.arange(self.vocabulary_size, dtype="int32"))
        return ops.convert_to_tensor(embedding.embeddings)

    def empty_cache(self, batch_size: int, length: int) -> KVCache:
        """A cache of zeros for `length` tokens (image included) in each row."""
        shape = (batch_size * self.num_key_value_heads, length, self.head_dim)
        return empty_cache(self.num_layers, shape, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        # Not a number of released models, whose files do not have it.
        dropout = {"dropout": self.dropout} if self.dropout else {}
        return {**super().get_config(), **dropout, **self._numbers()}

    def _numbers(self) -> dict[str, Any]:
        return {
            "vocabulary_size": self.vocabulary_size,
            "num_layers": self.num_layers,
            "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "query_pre_attn_scalar": self.query_pre_attn_scalar,
            "attention_logit_soft_cap": self.attention_logit_soft_cap,
            "final_logit_soft_cap": self.final_logit_soft_cap,
            "sliding_window": self.sliding_window,
            "has_post_norms": self.has_post_norms,
        }


def _run_block(
    block: Gemma2Block,
    rotation: Rotation,
    mask: Tensor,
    training: bool | None,
    x: Tensor,
) -> Tensor:
    """A block without a cache: float[B, T, D] -> float[B, T, D]."""
    return block(x, rotation, mask, training=training)[0]


def prepend_image(image_embeddings: Tensor, *masks: Tensor) -> tuple[Tensor, Tensor]:
    """Extends (padding_mask, response_mask), bool[B, T], over the image tokens.

    Image tokens are real tokens and belong to the prefix.

    Returns:
        padding_mask and response_mask, bool[B, I + T].
    """
    padding_mask, response_mask = (ops.cast(mask, "bool") for mask in masks)
    image = ops.ones_like(image_embeddings[:, :, 0], dtype="bool")
    return (
        ops.concatenate([image, padding_mask], axis=1),
        ops.concatenate([ops.logical_not(image), response_mask], axis=1),
    )
