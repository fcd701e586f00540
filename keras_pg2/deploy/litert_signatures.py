"""What a LiteRT file can be asked, and its making by TensorFlow's converter.

Axes: I image tokens, T tokens of the prompt's text, S slots of the cache,
K key/value heads, H head_dim, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from keras_pg2.deploy.litert_graph import FORBIDDEN, Biases, Cache, LiteRTGraph
from keras_pg2.model_numbers import num_image_tokens

Tensor = Any


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


def prefill_signature(graph: LiteRTGraph, length: int, cache_length: int) -> Signature:
    """Image and prompt to the logits of the first token, and a cache.

    image_features float32[1, I, D], embeddings float32[1, T, D] and num_tokens
    int32[1], how many of the T are real (the first ones) -> logits float32[1, V] and
    kv_cache_k_<i> float32[1, K, S, H], kv_cache_v_<i> float32[1, K, H, S]. The prompt
    is one block that sees itself whole, so it cannot come in pieces, and no cache
    goes in.
    """
    tf = graph.tf
    num_image = num_image_tokens(**graph.vision)
    width, total = graph.text["hidden_dim"], num_image + length

    def prefill(
        image_features: Tensor, embeddings: Tensor, num_tokens: Tensor
    ) -> dict[str, Tensor]:
        x = tf.concat([image_features[0], embeddings[0]], axis=0)
        slots = tf.range(total)
        num_real = num_image + num_tokens[0]
        bias = tf.where(slots < num_real, 0.0, FORBIDDEN)
        bias = tf.broadcast_to(bias, (total, total))
        # The window does not part a prompt.
        x, cache = graph.run_layers(
            x, slots, Biases(bias, bias), graph.empty_cache(total)
        )
        logits = graph.project_to_vocabulary(tf.gather(x, [num_real - 1]))
        room = [0, cache_length - total]
        padded = [
            (
                tf.pad(key, [[0, 0], [0, 0], room, [0, 0]]),
                tf.pad(value, [[0, 0], [0, 0], [0, 0], room]),
            )
            for key, value in cache
        ]
        return {"logits": logits, **cache_by_name(padded)}

    inputs = {
        "image_features": ((1, num_image, width), "float32"),
        "embeddings": ((1, length, width), "float32"),
        "num_tokens": ((1,), "int32"),
    }
    return Signature(prefill, inputs)


def decode_signature(graph: LiteRTGraph, cache_length: int) -> Signature:
    """A token of the answer to the logits of the one after it.

    embeddings float32[1, 1, D], position int32[1] (I + real tokens of the prompt for
    the answer's first token, then one more each time) and the cache -> logits
    float32[1, V] and the cache.
    """
    tf = graph.tf
    window = graph.text["sliding_window"]
    cache_inputs = cache_input_types(graph, cache_length)

    def decode(
        embeddings: Tensor, position: Tensor, **cache: Tensor
    ) -> dict[str, Tensor]:
        distance = position[0] - tf.range(cache_length)
        seen = distance >= 0
        near = seen if window is None else seen & (distance < window)
        biases = Biases(*(tf.where(m, 0.0, FORBIDDEN)[None] for m in (seen, near)))
        x, new_cache = graph.run_layers(
            embeddings[0], position, biases, cache_from_names(cache)
        )
        return {"logits": graph.project_to_vocabulary(x), **cache_by_name(new_cache)}

    inputs = {
        "embeddings": ((1, 1, graph.text["hidden_dim"]), "float32"),
        "position": ((1,), "int32"),
        **cache_inputs,
    }
    return Signature(decode, inputs)


def convert(graph: LiteRTGraph, signatures: Mapping[str, Signature]) -> bytes:
    """A LiteRT file of some signatures, float32, each weight in it once."""
    tf = graph.tf
    module = tf.Module()
    module.weights = graph.weights
    functions = {
        name: tf.function(signature.function, autograph=False).get_concrete_function(
            **{
                key: tf.TensorSpec(shape, dtype, name=key)
                for key, (shape, dtype) in signature.inputs.items()
            }
        )
        for name, signature in signatures.items()
    }
    with TemporaryDirectory() as directory:
        path = str(Path(directory) / "saved_model")
        tf.saved_model.save(module, path, signatures=functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            path, signature_keys=list(functions)
        )
        return bytes(converter.convert())


def cache_input_types(
    graph: LiteRTGraph, length: int
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of a cache of `length` slots, by name."""
    return {
        name: (shape, "float32")
        for i in range(graph.text["num_layers"])
        for name, shape in zip(_names(i), graph.cache_shapes(length))
    }


def cache_by_name(cache: Cache) -> dict[str, Tensor]:
    """Tensors of a cache, as signatures name them."""
    return {
        name: tensor
        for i, layer in enumerate(cache)
        for name, tensor in zip(_names(i), layer)
    }


def cache_from_names(tensors: Mapping[str, Tensor]) -> Cache:
    """The cache of tensors by name."""
    layers = range(len(tensors) // 2)
    return [tuple(tensors[name] for name in _names(i)) for i in layers]  # type: ignore[misc]


def _names(layer: int) -> tuple[str, str]:
    return f"kv_cache_k_{layer}", f"kv_cache_v_{layer}"
