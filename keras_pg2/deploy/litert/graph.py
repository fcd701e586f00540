"""The network in TensorFlow's own operations, for LiteRT's converter.

Weights come as arrays, so a model of any backend can be exported, and each operation is
one that the converter and the quantizer know: a lookup that becomes EMBEDDING_LOOKUP
(so that one table serves lookup and logits, however it is quantised), projections that
become FULLY_CONNECTED, names that a recipe can choose by. It is held to the model by
`comparison.verify_litert`, at every export.

There is one example and no padding between prompt and answer: the answer's tokens take
the cache's slots right after the prompt's last one, so that a slot is a position, and
what padding left there is written over before anything sees it.

Axes: I image tokens, T tokens, S slots of the cache, N query heads, K key/value heads,
G = N // K, H head_dim, D hidden_dim, F intermediate_dim, V vocabulary. No batch, but at
the borders of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

from keras_pg2.modeling.attention import QUERY_BLOCK
from keras_pg2.modeling.gemma2 import RMS_NORM_EPSILON
from keras_pg2.modeling.rotary import ROTARY_BASE, Rotation
from keras_pg2.modeling.siglip import LAYER_NORM_EPSILON
from keras_pg2.typing import Architecture, Tensor

Cache = Sequence[tuple[Tensor, Tensor]]
"""Per layer keys float32[1, K, S, H] and values float32[1, K, H, S]."""

FORBIDDEN = -1e30


class Biases(NamedTuple):
    """What is added to attention logits, 0 where a query may attend, else `FORBIDDEN`.

    Attributes:
        full: float32[T, S].
        windowed: float32[T, S], for layers with a sliding window.
    """

    full: Tensor
    windowed: Tensor


class LiteRTGraph:
    """The network on float32 weights, which are read when they are first used.

    Args:
        tf: the module `tensorflow`.
        architecture: of the vision encoder and the text decoder, by part.
        paths: of all weights in the backbone.
        read: a weight by its path, float32; kernels as [F, D].

    Attributes:
        read: as given.
        weights: those in use, by path. To clear it gives their memory back.
    """

    def __init__(
        self,
        tf: ModuleType,
        architecture: Architecture,
        paths: Collection[str],
        read: Callable[[str], np.ndarray],
    ) -> None:
        self.tf = tf
        self.vision = architecture["vision_encoder"]
        self.text = architecture["text_decoder"]
        self.weights: dict[str, Tensor] = {}
        self._paths = paths
        self.read = read
        self._lookup: Callable[[Tensor, Tensor], Tensor] = tf.function(
            lambda table, ids: tf.gather(table, ids),
            experimental_implements="embedding_matmul",
            autograph=False,
        )

    def encode_image(self, images: Tensor) -> Tensor:
        """float32[1, h, w, 3] in [-1, 1] -> float32[1, I, hidden_dim of vision]."""
        tf, sizes = self.tf, self.vision
        width, patch = sizes["hidden_dim"], sizes["patch_size"]
        kernel = self._of("vision_encoder/patch_embedding/kernel")
        x = tf.nn.conv2d(images, kernel, patch, "VALID")
        x = tf.reshape(x, (-1, width)) + self._of("vision_encoder/patch_embedding/bias")
        x += self._of("vision_encoder/position_embedding/embeddings")
        for i in range(sizes["num_layers"]):
            block = f"vision_encoder/block_{i}"
            x += self._vision_attention(
                f"{block}/attention", self._layer_norm(f"{block}/attention_norm", x)
            )
            hidden = self._dense(
                f"{block}/mlp_up", self._layer_norm(f"{block}/mlp_norm", x)
            )
            hidden = tf.nn.gelu(hidden, approximate=True)
            x += self._dense(f"{block}/mlp_down", hidden)
        return self._layer_norm("vision_encoder/final_norm", x)[None]

    def project_image(self, features: Tensor) -> Tensor:
        """float32[1, I, hidden_dim of vision] -> float32[1, I, D]."""
        return self._dense("vision_projection", self.tf.squeeze(features, 0))[None]

    def embed(self, token_ids: Tensor) -> Tensor:
        """int32[1, T] -> float32[1, T, D], scaled by sqrt(D)."""
        table = self._of("text_decoder/token_embedding/embeddings")
        x = self._lookup(table, self.tf.reshape(token_ids, (-1,)))
        return (x * self.text["hidden_dim"] ** 0.5)[None]

    def run_layers(
        self,
        x: Tensor,
        positions: Tensor,
        biases: Biases,
        cache: Cache,
        first_layer: int = 0,
    ) -> tuple[Tensor, Cache]:
        """Some of the decoder's blocks, as many as the cache has layers.

        Args:
            x: float32[T, D].
            positions: int32[T], also the slots of the cache that are written, one
                after another from the first.
            biases: by the attention rule.
            cache: what earlier tokens left.
            first_layer: of those blocks.

        Returns:
            float32[T, D] after the last of them (before the final norm), and the
            cache with `x` in it.
        """
        rotation = self._rotation(positions)
        layers = []
        for i, layer in enumerate(cache, start=first_layer):
            block = f"text_decoder/block_{i}"
            bias = biases.windowed if i % 2 == 0 else biases.full
            attended, layer = self._text_attention(
                f"{block}/attention",
                self._rms_norm(f"{block}/pre_attention_norm", x),
                rotation,
                positions[0],
                bias,
                layer,
            )
            x += self._post_norm(f"{block}/post_attention_norm", attended)
            hidden = self._rms_norm(f"{block}/pre_mlp_norm", x)
            gate = self._dense(f"{block}/mlp/gate_dense", hidden)
            gate = self.tf.nn.gelu(gate, approximate=True)
            hidden = gate * self._dense(f"{block}/mlp/up_dense", hidden)
            hidden = self._dense(f"{block}/mlp/down_dense", hidden)
            x += self._post_norm(f"{block}/post_mlp_norm", hidden)
            layers.append(layer)
        return x, layers

    def project_to_vocabulary(self, x: Tensor) -> Tensor:
        """float32[T, D] before the final norm -> logits float32[T, V]."""
        tf, cap = self.tf, self.text["final_logit_soft_cap"]
        # After the product, the converter would divide the table and so need a second.
        x = self._rms_norm("text_decoder/final_norm", x, 1.0 if cap is None else cap)
        with tf.name_scope("text_decoder/token_embedding"):
            table = self._of("text_decoder/token_embedding/embeddings")
            logits = tf.matmul(x, table, transpose_b=True)
        return logits if cap is None else tf.tanh(logits) * cap

    def cache_shapes(self, length: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of keys and values of a layer."""
        heads, head_dim = self.text["num_key_value_heads"], self.text["head_dim"]
        return (1, heads, length, head_dim), (1, heads, head_dim, length)

    def empty_cache(self, length: int, num_layers: int) -> Cache:
        """A cache of zeros."""
        key, value = self.cache_shapes(length)
        return [(self.tf.zeros(key), self.tf.zeros(value)) for _ in range(num_layers)]

    def _text_attention(
        self,
        path: str,
        x: Tensor,
        rotation: Rotation,
        start: Tensor,
        bias: Tensor,
        cache: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        # Keras writes by it too; public names of TensorFlow have no such operation.
        from tensorflow.compiler.tf2xla.python.xla import dynamic_update_slice

        tf, head_dim = self.tf, self.text["head_dim"]
        num_keys = self.text["num_key_value_heads"]
        query, key, value = self._projections(path, x, head_dim)
        scale = self.text["query_pre_attn_scalar"] ** -0.5
        query = self._rotate(query, rotation) * scale
        key = self._rotate(key, rotation)
        # Values with their slots last, as LiteRT-LM has them.
        value = tf.transpose(value, (0, 2, 1))
        zero = tf.zeros_like(start)
        start_indices = tf.stack([zero, zero, start, zero])
        keys = dynamic_update_slice(cache[0], key[None], start_indices)
        start_indices = tf.stack([zero, zero, zero, start])
        values = dynamic_update_slice(cache[1], value[None], start_indices)
        # Not by [0], which copies number by number and takes longer than the products.
        all_keys, all_values = tf.squeeze(keys, 0), tf.squeeze(values, 0)
        num_groups, length = query.shape[0] // num_keys, query.shape[1]
        # [K, G, T, H]: query head n reads key head n // G.
        query = tf.reshape(query, (num_keys, num_groups, length, head_dim))
        parts = []
        for first in range(0, length, QUERY_BLOCK):
            part = query[:, :, first : first + QUERY_BLOCK]
            size = part.shape[2]
            rows = tf.reshape(part, (num_keys, num_groups * size, head_dim))
            logits = tf.matmul(rows, all_keys, transpose_b=True)
            logits = self._soft_cap(logits, self.text["attention_logit_soft_cap"])
            logits = tf.reshape(logits, (num_keys, num_groups, size, -1))
            logits += bias[first : first + QUERY_BLOCK]
            logits = tf.reshape(logits, (num_keys, num_groups * size, -1))
            part = tf.matmul(tf.nn.softmax(logits), all_values, transpose_b=True)
            parts.append(tf.reshape(part, (num_keys * num_groups, size, head_dim)))
        output = tf.concat(parts, axis=1) if len(parts) > 1 else parts[0]
        return self._dense(f"{path}/output_dense", self._join(output)), (keys, values)

    def _vision_attention(self, path: str, x: Tensor) -> Tensor:
        tf = self.tf
        head_dim = self.vision["hidden_dim"] // self.vision["num_heads"]
        query, key, value = self._projections(path, x, head_dim)
        query *= head_dim**-0.5
        parts = []
        for first in range(0, query.shape[1], QUERY_BLOCK):
            part = query[:, first : first + QUERY_BLOCK]
            logits = tf.matmul(part, key, transpose_b=True)
            parts.append(tf.matmul(tf.nn.softmax(logits), value))
        output = tf.concat(parts, axis=1) if len(parts) > 1 else parts[0]
        return self._dense(f"{path}/output_dense", self._join(output))

    def _dense(self, path: str, x: Tensor) -> Tensor:
        """[T, D] -> [T, F]; kernels are kept as [F, D], as LiteRT has them."""
        with self.tf.name_scope(path):
            x = self.tf.matmul(x, self._of(f"{path}/kernel"), transpose_b=True)
            has_bias = f"{path}/bias" in self._paths
            return x + self._of(f"{path}/bias") if has_bias else x

    def _of(self, path: str) -> Tensor:
        if path not in self.weights:
            # Functions that are being traced may use a variable, but not make one.
            with self.tf.init_scope():
                self.weights[path] = self.tf.Variable(self.read(path))
        return self.tf.convert_to_tensor(self.weights[path])

    def _projections(self, path: str, x: Tensor, head_dim: int) -> list[Tensor]:
        """[T, D] -> query, key and value [heads, T, H]"""
        return [
            self._heads(self._dense(f"{path}/{name}_dense", x), head_dim)
            for name in ("query", "key", "value")
        ]

    def _heads(self, x: Tensor, head_dim: int) -> Tensor:
        """[T, heads * H] -> [heads, T, H]"""
        x = self.tf.reshape(x, (x.shape[0], -1, head_dim))
        return self.tf.transpose(x, (1, 0, 2))

    def _join(self, x: Tensor) -> Tensor:
        """[heads, T, H] -> [T, heads * H]"""
        x = self.tf.transpose(x, (1, 0, 2))
        return self.tf.reshape(x, (x.shape[0], -1))

    def _rms_norm(self, path: str, x: Tensor, divisor: float = 1.0) -> Tensor:
        tf = self.tf
        mean = tf.reduce_mean(tf.square(x), axis=-1, keepdims=True)
        scale = (1.0 + self._of(f"{path}/scale")) / divisor
        # In this order: a constant as the last factor goes into the next kernel, and
        # the table would no longer be that of the lookup.
        return x * scale * tf.math.rsqrt(mean + RMS_NORM_EPSILON)

    def _post_norm(self, path: str, x: Tensor) -> Tensor:
        return self._rms_norm(path, x) if self.text["has_post_norms"] else x

    def _layer_norm(self, path: str, x: Tensor) -> Tensor:
        tf = self.tf
        x -= tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(x), axis=-1, keepdims=True)
        x *= tf.math.rsqrt(variance + LAYER_NORM_EPSILON)
        return x * self._of(f"{path}/gamma") + self._of(f"{path}/beta")

    def _soft_cap(self, x: Tensor, cap: float | None) -> Tensor:
        return x if cap is None else self.tf.tanh(x / cap) * cap

    def _rotation(self, positions: Tensor) -> Rotation:
        """Cosines and signed sines float32[T, H] of int32[T]."""
        tf, half = self.tf, self.text["head_dim"] // 2
        inverse = ROTARY_BASE ** -(np.arange(half, dtype=np.float32) / half)
        angle = tf.cast(positions, tf.float32)[:, None] * inverse.astype(np.float32)
        cos, sin = tf.cos(angle), tf.sin(angle)
        return Rotation(tf.concat([cos, cos], axis=-1), tf.concat([-sin, sin], axis=-1))

    def _rotate(self, x: Tensor, rotation: Rotation) -> Tensor:
        first, second = self.tf.split(x, 2, axis=-1)
        swapped = self.tf.concat([second, first], axis=-1)
        return x * rotation.cos + swapped * rotation.sin
