"""The network as three ONNX graphs: pictures, tokens, and the decoder with its cache.

Weights come as arrays, so a model of any backend can be exported. Inputs, outputs and
names are those that transformers.js feeds; batch and lengths are free.

In the decoder, a pass without a past is the prompt: all tokens that the attention mask
lets through see each other, whatever the window. With a past, the new tokens are the
answer's: each sees what is before it and itself, and in layers with a window only what
is near. Distances count the tokens that the mask lets through.

Axes: B batch, I image tokens, T new tokens, S past and new ones, N query heads,
K key/value heads, G = N // K, H head_dim, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from keras_pg2.deploy.onnx.builder import GraphBuilder, Types
from keras_pg2.deploy.onnx.quantization import row_quantize
from keras_pg2.modeling.gemma2 import RMS_NORM_EPSILON
from keras_pg2.modeling.rotary import ROTARY_BASE, Rotation
from keras_pg2.modeling.siglip import LAYER_NORM_EPSILON
from keras_pg2.typing import Architecture

FORBIDDEN = np.float32(-1e30)
FLOAT, INT64 = 1, 7
"""Of onnx.TensorProto.DataType."""


class ONNXGraph:
    """The network in the operations of one builder.

    Args:
        builder: of the graph that the methods add to.
        architecture: of the vision encoder and the text decoder, by part.
        paths: of all weights in the backbone.
        read: a weight by its path.
        quantization: None, "float16", "int8" or "int4".
    """

    def __init__(
        self,
        builder: GraphBuilder,
        architecture: Architecture,
        paths: Collection[str],
        read: Callable[[str], np.ndarray],
        quantization: str | None,
    ) -> None:
        self.builder = builder
        self.vision = architecture["vision_encoder"]
        self.text = architecture["text_decoder"]
        self._paths = paths
        self._read = read
        self._quantization = quantization
        self._is_integer = quantization in ("int8", "int4")

    def vision_encoder(self) -> tuple[Types, Types]:
        """pixel_values float32[B, 3, h, w] in [-1, 1] -> image_features [B, I, D]."""
        b, sizes = self.builder, self.vision
        width, patch, size = (
            sizes[key] for key in ("hidden_dim", "patch_size", "image_size")
        )
        path = "vision_encoder/patch_embedding"
        # [h, w, 3, D] -> [D, 3, h, w]
        kernel = self._read(f"{path}/kernel").transpose(3, 2, 0, 1)
        weight = b.weight(f"{path}/kernel", kernel)
        x = b.op("Conv", "pixel_values", weight, strides=[patch, patch])
        x = b.transpose(b.reshape(x, (0, width, -1)), (0, 2, 1))
        x = b.add(x, self._of(f"{path}/bias"))
        x = b.add(x, self._of("vision_encoder/position_embedding/embeddings"))
        for i in range(sizes["num_layers"]):
            block = f"vision_encoder/block_{i}"
            hidden = self._layer_norm(f"{block}/attention_norm", x)
            x = b.add(x, self._vision_attention(f"{block}/attention", hidden))
            hidden = self._layer_norm(f"{block}/mlp_norm", x)
            hidden = self._gelu(self._dense(f"{block}/mlp_up", hidden))
            x = b.add(x, self._dense(f"{block}/mlp_down", hidden))
        x = self._layer_norm("vision_encoder/final_norm", x)
        x = self._dense("vision_projection", x)
        b.op("Identity", x, name="image_features")
        num_tokens, hidden_dim = (size // patch) ** 2, self.text["hidden_dim"]
        return (
            {"pixel_values": ("float32", ("batch", 3, size, size))},
            {"image_features": ("float32", ("batch", num_tokens, hidden_dim))},
        )

    def embed_tokens(self) -> tuple[Types, Types]:
        """input_ids int64[B, T] -> inputs_embeds float32[B, T, D], by sqrt(D).

        `<image>`, the id after the vocabulary, is some other token here: the picture
        is put in its place afterwards.
        """
        b, path = self.builder, "text_decoder/token_embedding/embeddings"
        table, factor = self._read(path), np.float32(self.text["hidden_dim"] ** 0.5)
        last = np.int64(self.text["vocabulary_size"] - 1)
        ids = b.op("Min", "input_ids", last)
        if self._is_integer:
            rows, scales = row_quantize(table)
            x = b.op("Gather", b.weight(path, rows, "int8"), ids, axis=0)
            scale = b.weight(f"{path}.scales", scales * factor)
            x = b.mul(b.op("Cast", x, to=FLOAT), b.op("Gather", scale, ids, axis=0))
        else:
            weight = b.weight(path, table, self._quantization or "float32")
            x = b.mul(b.op("Gather", weight, ids, axis=0), factor)
        b.op("Identity", x, name="inputs_embeds")
        shape = ("batch", "length")
        return (
            {"input_ids": ("int64", shape)},
            {"inputs_embeds": ("float32", (*shape, self.text["hidden_dim"]))},
        )

    def decoder(self) -> tuple[Types, Types]:
        """Embeddings and a cache -> logits float32[B, 1, V] of the last token, cache.

        position_ids may begin anywhere; attention_mask, int64[B, S], is 1 at real
        tokens, of the past too.
        """
        b, sizes = self.builder, self.text
        full, windowed = self._biases()
        rotation = self._rotation()
        x = "inputs_embeds"
        for i in range(sizes["num_layers"]):
            block = f"text_decoder/block_{i}"
            hidden = self._rms_norm(f"{block}/pre_attention_norm", x)
            bias = full if i % 2 else windowed
            hidden = self._text_attention(
                f"{block}/attention", i, hidden, rotation, bias
            )
            x = b.add(x, self._post_norm(f"{block}/post_attention_norm", hidden))
            hidden = self._rms_norm(f"{block}/pre_mlp_norm", x)
            gate = self._gelu(self._dense(f"{block}/mlp/gate_dense", hidden))
            hidden = b.mul(gate, self._dense(f"{block}/mlp/up_dense", hidden))
            hidden = self._dense(f"{block}/mlp/down_dense", hidden)
            x = b.add(x, self._post_norm(f"{block}/post_mlp_norm", hidden))
        x = b.op("Slice", x, *(np.array([n], np.int64) for n in (-1, 2**62, 1)))
        x = self._rms_norm("text_decoder/final_norm", x)
        path = "text_decoder/token_embedding/embeddings"
        x = b.linear(path, x, self._read(path).T, self._kind(path))
        x = self._soft_cap(x, sizes["final_logit_soft_cap"])
        b.op("Identity", x, name="logits")
        return self._decoder_types()

    def _decoder_types(self) -> tuple[Types, Types]:
        sizes = self.text
        heads, head_dim = sizes["num_key_value_heads"], sizes["head_dim"]

        def cache(prefix: str, length: str) -> Types:
            shape = ("batch", heads, length, head_dim)
            return {
                f"{prefix}.{i}.{name}": ("float32", shape)
                for i in range(sizes["num_layers"])
                for name in ("key", "value")
            }

        embeds = ("batch", "length", sizes["hidden_dim"])
        inputs = {
            "inputs_embeds": ("float32", embeds),
            "attention_mask": ("int64", ("batch", "total_length")),
            "position_ids": ("int64", ("batch", "length")),
            **cache("past_key_values", "past_length"),
        }
        logits = ("float32", ("batch", 1, sizes["vocabulary_size"]))
        return inputs, {"logits": logits, **cache("present", "total_length")}

    def _biases(self) -> tuple[str, str]:
        """float32[B, 1, G * T, S] without and with a window, by the attention rule."""
        b, sizes = self.builder, self.text
        one, zero = np.int64(1), np.int64(0)
        past = b.op("Shape", "past_key_values.0.key", start=2, end=3)
        total = b.op("Shape", "attention_mask", start=1, end=2)
        is_prompt = b.op("Equal", past, zero)
        # [S], and [T, 1] of new tokens.
        scalar = np.array([0], np.int64)
        slots = b.op("Range", zero, b.op("Squeeze", total, scalar), one)
        new = b.op("Slice", slots, past, total, scalar)
        before = b.op("LessOrEqual", slots, b.unsqueeze(new, 1))
        is_real = b.unsqueeze(b.op("Greater", "attention_mask", zero), 1)
        # [B, T, S]
        visible = b.op("And", is_real, b.op("Or", is_prompt, before))
        full = self._bias(visible)
        if sizes["sliding_window"] is None:
            return full, full
        positions = b.op("CumSum", "attention_mask", one)
        axis = np.array([1], np.int64)
        query_positions = b.op("Slice", positions, past, total, axis)
        query_positions = b.unsqueeze(query_positions, 2)
        distance = b.op("Sub", query_positions, b.unsqueeze(positions, 1))
        within_window = b.op("Less", distance, np.int64(sizes["sliding_window"]))
        within_window = b.op("Or", is_prompt, within_window)
        return full, self._bias(b.op("And", visible, within_window))

    def _bias(self, visible: str) -> str:
        b, sizes = self.builder, self.text
        bias = b.op("Where", visible, np.float32(0), FORBIDDEN)
        bias = b.unsqueeze(bias, 1)
        num_groups = sizes["num_query_heads"] // sizes["num_key_value_heads"]
        return b.op("Tile", bias, np.array([1, 1, num_groups, 1], np.int64))

    def _rotation(self) -> Rotation:
        """Cosines and signed sines float32[B, 1, T, H]."""
        b, half = self.builder, self.text["head_dim"] // 2
        inverse = ROTARY_BASE ** -(np.arange(half, dtype=np.float32) / half)
        positions = b.op("Cast", "position_ids", to=FLOAT)
        angle = b.mul(b.unsqueeze(positions, 1, 3), inverse.astype(np.float32))
        cos, sin = b.op("Cos", angle), b.op("Sin", angle)
        sins = b.op("Concat", b.op("Neg", sin), sin, axis=-1)
        return Rotation(b.op("Concat", cos, cos, axis=-1), sins)

    def _text_attention(
        self, path: str, layer: int, x: str, rotation: Rotation, bias: str
    ) -> str:
        b, sizes = self.builder, self.text
        head_dim, num_keys = sizes["head_dim"], sizes["num_key_value_heads"]
        query, key, value = self._projections(path, x, head_dim)
        scale = np.float32(sizes["query_pre_attn_scalar"] ** -0.5)
        query = b.mul(self._rotate(query, rotation), scale)
        key = self._rotate(key, rotation)
        past, present = f"past_key_values.{layer}", f"present.{layer}"
        keys = b.op("Concat", f"{past}.key", key, axis=2, name=f"{present}.key")
        values = b.op("Concat", f"{past}.value", value, axis=2, name=f"{present}.value")
        # [B, K, G * T, H]: query head n reads key head n // G.
        rows = b.reshape(query, (0, num_keys, -1, head_dim))
        logits = b.matmul(rows, b.transpose(keys, (0, 1, 3, 2)))
        logits = self._soft_cap(logits, sizes["attention_logit_soft_cap"])
        weights = b.op("Softmax", b.add(logits, bias), axis=-1)
        output = b.matmul(weights, values)
        # [B, K, G * T, H] -> [B, N, T, H], though T is not known.
        num_groups = sizes["num_query_heads"] // num_keys
        output = b.reshape(output, (0, num_keys * num_groups, -1, head_dim))
        return self._dense(f"{path}/output_dense", self._join(output))

    def _vision_attention(self, path: str, x: str) -> str:
        b = self.builder
        head_dim = self.vision["hidden_dim"] // self.vision["num_heads"]
        query, key, value = self._projections(path, x, head_dim)
        query = b.mul(query, np.float32(head_dim**-0.5))
        logits = b.matmul(query, b.transpose(key, (0, 1, 3, 2)))
        output = b.matmul(b.op("Softmax", logits, axis=-1), value)
        return self._dense(f"{path}/output_dense", self._join(output))

    def _kind(self, path: str) -> str | None:
        """Return how a kernel is stored; 4 bits are for the decoder's MLPs alone."""
        # As in LiteRT files, float32: everything seen goes through it.
        if path == "vision_projection":
            return None
        # The MLPs of the vision encoder are called mlp_up and mlp_down.
        is_eight_bit = self._is_integer and "/mlp/" not in path
        return "int8" if is_eight_bit else self._quantization

    def _dense(self, path: str, x: str) -> str:
        """[B, T, D] -> [B, T, F]"""
        b, kernel = self.builder, self._read(f"{path}/kernel")
        x = b.linear(f"{path}/kernel", x, kernel, self._kind(path))
        has_bias = f"{path}/bias" in self._paths
        return b.add(x, self._of(f"{path}/bias")) if has_bias else x

    def _of(self, path: str) -> str:
        return self.builder.weight(path, self._read(path))

    def _projections(self, path: str, x: str, head_dim: int) -> list[str]:
        """[B, T, D] -> query, key and value [B, heads, T, H]"""
        return [
            self._heads(self._dense(f"{path}/{name}_dense", x), head_dim)
            for name in ("query", "key", "value")
        ]

    def _heads(self, x: str, head_dim: int) -> str:
        """[B, T, heads * H] -> [B, heads, T, H]"""
        x = self.builder.reshape(x, (0, 0, -1, head_dim))
        return self.builder.transpose(x, (0, 2, 1, 3))

    def _join(self, x: str) -> str:
        """[B, heads, T, H] -> [B, T, heads * H]"""
        return self.builder.reshape(self.builder.transpose(x, (0, 2, 1, 3)), (0, 0, -1))

    def _gelu(self, x: str) -> str:
        return self.builder.op("Gelu", x, approximate="tanh")

    def _rms_norm(self, path: str, x: str) -> str:
        """In the form that ONNX Runtime makes one operation of."""
        b = self.builder
        square = b.op("Pow", x, np.float32(2))
        mean = b.op("ReduceMean", square, np.array([-1], np.int64), keepdims=1)
        root = b.op("Sqrt", b.add(mean, np.float32(RMS_NORM_EPSILON)))
        scale = 1 + self._read(f"{path}/scale").astype(np.float32)
        return b.mul(b.op("Div", x, root), b.weight(f"{path}/scale", scale))

    def _post_norm(self, path: str, x: str) -> str:
        return self._rms_norm(path, x) if self.text["has_post_norms"] else x

    def _layer_norm(self, path: str, x: str) -> str:
        return self.builder.op(
            "LayerNormalization",
            x,
            self._of(f"{path}/gamma"),
            self._of(f"{path}/beta"),
            axis=-1,
            epsilon=LAYER_NORM_EPSILON,
        )

    def _soft_cap(self, x: str, cap: float | None) -> str:
        if cap is None:
            return x
        b = self.builder
        return b.mul(b.op("Tanh", b.op("Div", x, np.float32(cap))), np.float32(cap))

    def _rotate(self, x: str, rotation: Rotation) -> str:
        b = self.builder
        first, second = b.outputs_of("Split", 2, x, axis=-1, num_outputs=2)
        swapped = b.op("Concat", second, first, axis=-1)
        return b.add(b.mul(x, rotation.cos), b.mul(swapped, rotation.sin))
