"""The `config.json` of a Hugging Face PaliGemma as the architecture of a backbone.

What a file leaves out is filled from transformers' class defaults (5.23,
`models/{paligemma,siglip,gemma,gemma2}/configuration_*.py`), since that is what
transformers does with the file. They are traps for released checkpoints (an MLP
of 4096 instead of 4304 in the image encoder, Gemma 1 as the decoder), which is
why the hub's files write those numbers down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_pg2.catalogue.architecture import num_image_tokens
from keras_pg2.catalogue.released import NUM_EXTRA_ROWS
from keras_pg2.typing import Architecture

Config = Mapping[str, Any]

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
    "rope_theta": (10_000,),
    "rope_type": ("default",),
    "rope_scaling": (None,),
}


def read_architecture(config: Config, tokens: Sequence[str] = ()) -> Architecture:
    """Read the arguments of a `PaliGemma2Backbone` from the content of `config.json`.

    Args:
        config: Content of the file.
        tokens: Texts of the tokenizer's tokens by id; none without a tokenizer.

    Raises:
        ValueError: when the file describes no PaliGemma, or one with a part the
            network does not have.
    """
    model_type = config.get("model_type")
    if model_type != "paligemma":
        raise ValueError(
            "Expected a PaliGemma or PaliGemma 2 checkpoint (model_type 'paligemma' "
            f"in config.json). Received model_type {model_type!r}. Load it with the "
            "library it was made for."
        )
    if "quantization_config" in config:
        method = config["quantization_config"].get("quant_method", "unknown")
        raise ValueError(
            "Expected float weights, received a checkpoint quantised by "
            f"{method!r}. Load the original checkpoint, then call `quantize`."
        )
    vision = _given(config, "vision_config", _ABSENT_VISION)
    text = _given(config, "text_config", _ABSENT_TEXT)
    return {
        "vision_encoder": _vision_architecture(vision),
        "text_decoder": _text_architecture(
            text, config.get("image_token_index", 256_000), tokens
        ),
    }


def _given(config: Config, part: str, absent: Config) -> Config:
    return absent if config.get(part) is None else config[part]


def _vision_architecture(given: Config) -> dict[str, Any]:
    _check_type("vision_config", given, "siglip_vision_model", ("siglip_vision_model",))
    _check_fixed("vision_config", given, _FIXED_VISION)
    config = {**_VISION_DEFAULTS, **given}
    return {
        "image_size": config["image_size"],
        "patch_size": config["patch_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
    }


def _text_architecture(
    given: Config, image_token: int, tokens: Sequence[str]
) -> dict[str, Any]:
    model_type = _check_type("text_config", given, "gemma", tuple(_TEXT_DEFAULTS))
    rope = given.get("rope_parameters") or {}
    _check_fixed("text_config", {**given, **rope}, _FIXED_TEXT)
    config = {**_TEXT_DEFAULTS[model_type], **given}
    is_second = model_type == "gemma2"
    # Gemma 1 has none of these, whatever its file says.
    only_second = config if is_second else {"query_pre_attn_scalar": config["head_dim"]}
    return {
        "vocabulary_size": _vocabulary_size(config["vocab_size"], image_token, tokens),
        "num_layers": config["num_hidden_layers"],
        "num_query_heads": config["num_attention_heads"],
        "num_key_value_heads": config["num_key_value_heads"],
        "head_dim": config["head_dim"],
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
        "query_pre_attn_scalar": only_second["query_pre_attn_scalar"],
        "attention_logit_soft_cap": only_second.get("attn_logit_softcapping"),
        "final_logit_soft_cap": only_second.get("final_logit_softcapping"),
        "sliding_window": _sliding_window(config) if is_second else None,
        "has_post_norms": is_second,
    }


def _vocabulary_size(num_rows: int, image_token: int, tokens: Sequence[str]) -> int:
    """Return the number of rows that are tokens; those of padding are left out.

    `<image>` is no token of the network, unless tokens were added after it. Without a
    tokenizer, a few rows after it are padding.

    Raises:
        ValueError: if tokens were added that have no rows.
    """
    if len(tokens) == image_token <= num_rows:
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


def _sliding_window(config: Config) -> int | None:
    """The window of the even layers; `layer_types` may say otherwise."""
    types = config.get("layer_types")
    if types is None or config["sliding_window"] is None:
        return config["sliding_window"]
    if set(types) == {"full_attention"}:
        return None
    alternating = [("sliding", "full")[i % 2] + "_attention" for i in range(len(types))]
    if types != alternating:
        raise ValueError(
            "Expected text_config.layer_types to alternate between "
            "'sliding_attention' and 'full_attention', beginning with the former, or "
            f"to be 'full_attention' throughout. Received: {types}."
        )
    return config["sliding_window"]


def _check_type(part: str, given: Config, default: str, known: tuple[str, ...]) -> str:
    model_type = given.get("model_type", default)
    if model_type not in known:
        raise ValueError(
            f"Expected {part}.model_type in config.json to be one of {list(known)}. "
            f"Received: {model_type!r}, which is no part of a PaliGemma."
        )
    return model_type


def _check_fixed(part: str, given: Config, fixed: Mapping[str, tuple]) -> None:
    wrong = [
        f"{name}={given[name]!r} (expected {allowed[0]!r})"
        for name, allowed in fixed.items()
        if name in given and given[name] not in allowed
    ]
    if wrong:
        raise ValueError(
            f"Expected {part} of a PaliGemma in config.json. Received: "
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
            "query_pre_attn_scalar": text["query_pre_attn_scalar"],
            "attn_logit_softcapping": text["attention_logit_soft_cap"],
            "final_logit_softcapping": text["final_logit_soft_cap"],
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
