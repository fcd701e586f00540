"""What is told where a network computes NaN or infinity, which is no empty answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.typing import Tensor


def check_finite(
    backbone: PaliGemma2Backbone, inputs: Mapping[str, Any], is_finite: np.ndarray
) -> None:
    """Raise FloatingPointError if logits of a row were not finite; say why.

    Args:
        backbone: Network that computed them.
        inputs: Prompts that it was given, with `images` or `image_embeddings`.
        is_finite: bool[B], whether the logits of each row were finite.
    """
    if is_finite.all():
        return
    wrong = np.flatnonzero(~is_finite)
    shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
    raise FloatingPointError(
        "Expected finite numbers from the network, received NaN or infinity in "
        f"{len(wrong)} of {len(is_finite)} rows ({shown}). {_cause(backbone, inputs)}"
    )


def _cause(backbone: PaliGemma2Backbone, inputs: Mapping[str, Any]) -> str:
    """What the numbers come of, as far as it can be seen, and what to do about it."""
    pictures = inputs.get("images", inputs.get("image_embeddings"))
    if pictures is not None and not _is_finite(pictures):
        return "So are the pictures: repair them, or leave them out."
    weights = [v for v in backbone.variables if "float" in v.dtype]
    wrong = [variable for variable in weights if not _is_finite(variable)]
    if wrong:
        return (
            f"So are {len(wrong)} of {len(weights)} weights, such as {wrong[0].path}: "
            "a training has diverged, or a file is damaged. Load another checkpoint."
        )
    dtype = keras.backend.standardize_dtype(backbone.compute_dtype)
    if dtype == "float16":
        return (
            "The network computes in float16, which ends at 65504. Load it with "
            'dtype="bfloat16" or "float32".'
        )
    return (
        f"The network computes in {dtype}, its weights are finite. Load it with "
        'dtype="float32", or load another checkpoint.'
    )


def _is_finite(values: Tensor) -> bool:
    return bool(ops.all(ops.isfinite(ops.convert_to_tensor(values))))
