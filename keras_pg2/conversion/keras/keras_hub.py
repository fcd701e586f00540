"""Reads KerasHub's presets of PaliGemma and PaliGemma 2.

KerasHub turns the halves of rotary pairs into neighbours after the projections of
queries and keys alike, which no product of the two notices: its kernels are in the
order of everybody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from keras_pg2.catalogue.architecture import check_known, read_part
from keras_pg2.catalogue.released import text_length
from keras_pg2.checks.architecture import MAX_TOKENS, check_part
from keras_pg2.checks.texts import shown
from keras_pg2.conversion.keras.preset import read_vocabulary
from keras_pg2.conversion.keras.weight_files import KerasWeightsSource
from keras_pg2.conversion.tables.checkpoint import Checkpoint, Preprocessing
from keras_pg2.conversion.tables.transforms import heads_first, heads_last
from keras_pg2.conversion.tables.weight_table import Row, expand_layers, named_rows
from keras_pg2.files.json_fields import Fields, read_config
from keras_pg2.files.json_files import read_json
from keras_pg2.typing import Architecture

_IMAGE_ENCODER = "layers/pali_gemma_vit/layers/pali_gemma_vit_encoder/"
# Kernels of this MLP width were saved before the config had the number.
_SO400M_INTERMEDIATE_DIM = 4304

# Fields by the arguments of our network.
_VISION = {
    "image_size": "image_size",
    "patch_size": "vit_patch_size",
    "num_layers": "vit_num_layers",
    "num_heads": "vit_num_heads",
    "hidden_dim": "vit_hidden_dim",
    "intermediate_dim": "vit_intermediate_dim",
}
_SAME = (
    "vocabulary_size",
    "num_layers",
    "num_query_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_dim",
    "attention_logit_soft_cap",
    "final_logit_soft_cap",
)
_TEXT = {
    **{name: name for name in _SAME},
    "intermediate_dim": "intermediate_dim",
    "query_pre_attn_scalar": "head_dim",
    "sliding_window": "sliding_window_size",
}
# Fields that may be missing, as `PaliGemmaBackbone` has it.
_DEFAULTS = {
    "vit_intermediate_dim": _SO400M_INTERMEDIATE_DIM,
    "query_head_dim_normalize": True,
    "use_post_ffw_norm": False,
    "use_post_attention_norm": False,
    "attention_logit_soft_cap": None,
    "final_logit_soft_cap": None,
    "use_sliding_window_attention": False,
    "sliding_window_size": 4096,
}
# What the network has built in; another value would be another network.
_FIXED = {
    "layer_norm_epsilon": (1e-6,),
    "vit_pooling": (None,),
    "vit_classifier_activation": (None, "linear"),
    "dropout": (0,),
}
_FLAGS = tuple(name for name, value in _DEFAULTS.items() if isinstance(value, bool))
_KNOWN = {
    *("name", "trainable", "dtype", "vit_name"),
    *_VISION.values(),
    *_TEXT.values(),
    *_DEFAULTS,
    *_FIXED,
}

_pair = partial(named_rows, {"kernel": "/vars/0", "bias": "/vars/1"})
_norm = partial(named_rows, {"gamma": "/vars/0", "beta": "/vars/1"})


def is_keras_hub_preset(directory: Path) -> bool:
    """Whether a directory's `config.json` is of KerasHub's `PaliGemmaBackbone`."""
    config = directory / "config.json"
    return config.is_file() and read_config(config).value("class_name", None) == (
        "PaliGemmaBackbone"
    )


def open_keras_hub(directory: Path, with_weights: bool = True) -> Checkpoint:
    """Opens a preset of KerasHub, with or without task and preprocessor.

    The arguments are those of `open_checkpoint`.

    Raises:
        FileNotFoundError: when weights or a shard are missing.
        OSError: when a weight file is truncated.
        ValueError: when the configuration is of no PaliGemma, or contradicts the
            weights.
    """
    path = directory / "config.json"
    architecture, notes = read_keras_hub_architecture(read_json(path), path)
    preprocessing, more_notes = _read_preprocessing(
        directory, architecture["vision_encoder"]["image_size"]
    )
    checkpoint = Checkpoint(
        format="keras_hub",
        path=directory,
        architecture=architecture,
        preprocessing=preprocessing,
        notes=(*notes, *more_notes),
    )
    if not with_weights:
        return checkpoint
    return checkpoint.with_weights(
        weight_rows(**architecture),
        KerasWeightsSource(directory),
        # States of dropout and its seeds hold no weights.
        {r".*/seed_generator.*": "the state of random numbers"},
    )


def read_keras_hub_architecture(
    config: Mapping[str, Any], source: str | Path = "config.json"
) -> tuple[Architecture, tuple[str, ...]]:
    """Reads the arguments of our backbone, and what a user should know about them.

    Args:
        config: the content of `config.json`.
        source: the file, for errors.

    Raises:
        ValueError: when a field is missing, unknown, not of its kind or out of its
            range, or tells of a part the network does not have.
    """
    given = Fields(config, source).fields("config")
    check_known(given, _KNOWN)
    values = {**_DEFAULTS, **config["config"]}
    # As KerasHub reads a width that is null.
    values["vit_intermediate_dim"] = (
        values["vit_intermediate_dim"] or _SO400M_INTERMEDIATE_DIM
    )
    theirs = Fields(values, source, given.path)
    flags = {name: theirs.flag(name) for name in _FLAGS}
    _check_fixed(theirs, flags)
    has_window = flags["use_sliding_window_attention"]
    text = {
        **{name: theirs.value(name) for name in _SAME},
        # Theirs counts both branches of the gated MLP.
        "intermediate_dim": theirs.integer("intermediate_dim", at_least=2) // 2,
        "query_pre_attn_scalar": theirs.value("head_dim"),
        "sliding_window": theirs.integer("sliding_window_size") if has_window else None,
        "has_post_norms": flags["use_post_ffw_norm"],
    }
    check_part("text_decoder", text, theirs.error, _TEXT)
    architecture = {
        "vision_encoder": read_part("vision_encoder", theirs, _VISION),
        "text_decoder": text,
    }
    if flags["query_head_dim_normalize"]:
        return architecture, ()
    scalar = text["hidden_dim"] // text["num_query_heads"]
    if scalar < 1:
        raise theirs.error("hidden_dim", "at least num_query_heads")
    note = (
        f"queries are scaled by {scalar} ** -0.5 as the configuration says; "
        f"KerasHub 0.32 itself scales by {text['head_dim']} ** -0.5"
    )
    text["query_pre_attn_scalar"] = scalar
    return architecture, (note,)


def _check_fixed(theirs: Fields, flags: Mapping[str, bool]) -> None:
    """Raises ValueError for parts that the network does not have."""
    wrong = [
        f"{name}={shown(theirs.value(name))} (expected {allowed[0]!r})"
        for name, allowed in _FIXED.items()
        if name in theirs and theirs.value(name) not in allowed
    ]
    if flags["use_post_ffw_norm"] != flags["use_post_attention_norm"]:
        wrong.append("one of use_post_ffw_norm and use_post_attention_norm alone")
    if theirs.integer("intermediate_dim", at_least=2) % 2:
        wrong.append("an odd intermediate_dim, of two branches")
    if wrong:
        raise ValueError(
            f"Expected the configuration of a PaliGemma in {theirs.source}. Received: "
            f"{', '.join(wrong)}, which this network does not have."
        )


def _read_preprocessing(
    directory: Path, side: int
) -> tuple[Preprocessing, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    converter = directory / "image_converter.json"
    if converter.is_file():
        given = read_config(converter).fields("config")
        crops = given.flag("crop_to_aspect_ratio", True)
        if crops or given.flag("pad_to_aspect_ratio", False):
            notes = (
                "pictures are stretched to the model's square, as in training; the "
                "preset's own converter crops them to the middle or pads them",
            )
    length = text_length(side)
    preprocessor = directory / "preprocessor.json"
    if preprocessor.is_file():
        given = read_config(preprocessor).fields("config")
        length = (
            given.integer("sequence_length", None, at_least=1, at_most=MAX_TOKENS)
            or length
        )
    return Preprocessing(
        tokenizer=read_vocabulary(directory), sequence_length=length
    ), notes


def weight_rows(
    vision_encoder: Mapping[str, Any], text_decoder: Mapping[str, Any]
) -> list[Row]:
    """Return the table of a network, in KerasHub's layout."""
    embeddings = _IMAGE_ENCODER + "vision_embeddings/"
    return [
        Row(
            "text_decoder/token_embedding/embeddings",
            "layers/reversible_embedding/vars/0",
        ),
        *_pair("vision_encoder/patch_embedding", embeddings + "patch_embedding"),
        Row(
            "vision_encoder/position_embedding/embeddings",
            embeddings + "position_embedding/vars/0",
        ),
        *_blocks(
            _vision_block(),
            vision_encoder["num_layers"],
            "vision_encoder/",
            _IMAGE_ENCODER + "resblocks/pali_gemma_vit_encoder_block",
        ),
        *_norm("vision_encoder/final_norm", _IMAGE_ENCODER + "encoder_layer_norm"),
        *_pair("vision_projection", "layers/pali_gemma_vit/layers/dense"),
        *_blocks(
            _text_block(text_decoder),
            text_decoder["num_layers"],
            "text_decoder/",
            "layers/pali_gemma_decoder_block",
        ),
        Row("text_decoder/final_norm/scale", "layers/rms_normalization/vars/0"),
    ]


