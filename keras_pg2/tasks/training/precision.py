"""Which weights can be trained: those in float32."""

from __future__ import annotations

from collections.abc import Iterable

_TOO_COARSE = ("bfloat16", "float16")


def check_trained_dtypes(dtypes: Iterable[str]) -> None:
    """Raise ValueError if weights that are trained are stored in 16 bits.

    Keras' optimizers compute in the type of a weight and keep their states in it. A
    bfloat16 number has 8 significant bits: there Adam's `1 - 0.999 ** t` is 0, and with
    any optimizer an update below a 512th of a weight is rounded away, which most are.
    Weights in float32 that are computed with in bfloat16 take no more memory than
    bfloat16 weights with float32 copies in the optimizer would.

    Args:
        dtypes: Types of the weights that are trained.
    """
    found = sorted(set(dtypes).intersection(_TOO_COARSE))
    if found:
        raise ValueError(
            "Expected weights in float32 where they are trained: in 16 bits most "
            f"updates are rounded away. Received: weights in {' and '.join(found)} "
            f"to train. Load the model with dtype='mixed_{found[0]}' (--dtype "
            f"mixed_{found[0]}), which stores float32 and computes in {found[0]}, or "
            "with dtype='float32'; or train LoRA (enable_lora), whose factors are "
            "float32 beside weights of any type."
        )
