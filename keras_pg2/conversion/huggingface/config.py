"""The `config.json` of a Hugging Face PaliGemma as the architecture of a backbone.

What a file leaves out is filled from transformers' class defaults (5.23,
`models/{paligemma,siglip,gemma,gemma2}/configuration_*.py`), since that is what
transformers does with the file. They are traps for released checkpoints (an MLP
of 4096 instead of 4304 in the image encoder, Gemma 1 as the decoder), which is
why the hub's files write those numbers down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_pg2.catalogue.architecture import num_image_tokens, read_part
from keras_pg2.catalogue.released import NUM_EXTRA_ROWS
from keras_pg2.checks.architecture import check_part
from keras_pg2.checks.texts import shown
from keras_pg2.files.json_fields import Fields
from keras_pg2.typing import Architecture

Config = Mapping[str, Any]

# Fields by the arguments of our network.
_VISION = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
}
_TEXT = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_query_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "query_pre_attn_scalar": "query_pre_attn_scalar",
    "attention_logit_soft_cap": "attn_logit_softcapping",
    "final_logit_soft_cap": "final_logit_softcapping",
    "sliding_window": "sliding_window",
}

# Taken when `vision_config` or `text_config` is missing altogether.
_ABSENT_VISION = {
    "hidden_size": 1152,
    "intermediate_size": 4096,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
}
_ABSENT_TEXT = {
    "hidden_size": 2048,
    "intermediate_size": 16384,
    "num_hidden_layers": 18,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "vocab_size": 257_152,
}

_VISION_DEFAULTS = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
}
_TEXT_DEFAULTS: Architecture = {
    "gemma": {
        "vocab_size": 256_000,
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
    },
    "gemma2": {
        "vocab_size": 256_000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window": 4096,
    },
}

_IMAGE_TOKEN = 256_000

# What the network has built in; another value would be another network.
_FIXED_VISION = {
    "hidden_act": ("gelu_pytorch_tanh",),
    "layer_norm_eps": (1e-6,),
    "num_channels": (3,),
}
_FIXED_TEXT = {
    "hidden_act": ("gelu_pytorch_tanh", "gelu"),  # transformers reads both as tanh
    "hidden_activation": ("gelu_pytorch_tanh", None),
    "rms_norm_eps": (1e-6,),
    "attention_bias": (False,),
    "use_bidirectional_attention": (True, None),  # of the prefix, in a PaliGemma
}
_ROPE_THETA = 10_000
_LAYER_TYPES = ("sliding_attention", "full_attention")


def read_architecture(
    config: Config, source: str | Path = "config.json", tokens: Sequence[str] = ()
) -> Architecture:
    """Read the arguments of a `PaliGemma2Backbone` from the content of `config.json`.

    Args:
        config: The content.
        source: The file, for errors.
        tokens: Texts of the tokenizer's tokens by id; none without a tokenizer.

    Raises:
        ValueError: when the file describes no PaliGemma, or one with a part the
            network does not have, or a field is not of its kind or out of its range.
    """
    fields = Fields(config, source)
    model_type = fields.value("model_type", None)
    if model_type != "paligemma":
        raise ValueError(
            "Expected a PaliGemma or PaliGemma 2 checkpoint (model_type 'paligemma' "
            f"in {source}). Received model_type {shown(model_type)}. Load it with "
            "the library it was made for."
        )
    vision = _given(fields, "vision_config", _ABSENT_VISION)
    text = _given(fields, "text_config", _ABSENT_TEXT)
    for part in (fields, text):
        _check_not_quantized(part)
    token = image_token_id(fields)
    architecture = {
        "vision_encoder": _vision_architecture(vision),
        "text_decoder": _text_architecture(text, token, tokens),
    }
    width = architecture["text_decoder"]["hidden_dim"]
    if fields.value("projection_dim", width) != width:
        raise fields.error(
            "projection_dim", f"that of text_config.hidden_size, {width}"
        )
    return architecture


def image_token_id(config: Fields) -> int:
    """Return the id of `<image>` that a `config.json` tells.

    Raises:
        ValueError: if it is no such number.
    """
    # Both names are of one field, and the newer one wins.
    token = config.integer("image_token_index", _IMAGE_TOKEN)
    newer: int = config.integer("image_token_id", token)
    return newer


def _given(fields: Fields, part: str, absent: Config) -> Fields:
    given = fields.fields(part, None)
    return Fields(absent, fields.source, part) if given is None else given


def _check_not_quantized(fields: Fields) -> None:
    found = fields.fields("quantization_config", None)
    if found:
        method = shown(found.value("quant_method", "unknown"))
        raise ValueError(
            f"Expected float weights, but {fields.at('quantization_config')} in "
            f"{fields.source} tells of weights quantised by {method}. Load the "
            "original checkpoint, then call `quantize`."
        )


def _vision_architecture(given: Fields) -> dict[str, Any]:
    _check_type(given, "siglip_vision_model", ("siglip_vision_model",))
    _check_fixed(given, _FIXED_VISION)
    return read_part("vision_encoder", given.filled(_VISION_DEFAULTS), _VISION)


def _text_architecture(
    given: Fields, image_token: int, tokens: Sequence[str]
) -> dict[str, Any]:
    model_type = _check_type(given, "gemma", tuple(_TEXT_DEFAULTS))
    is_second = model_type == "gemma2"
    _check_fixed(given, _FIXED_TEXT)
    given.flag("attention_bias", False)
    _check_rotation(given)
    text = given.filled(_TEXT_DEFAULTS[model_type])
    found = {ours: text.value(theirs, None) for ours, theirs in _TEXT.items()}
    numbers = {
        **found,
        "vocabulary_size": _vocabulary_size(
            text.integer("vocab_size", at_least=1), image_token, tokens
        ),
        "sliding_window": _sliding_window(text, found["num_layers"]),
        "has_post_norms": is_second,
    }
    if is_second:
        # transformers scales by whole numbers alone.
        text.integer("query_pre_attn_scalar", at_least=1)
        text.text("hidden_activation", "")
    else:
        # Gemma 1 has none of these, whatever its file says.
        numbers["query_pre_attn_scalar"] = found["head_dim"]
        numbers["attention_logit_soft_cap"] = numbers["sliding_window"] = None
    check_part("text_decoder", numbers, text.error, _TEXT)
    if is_second and found["hidden_dim"] % found["num_query_heads"]:
        raise text.error("hidden_size", "a multiple of num_attention_heads")
    return numbers


def _vocabulary_size(num_rows: int, image_token: int, tokens: Sequence[str]) -> int:
    """Return the number of rows that are tokens; those of padding are left out.

    `<image>` is no token of the network, unless tokens were added after it. Without a
    tokenizer, a few rows after it are padding.

    Raises:
        ValueError: if tokens were added that have no rows.
    """
    if tokens and len(tokens) == image_token <= num_rows:
        return image_token
    if len(tokens) > image_token and tokens[image_token] == "<image>":
        if len(tokens) > num_rows:
            raise ValueError(
                f"Expected a row of the embedding for each of {len(tokens)} tokens, of "
                f"which {len(tokens) - image_token - 1} were added after <image>. "
                f"Received: text_config.vocab_size {num_rows} in config.json, so "
                f"{len(tokens) - num_rows} tokens have none. Call "
                "`model.resize_token_embeddings(len(tokenizer))` in transformers and "
                "save the model again, or remove the tokens."
            )
        return len(tokens)
    return image_token if 0 <= num_rows - image_token <= NUM_EXTRA_ROWS else num_rows


def _sliding_window(text: Fields, num_layers: Any) -> Any:
    """The window of the even layers; `layer_types` may say otherwise."""
    types = text.items("layer_types", Fields.text, None)
    window = text.value("sliding_window", None)
    if types is None:
        return window
    if len(types) != num_layers:
        raise text.error(
            "layer_types", f"a list of num_hidden_layers ({shown(num_layers)})"
        )
    if window is None or set(types) == {"full_attention"}:
        return None
    if types != [_LAYER_TYPES[i % 2] for i in range(len(types))]:
        raise ValueError(
            f"Expected {text.at('layer_types')} in {text.source} to alternate between "
            "'sliding_attention' and 'full_attention', beginning with the former, or "
            f"to be 'full_attention' throughout. Received: {shown(types)}."
        )
    return window


def _check_rotation(text: Fields) -> None:
    """Raises ValueError for another rotation than that of `modeling/rotary.py`.

    transformers takes `rope_scaling`, the older name, before `rope_parameters`; a base
    inside before one beside it; and layer types inside make rotations of their own.
    """
    rope = text.fields("rope_scaling", None) or text.fields("rope_parameters", None)
    rope = rope or Fields({}, text.source, text.at("rope_parameters"))
    found = {
        "rope_type": rope.value("rope_type", rope.value("type", "default")),
        "rope_theta": rope.value("rope_theta", text.value("rope_theta", _ROPE_THETA)),
        **{kind: rope.value(kind) for kind in _LAYER_TYPES if kind in rope},
    }
    _raise_if_other(
        text, found, {"rope_type": ("default",), "rope_theta": (_ROPE_THETA,)}
    )


def _check_type(given: Fields, default: str, known: tuple[str, ...]) -> str:
    model_type: str = given.text("model_type", default)
    if model_type not in known:
        raise ValueError(
            f"Expected {given.at('model_type')} in {given.source} to be one of "
            f"{list(known)}. Received: {model_type[:80]!r}, which is no part of a "
            "PaliGemma."
        )
    return model_type


def _check_fixed(given: Fields, fixed: Mapping[str, tuple]) -> None:
    found = {name: given.value(name) for name in fixed if name in given}
    _raise_if_other(given, found, fixed)


def _raise_if_other(given: Fields, found: Config, fixed: Mapping[str, tuple]) -> None:
    wrong = [
        f"{name}={shown(value)}"
        for name, value in found.items()
        if value not in fixed.get(name, ())
    ]
    if wrong:
        raise ValueError(
            f"Expected {given.path} of a PaliGemma in {given.source}. Received: "
            f"{', '.join(wrong)}, which this network does not have."
        )


def write_config(architecture: Mapping[str, Config], dtype: str) -> dict[str, Any]:
    """Writes a `config.json`, with everything that any reader of it may miss.

    Args:
        architecture: arguments of a `PaliGemma2Backbone`.
        dtype: "float32", "bfloat16" or "float16", of the weights.

    Returns:
        The content of the file, as those of google/paligemma2-* on the hub.
    """
    vision, text = architecture["vision_encoder"], architecture["text_decoder"]
    num_tokens = num_image_tokens(**vision)
    types = {"torch_dtype": dtype, "dtype": dtype}
    width = text["hidden_dim"]
    is_second = text["has_post_norms"]
    text_config = {
        "model_type": "gemma2" if is_second else "gemma",
        "vocab_size": text["vocabulary_size"] + NUM_EXTRA_ROWS,
        "hidden_size": width,
        "intermediate_size": text["intermediate_dim"],
        "num_hidden_layers": text["num_layers"],
        "num_attention_heads": text["num_query_heads"],
        "num_key_value_heads": text["num_key_value_heads"],
        "head_dim": text["head_dim"],
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "max_position_embeddings": 8192,
        "attention_bias": False,
        "num_image_tokens": num_tokens,
        **types,
    }
    if is_second:
        window = text["sliding_window"]
        text_config |= {
            "query_pre_attn_scalar": _whole(text["query_pre_attn_scalar"]),
            "attn_logit_softcapping": _real(text["attention_logit_soft_cap"]),
            "final_logit_softcapping": _real(text["final_logit_soft_cap"]),
            # Not null: transformers' own mask needs a number.
            "sliding_window": 4096 if window is None else window,
            "layer_types": [
                "full_attention" if window is None or i % 2 else "sliding_attention"
                for i in range(text["num_layers"])
            ],
        }
    return {
        "architectures": ["PaliGemmaForConditionalGeneration"],
        "model_type": "paligemma",
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "image_token_index": text["vocabulary_size"],
        "hidden_size": width,
        "projection_dim": width,
        "tie_word_embeddings": True,
        "num_hidden_layers": text["num_layers"],
        **types,
        "text_config": text_config,
        "vision_config": {
            "model_type": "siglip_vision_model",
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "hidden_size": vision["hidden_dim"],
            "intermediate_size": vision["intermediate_dim"],
            "num_hidden_layers": vision["num_layers"],
            "num_attention_heads": vision["num_heads"],
            "num_image_tokens": num_tokens,
            "num_positions": num_tokens,
            "projection_dim": width,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
            "vision_use_head": False,
            **types,
        },
    }


def _whole(number: float) -> float:
    """A whole number as transformers wants it, which takes no 256.0."""
    return int(number) if number == int(number) else number


def _real(number: float | None) -> float | None:
    """A soft cap as transformers wants it, which takes no 50."""
    return None if number is None else float(number)
