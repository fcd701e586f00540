"""What answers: a model, what runs an exported one, or a file of predictions.

Nothing here imports Keras, which a file of predictions does without.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from keras_pg2 import tasks
from keras_pg2.evaluation.asking import Plan, check_length
from keras_pg2.tasks.answering.runners import Runner, is_runner

if TYPE_CHECKING:
    from keras_pg2.tasks import PaliGemma2CausalLM


Source: TypeAlias = "PaliGemma2CausalLM | Runner | str | os.PathLike[str]"
"""What answers: a model, what runs an exported one, or a file of predictions."""


def check_source(model: Any, plan: Plan) -> None:
    """Check that a model can do what is planned.

    Raises:
        TypeError: if it is not a `Source`.
        ValueError: if it has no preprocessor, or cannot do what is planned.
        FileNotFoundError: if it is a file that is not there.
    """
    if isinstance(model, str | os.PathLike):
        if not Path(model).expanduser().is_file():
            raise FileNotFoundError(
                "Expected a model, or a file of predictions (JSON lines of id and "
                f"text), received {os.fspath(model)!r}, which is no file."
            )
        return
    if is_runner(model):
        _check_runner(model, plan)
        return
    if not isinstance(model, tasks.PaliGemma2CausalLM):
        raise TypeError(
            "Expected a PaliGemma2CausalLM, a LiteRTModel, an ONNXModel or the path of "
            f"a file of predictions, received {type(model).__name__}."
        )
    if model.preprocessor is None:
        raise ValueError(
            "Expected a model with a preprocessor, to make tokens of the prompts. "
            "Received: preprocessor=None."
        )
    check_length(plan.mode, plan.max_new_tokens)


def _check_runner(runner: Runner, plan: Plan) -> None:
    if plan.mode == "likelihood":
        raise ValueError(
            "Expected mode 'answer', 'detect' or 'segment' for an exported model, "
            "which gives no probabilities of given answers; received 'likelihood'. "
            "Take the checkpoint."
        )
    if plan.mode == "segment" and runner.mask_codec is None:
        raise ValueError(
            "Expected a codec of masks for mode 'segment', received an exported model "
            "whose mask_codec is None. Set it, as to MaskCodec.released()."
        )
    if plan.num_beams > 1:
        raise ValueError(
            "Expected num_beams=1 for an exported model, which takes the likeliest "
            f"tokens; received {plan.num_beams}. Pass num_beams=1 (--num-beams 1)."
        )
    if plan.num_images != 1:
        raise ValueError(
            "Expected one picture of each example for an exported model, received "
            f"{'different numbers' if plan.num_images is None else plan.num_images}."
        )
