"""The released checkpoints as data.

A preset's network is its vision encoder and its text decoder, each a dictionary
of the arguments `PaliGemma2Backbone` takes. Nothing here builds or loads anything.

Sources of the numbers: PaliGemma (arXiv 2407.07726) section 3.1, PaliGemma 2
(arXiv 2412.03555) section 3, big_vision `models/vit.py` and `models/ppp/gemma.py`.
Handles: keras-hub `pali_gemma_presets.py`; ids: huggingface.co/google.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_pg2.catalogue.architecture import count_parameters
from keras_pg2.typing import Architecture

SIGLIP_SO400M = {
    "patch_size": 14,
    "num_layers": 27,
    "num_heads": 16,
    "hidden_dim": 1152,
    "intermediate_dim": 4304,
}

NUM_EXTRA_ROWS = 64
"""Rows the hub's tables have beyond the vocabulary: `<image>` and padding."""

_SHARED = {"vocabulary_size": 257_152, "head_dim": 256, "query_pre_attn_scalar": 256}
_GEMMA1 = {
    **_SHARED,
    "attention_logit_soft_cap": None,
    "final_logit_soft_cap": None,
    "sliding_window": None,
    "has_post_norms": False,
}
# Soft caps and window as in the checkpoints' own configurations. The report trained
# the transfers (mix, ft_docci) without soft caps, big_vision without a window: both
# can be set to None in `from_preset`.
_GEMMA2 = {
    **_SHARED,
    "attention_logit_soft_cap": 50.0,
    "final_logit_soft_cap": 30.0,
    "sliding_window": 4096,
    "has_post_norms": True,
}

GEMMA1_2B = {
    **_GEMMA1,
    "num_layers": 18,
    "num_query_heads": 8,
    "num_key_value_heads": 1,
    "hidden_dim": 2048,
    "intermediate_dim": 16384,
}
GEMMA2_2B = {
    **_GEMMA2,
    "num_layers": 26,
    "num_query_heads": 8,
    "num_key_value_heads": 4,
    "hidden_dim": 2304,
    "intermediate_dim": 9216,
}
GEMMA2_9B = {
    **_GEMMA2,
    "num_layers": 42,
    "num_query_heads": 16,
    "num_key_value_heads": 8,
    "hidden_dim": 3584,
    "intermediate_dim": 14336,
}
GEMMA2_27B = {
    **_GEMMA2,
    "num_layers": 46,
    "num_query_heads": 32,
    "num_key_value_heads": 16,
    "head_dim": 128,
    "query_pre_attn_scalar": 144,
    "hidden_dim": 4608,
    "intermediate_dim": 36864,
}

_DECODERS = {"3b": GEMMA2_2B, "10b": GEMMA2_9B, "28b": GEMMA2_27B}

# kind, size, image size, last parts of the Kaggle handle (irregular for 28B mix).
_PALI_GEMMA2 = (
    ("pt", "3b", 224, "pali_gemma2_pt_3b_224/2"),
    ("pt", "3b", 448, "pali_gemma2_pt_3b_448/2"),
    ("pt", "3b", 896, "pali_gemma2_pt_3b_896/2"),
    ("pt", "10b", 224, "pali_gemma2_pt_10b_224/3"),
    ("pt", "10b", 448, "pali_gemma2_pt_10b_448/3"),
    ("pt", "10b", 896, "pali_gemma2_pt_10b_896/3"),
    ("pt", "28b", 224, "pali_gemma2_pt_28b_224/4"),
    ("pt", "28b", 448, "pali_gemma2_pt_28b_448/3"),
    ("pt", "28b", 896, "pali_gemma2_pt_28b_896/3"),
    ("mix", "3b", 224, "pali_gemma2_mix_3b_224/2"),
    ("mix", "3b", 448, "pali_gemma2_mix_3b_448/2"),
    ("mix", "10b", 224, "pali_gemma2_mix_10b_224/3"),
    ("mix", "10b", 448, "pali_gemma2_mix_10b_448/3"),
    ("mix", "28b", 224, "pali_gemma2_28b_mix_224/3"),
    ("mix", "28b", 448, "pali_gemma2_28b_mix_448/3"),
    ("ft_docci", "3b", 448, "pali_gemma_2_ft_docci_3b_448/2"),
    ("ft_docci", "10b", 448, "pali_gemma2_ft_docci_10b_448/3"),
)
_PALI_GEMMA1 = (
    ("pt", 224, "pali_gemma_3b_224/4"),
    ("pt", 448, "pali_gemma_3b_448/4"),
    ("pt", 896, "pali_gemma_3b_896/4"),
    ("mix", 224, "pali_gemma_3b_mix_224/4"),
    ("mix", 448, "pali_gemma_3b_mix_448/4"),
)


