"""A model as one file for LiteRT-LM, which has no PaliGemma: its generic model.

What LiteRT-LM 0.18 gives a prefill are the rows bos, the pieces of the text that stands
for the image, the image and the prompt, and a causal mask; and the last token of a
prompt, the newline, it does not prefill but decodes. PaliGemma wants the rows image,
bos, prompt and newline, all of which see each other. So the prefill here sorts the rows
and adds the newline by itself; that the newline is decoded afterwards writes what is
there already. The newline's place is kept in a slot of the cache that nobody attends
to, the last of the first layer's keys, as a window does not part it from its prompt.
The logits are then those of the model.

Axes: I image tokens, P pieces of the text of an image, L rows of a prefill, S slots of
the cache, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keras_pg2.catalogue.architecture import num_image_tokens
from keras_pg2.checks.dtypes import check_quantization
from keras_pg2.deploy.comparison import LogitComparison, check_comparison
from keras_pg2.deploy.litert.files import write_file
from keras_pg2.deploy.litert.graph import FORBIDDEN, Biases, LiteRTGraph
from keras_pg2.deploy.litert.lm_parts import LiteRTLMParts
from keras_pg2.deploy.litert.signatures import (
    Signature,
    cache_by_name,
    cache_from_names,
    cache_input_types,
    embedder_signature,
)
from keras_pg2.deploy.litert.source import (
    check_cache_length,
    import_tensorflow,
    open_graph,
)
from keras_pg2.deploy.preparation import checked_parts
from keras_pg2.files.whole_files import staged
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.typing import Tensor

IMAGE = "<start_of_image>"
TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.content is string -%}{{ message.content }}{%- else -%}"
    "{%- for item in message.content -%}"
    "{%- if item.type == 'text' -%}{{ item.text }}{%- else -%}"
    + IMAGE
    + "{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{{ '\n' }}{%- endfor -%}"
)
"""A picture and a prompt, with the newline that ends a prompt."""


def export_litertlm(
    model: PaliGemma2CausalLM,
    path: str | os.PathLike[str],
    quantization: str | None = None,
    prefill_length: int = 64,
    cache_length: int | None = None,
) -> LogitComparison:
    """Writes a model as a `.litertlm` file for conversations of one turn.

    A message is a picture and a prompt, in this order, as in `send_message({"role":
    "user", "content": [{"type": "image", "path": ...}, {"type": "text", "text":
    "caption en"}]})`. LiteRT-LM resizes pictures by its own filter, so answers are
    those of the model only for pictures that have the model's size. A prompt longer
    than `prefill_length`, a message without a picture and a second turn give wrong
    answers, which LiteRT-LM does not notice.

    Args:
        model: a `PaliGemma2CausalLM` with a preprocessor.
        path: the file to be.
        quantization: as for `export_litert`.
        prefill_length: most tokens of a prompt, bos and newline among them.
        cache_length: most tokens of image, prompt and answer together; None for the
            longest prompt and an answer of 128 tokens.

    Returns:
        How far the file's logits are from the model's, where it is given what
        LiteRT-LM gives.

    Raises:
        FileExistsError: when something is at `path`.
        ImportError: when TensorFlow, ai-edge-litert, ai-edge-quantizer or
            litert-lm-builder is missing.
        TypeError, ValueError: as `export_litert`.
    """
    quantization = check_quantization(quantization)
    backbone, preprocessor = checked_parts(model)
    if not isinstance(prefill_length, int) or prefill_length < 3:
        raise ValueError(
            "Expected prefill_length as a number of tokens >= 3: bos, a prompt and the "
            f"newline. Received: {prefill_length!r}."
        )
    length = backbone.num_image_tokens + prefill_length
    cache_length = check_cache_length(cache_length, length)
    tokenizer = preprocessor.tokenizer
    [pieces] = tokenizer.tokenize([IMAGE])
    # LiteRT-LM counts them as tokens that it has given.
    cache_length += len(pieces)
    with (
        staged(Path(path), overwrite=None) as part,
        # Beside the file, so that it goes with it should this be killed.
        TemporaryDirectory(dir=part.parent) as work,
    ):
        builder, types = _open_builder()
        graph = open_graph(import_tensorflow(), backbone)
        prefill = prefill_signature(
            graph, length, cache_length, len(pieces), tokenizer.separator_id
        )
        groups: dict[Any, dict[str, Signature]] = {
            types.EMBEDDER: {"embedder": embedder_signature(graph)},
            types.VISION_ENCODER: {
                f"vision_{backbone.image_size}": vision_signature(graph)
            },
            types.VISION_ADAPTER: {"vision_adapter": adapter_signature(graph)},
            types.PREFILL_DECODE: {
                f"prefill_{length + len(pieces)}": prefill,
                "decode": decode_signature(graph, cache_length, len(pieces)),
            },
        }
        metadata = Path(work) / "metadata.pb"
        metadata.write_bytes(_metadata(graph, tokenizer, cache_length))
        vocabulary = Path(work) / "vocabulary.spm"
        vocabulary.write_bytes(tokenizer.proto)
        builder.add_llm_metadata(str(metadata))
        builder.add_sentencepiece_tokenizer(str(vocabulary))
        files = {}
        for kind, signatures in groups.items():
            file = Path(work) / f"{kind.value}.tflite"
            write_file(graph, signatures, file, quantization)
            builder.add_tflite_model(str(file), kind)
            files.update(dict.fromkeys(signatures, file))
        parts = LiteRTLMParts(files, pieces)
        comparison = parts.compare(backbone, tokenizer, prefill_length)
        check_comparison(comparison, quantization, backbone, str(path))
        with part.open("wb") as stream:
            builder.build(stream)
    return comparison


def prefill_signature(
    graph: LiteRTGraph, length: int, cache_length: int, num_pieces: int, newline: int
) -> Signature:
    """embeddings float32[1, L + P, D], a mask and a cache -> the cache.

    The mask, float32[1, 1, L + P, S], is below 0 where LiteRT-LM forbids.
    """
    tf, num_slots = graph.tf, cache_length + 1
    layers = range(graph.text["num_layers"])
    num_image = num_image_tokens(**graph.vision)

    def prefill(
        embeddings: Tensor, input_pos: Tensor, mask: Tensor, **cache: Tensor
    ) -> dict[str, Tensor]:
        x = embeddings[0]
        image = slice(1 + num_pieces, 1 + num_pieces + num_image)
        x = tf.concat([x[image], x[:1], x[image.stop :]], axis=0)
        is_filled = tf.reduce_any(mask[0, 0] >= 0, axis=0)
        # Also the position of the newline, which comes after them.
        num_tokens = tf.reduce_sum(tf.cast(is_filled, tf.int32)) - num_pieces
        rows, slots = tf.range(length), tf.range(num_slots)
        last = graph.embed(tf.constant([[newline]]))[0]
        x = tf.where((rows == num_tokens)[:, None], last, x)
        bias = tf.where(slots <= num_tokens, 0.0, FORBIDDEN)
        bias = tf.broadcast_to(bias, (length, num_slots))
        _, cache_after = graph.run_layers(
            x, rows, Biases(bias, bias), cache_from_names(cache, layers)
        )
        key, value = cache_after[0]
        key = tf.where(
            slots[:, None] == cache_length, tf.cast(num_tokens, "float32"), key
        )
        return cache_by_name([(key, value), *cache_after[1:]], layers)

    num_rows = length + num_pieces
    inputs = {
        "embeddings": ((1, num_rows, graph.text["hidden_dim"]), "float32"),
        "input_pos": ((num_rows,), "int32"),
        "mask": ((1, 1, num_rows, num_slots), "float32"),
        **cache_input_types(graph, num_slots, layers),
    }
    return Signature(prefill, inputs)


def decode_signature(
    graph: LiteRTGraph, cache_length: int, num_pieces: int
) -> Signature:
    """embeddings float32[1, 1, D], input_pos int32[1] and a cache -> logits, cache.

    The logits are float32[1, 1, V]. LiteRT-LM's positions count the pieces too; its
    mask says nothing that the position does not.
    """
    tf, num_slots = graph.tf, cache_length + 1
    layers = range(graph.text["num_layers"])
    window = graph.text["sliding_window"]

    def decode(
        embeddings: Tensor, input_pos: Tensor, mask: Tensor, **cache: Tensor
    ) -> dict[str, Tensor]:
        position = input_pos - num_pieces
        distance = position[0] - tf.range(num_slots)
        visible = within_window = distance >= 0
        if window is not None:
            newline = tf.cast(cache["kv_cache_k_0"][0, 0, -1, 0], tf.int32)
            is_newline = position[0] == newline
            within_window = visible & ((distance < window) | is_newline)
        masks = (visible, within_window)
        biases = Biases(*(tf.where(mask, 0.0, FORBIDDEN)[None] for mask in masks))
        x, cache_after = graph.run_layers(
            embeddings[0], position, biases, cache_from_names(cache, layers)
        )
        logits = graph.project_to_vocabulary(x)[None]
        return {"logits": logits, **cache_by_name(cache_after, layers)}

    inputs = {
        "embeddings": ((1, 1, graph.text["hidden_dim"]), "float32"),
        "input_pos": ((1,), "int32"),
        "mask": ((1, 1, 1, num_slots), "float32"),
        **cache_input_types(graph, num_slots, layers),
    }
    return Signature(decode, inputs)


def vision_signature(graph: LiteRTGraph) -> Signature:
    """images float32[1, h, w, 3] in [0, 1] -> features, before the projection."""
    size = graph.vision["image_size"]

    def vision(images: Tensor) -> dict[str, Tensor]:
        return {"features": graph.encode_image(images * 2.0 - 1.0)}

    return Signature(vision, {"images": ((1, size, size, 3), "float32")})


def adapter_signature(graph: LiteRTGraph) -> Signature:
    """soft_tokens, those features -> mm_embedding float32[1, I, D]."""

    def adapter(soft_tokens: Tensor) -> dict[str, Tensor]:
        return {"mm_embedding": graph.project_image(soft_tokens)}

    shape = (1, num_image_tokens(**graph.vision), graph.vision["hidden_dim"])
    return Signature(adapter, {"soft_tokens": (shape, "float32")})


def _metadata(
    graph: LiteRTGraph, tokenizer: PaliGemma2Tokenizer, cache_length: int
) -> bytes:
    from litert_lm_builder.runtime.proto import llm_metadata_pb2

    metadata = llm_metadata_pb2.LlmMetadata()
    metadata.start_token.token_ids.ids.append(int(tokenizer.start_token_id))
    metadata.stop_tokens.add().token_ids.ids.append(int(tokenizer.end_token_id))
    metadata.max_num_tokens = cache_length
    metadata.jinja_prompt_template = TEMPLATE
    generic = metadata.llm_model_type.generic_model
    generic.image_enabled = True
    generic.delimiter_regex = f"({IMAGE})"
    generic.image_token_regex = generic.start_of_image_token.token_str = IMAGE
    size = graph.vision["image_size"]
    generic.image_tensor_height = generic.image_tensor_width = size
    return metadata.SerializeToString()


def _open_builder() -> tuple[Any, Any]:
    """An empty file, and the names of the kinds of models in one."""
    try:
        from litert_lm_builder import litertlm_builder as package
    except ImportError as error:
        raise ImportError(
            "Expected the package litert-lm-builder, which is not installed. Run: pip "
            "install 'keras-pg2[litert]'"
        ) from error
    builder = package.LitertLmFileBuilder()
    author = package.Metadata("Authors", "keras_pg2", package.DType.STRING)
    builder.add_system_metadata(author)
    return builder, package.TfLiteModelType
