"""What a LiteRT file can be asked, and its making by TensorFlow's converter.

Axes: I image tokens, T tokens of the prompt's text, S slots of the cache,
K key/value heads, H head_dim, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import NamedTuple

from keras_pg2.catalogue.architecture import num_image_tokens
from keras_pg2.deploy.litert.graph import FORBIDDEN, Biases, Cache, LiteRTGraph
from keras_pg2.typing import Tensor


class Signature(NamedTuple):
    """An entry of a file.

    Attributes:
        function: takes tensors by name and returns tensors by name.
        inputs: shape and type of each input.
    """

    function: Callable[..., dict[str, Tensor]]
    inputs: dict[str, tuple[tuple[int, ...], str]]


def vision_signature(graph: LiteRTGraph) -> Signature:
    """images float32[1, h, w, 3] in [-1, 1] -> image_features float32[1, I, D]."""
    size = graph.vision["image_size"]

    def vision(images: Tensor) -> dict[str, Tensor]:
        return {"image_features": graph.project_image(graph.encode_image(images))}

    return Signature(vision, {"images": ((1, size, size, 3), "float32")})


def embedder_signature(graph: LiteRTGraph) -> Signature:
    """token_ids int32[1, 1] -> embeddings float32[1, 1, D]."""

    def embedder(token_ids: Tensor) -> dict[str, Tensor]:
        return {"embeddings": graph.embed(token_ids)}

    return Signature(embedder, {"token_ids": ((1, 1), "int32")})


def logits_signature(graph: LiteRTGraph) -> Signature:
    """hidden float32[1, 1, D], of the last layer -> logits float32[1, V]."""

    def logits(hidden: Tensor) -> dict[str, Tensor]:
        return {"logits": graph.project_to_vocabulary(graph.tf.squeeze(hidden, 0))}

    return Signature(logits, {"hidden": ((1, 1, graph.text["hidden_dim"]), "float32")})


def prefill_signature(
    graph: LiteRTGraph, layers: range, length: int, cache_length: int
) -> Signature:
    """Image and prompt through some layers, and their cache.

    hidden float32[1, I + T, D], image tokens and embeddings or what the layers before
    made of them, and num_tokens int32[1], how many of the T are real (the first ones)
    -> hidden, and for each layer kv_cache_k_<i> float32[1, K, S, H], kv_cache_v_<i>
    float32[1, K, H, S]. The prompt is one block that sees itself whole, so it cannot
    come in pieces, and no cache goes in.
    """
    tf = graph.tf
    num_image = num_image_tokens(**graph.vision)
    total = num_image + length

    def prefill(hidden: Tensor, num_tokens: Tensor) -> dict[str, Tensor]:
        slots = tf.range(total)
        bias = tf.where(slots < num_image + num_tokens[0], 0.0, FORBIDDEN)
        bias = tf.broadcast_to(bias, (total, total))
        # The window does not part a prompt.
        x, cache = graph.run_layers(
            tf.squeeze(hidden, 0),
            slots,
            Biases(bias, bias),
            graph.empty_cache(total, len(layers)),
            layers.start,
        )
        padding = [0, cache_length - total]
        padded = [
            (
                tf.pad(key, [[0, 0], [0, 0], padding, [0, 0]]),
                tf.pad(value, [[0, 0], [0, 0], [0, 0], padding]),
            )
            for key, value in cache
        ]
        return {"hidden": x[None], **cache_by_name(padded, layers)}

    inputs = {
        "hidden": ((1, total, graph.text["hidden_dim"]), "float32"),
        "num_tokens": ((1,), "int32"),
    }
    return Signature(prefill, inputs)


def decode_signature(graph: LiteRTGraph, layers: range, cache_length: int) -> Signature:
    """A token of the answer through some layers.

    hidden float32[1, 1, D], position int32[1] (I + real tokens of the prompt for the
    answer's first token, then one more each time) and the layers' cache -> hidden and
    the cache.
    """
    tf = graph.tf
    window = graph.text["sliding_window"]
    cache_inputs = cache_input_types(graph, cache_length, layers)

    def decode(hidden: Tensor, position: Tensor, **cache: Tensor) -> dict[str, Tensor]:
        distance = position[0] - tf.range(cache_length)
        visible = within_window = distance >= 0
        if window is not None:
            within_window = visible & (distance < window)
        masks = (visible, within_window)
        biases = Biases(*(tf.where(mask, 0.0, FORBIDDEN)[None] for mask in masks))
        old_cache = cache_from_names(cache, layers)
        x, new_cache = graph.run_layers(
            tf.squeeze(hidden, 0), position, biases, old_cache, layers.start
        )
        return {"hidden": x[None], **cache_by_name(new_cache, layers)}

    inputs = {
        "hidden": ((1, 1, graph.text["hidden_dim"]), "float32"),
        "position": ((1,), "int32"),
        **cache_inputs,
    }
    return Signature(decode, inputs)


def save(graph: LiteRTGraph, signatures: Mapping[str, Signature], path: str) -> None:
    """Writes some signatures as a SavedModel, and lets go of their weights."""
    tf = graph.tf
    functions = {
        name: tf.function(signature.function, autograph=False).get_concrete_function(
            **{
                key: tf.TensorSpec(shape, dtype, name=key)
                for key, (shape, dtype) in signature.inputs.items()
            }
        )
        for name, signature in signatures.items()
    }
    module = tf.Module()
    module.weights = dict(graph.weights)
    tf.saved_model.save(module, path, signatures=functions)
    graph.weights.clear()
    # Functions and what they hold go round in circles.
    del module, functions
    gc.collect()


def cache_input_types(
    graph: LiteRTGraph, length: int, layers: range
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of a cache of `length` slots, by name."""
    return {
        name: (shape, "float32")
        for i in layers
        for name, shape in zip(_names(i), graph.cache_shapes(length))
    }


def cache_by_name(cache: Cache, layers: range) -> dict[str, Tensor]:
    """Tensors of the cache of some layers, as signatures name them."""
    return {
        name: tensor
        for i, layer in zip(layers, cache, strict=True)
        for name, tensor in zip(_names(i), layer)
    }


def cache_from_names(tensors: Mapping[str, Tensor], layers: range) -> Cache:
    """The cache of tensors by name."""
    return [tuple(tensors[name] for name in _names(i)) for i in layers]  # type: ignore[misc]


def _names(layer: int) -> tuple[str, str]:
    return f"kv_cache_k_{layer}", f"kv_cache_v_{layer}"