@dataclass(frozen=True)
class Preset:
    """A released checkpoint.

    Attributes:
        name: the name `from_preset` takes.
        kind: "pt" (pretrained, to be fine-tuned), "mix" (many tasks) or "ft_docci"
            (long captions).
        image_size: height and width of the input images in pixels.
        sequence_length: text tokens (prompt, response) it was trained with.
        kaggle_handle: `kaggle://` URI of the weights in KerasHub's format.
        huggingface_id: repository of the weights in transformers' format.
        vision_encoder: arguments of the `SigLIPEncoder`.
        text_decoder: arguments of the `Gemma2Decoder`.
    """

    name: str
    kind: str
    image_size: int
    sequence_length: int
    kaggle_handle: str
    huggingface_id: str
    vision_encoder: dict[str, Any]
    text_decoder: dict[str, Any]

    @property
    def architecture(self) -> Architecture:
        """Arguments of the backbone."""
        return {
            "vision_encoder": self.vision_encoder,
            "text_decoder": self.text_decoder,
        }

    @property
    def num_parameters(self) -> int:
        """Number of weights of the backbone."""
        return count_parameters(**self.architecture)

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names for it: KerasHub's, Kaggle handles, Hugging Face ids."""
        unversioned = self.kaggle_handle.rpartition("/")[0]
        keras_hub_name = unversioned.rpartition("/")[2]
        names = (keras_hub_name, unversioned, self.kaggle_handle)
        return (*names, self.huggingface_id, f"hf://{self.huggingface_id}")


def text_length(name: str, image_size: int) -> int:
    """Text tokens of training: big_vision `configs/proj/paligemma/README.md`.

    Models for many tasks at once have "mix" in their `name`.
    """
    if image_size > 224:
        return 512
    return 256 if "mix" in name else 128


def _preset(
    name: str, kind: str, image_size: int, handle: str, repository: str, decoder: dict
) -> Preset:
    return Preset(
        name=name,
        kind=kind,
        image_size=image_size,
        sequence_length=text_length(kind, image_size),
        kaggle_handle=f"kaggle://keras/{handle}",
        huggingface_id=f"google/{repository}",
        vision_encoder={"image_size": image_size, **SIGLIP_SO400M},
        text_decoder=dict(decoder),
    )


def _released() -> list[Preset]:
    second = [
        _preset(
            f"pali_gemma2_{kind}_{size}_{side}",
            kind,
            side,
            f"paligemma2/keras/{handle}",
            f"paligemma2-{size}-{kind.replace('_', '-')}-{side}",
            _DECODERS[size],
        )
        for kind, size, side, handle in _PALI_GEMMA2
    ]
    first = [
        _preset(
            handle.rpartition("/")[0],
            kind,
            side,
            f"paligemma/keras/{handle}",
            f"paligemma-3b-{kind}-{side}",
            GEMMA1_2B,
        )
        for kind, side, handle in _PALI_GEMMA1
    ]
    return second + first


PRESETS: dict[str, Preset] = {preset.name: preset for preset in _released()}
"""The 17 released PaliGemma 2 and 5 PaliGemma checkpoints by name."""