def _blocks(block: list[Row], count: int, ours: str, theirs: str) -> list[Row]:
    """Keras numbers the layers of a class from the second on."""
    first = expand_layers(block, min(count, 1), ours + "block_{}/", theirs + "/")
    numbered = expand_layers(block, count, ours + "block_{}/", theirs + "_{}/")
    return first + numbered[len(block) :]


def _vision_block() -> list[Row]:
    return [
        *_norm("attention_norm", "layer_norm_1"),
        *_pair("attention/query_dense", "attn/query_proj"),
        *_pair("attention/key_dense", "attn/key_proj"),
        *_pair("attention/value_dense", "attn/value_proj"),
        *_pair("attention/output_dense", "attn/out_proj"),
        *_norm("mlp_norm", "layer_norm_2"),
        *_pair("mlp_up", "mlp_dense_1"),
        *_pair("mlp_down", "mlp_dense_2"),
    ]


def _text_block(architecture: Mapping[str, Any]) -> list[Row]:
    width, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    into_heads, out_of_heads = heads_first(width, head_dim), heads_last(width, head_dim)
    post_norms = [
        Row("post_attention_norm/scale", "post_attention_norm/vars/0"),
        Row("post_mlp_norm/scale", "post_ffw_norm/vars/0"),
    ]
    return [
        Row("pre_attention_norm/scale", "pre_attention_norm/vars/0"),
        *(
            Row(
                f"attention/{n}_dense/kernel", f"attention/{n}_dense/vars/0", into_heads
            )
            for n in ("query", "key", "value")
        ),
        Row(
            "attention/output_dense/kernel",
            "attention/output_dense/vars/0",
            out_of_heads,
        ),
        Row("pre_mlp_norm/scale", "pre_ffw_norm/vars/0"),
        Row("mlp/gate_dense/kernel", "gating_ffw/vars/0"),
        Row("mlp/up_dense/kernel", "gating_ffw_2/vars/0"),
        Row("mlp/down_dense/kernel", "ffw_linear/vars/0"),
        *(post_norms if architecture["has_post_norms"] else []),
    ]
