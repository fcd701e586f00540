"""What answers: a model, what runs an exported one, or a file of predictions.

Nothing here imports Keras, which a file of predictions does without.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from keras_pg2 import tasks
from keras_pg2.evaluation.asking import Plan, check_length

if TYPE_CHECKING:
    from keras_pg2.tasks import PaliGemma2CausalLM


class Runner(Protocol):
    """What runs an exported model: `keras_pg2.deploy.LiteRTModel`, `ONNXModel`."""

    manifest: dict[str, Any]

    @property
    def tokenizer(self) -> Any:
        """Its vocabulary."""

    @property
    def generate(self) -> Callable[..., Any]:
        """The method that answers a prompt about a picture greedily."""


Source: TypeAlias = "PaliGemma2CausalLM | Runner | str | os.PathLike[str]"
"""What answers: a model, what runs an exported one, or a file of predictions."""


def is_runner(model: object) -> bool:
    """Return whether a value runs an exported model."""
    return hasattr(model, "manifest") and hasattr(model, "generate")


def check_source(model: Any, plan: Plan) -> None:
    """Check that a model can do what is planned.

    Raises:
        TypeError: if it is none of `Source`.
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
        _check_runner(plan)
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


def _check_runner(plan: Plan) -> None:
    cannot = {
        "segment": "has no codec for masks",
        "likelihood": "gives no probabilities of given answers",
    }
    if plan.mode in cannot:
        raise ValueError(
            f"Expected mode 'answer' or 'detect' for an exported model, which "
            f"{cannot[plan.mode]}; received {plan.mode!r}. Take the checkpoint."
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
