"""Loading the model that a command uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_pg2.catalogue.names import NANO_ALIAS, locate
from keras_pg2.cli.messages import notice, progress
from keras_pg2.cli.options import ModelChoice, Sampling

if TYPE_CHECKING:
    from keras_pg2.tasks import PaliGemma2CausalLM


def load_model(
    choice: ModelChoice, sampling: Sampling | None = None
) -> PaliGemma2CausalLM:
    """Load the model and set its sampler; say so if it is the default one.

    Args:
        choice: Preset and dtype.
        sampling: How answers are drawn; None takes the likeliest tokens.

    Raises:
        ValueError, FileNotFoundError, OSError: as `PaliGemma2CausalLM.from_preset`.
    """
    directory = locate(choice.preset)
    if choice.preset == NANO_ALIAS:
        notice(
            f"Using the bundled preset {directory.name}, which knows only drawn scenes "
            "of coloured shapes and a short text. For photographs pass --preset; "
            "`keras-pg2 presets` lists the released models."
        )
    with progress(f"Loading {directory.name}"):
        from keras_pg2.generation import Sampler
        from keras_pg2.tasks import PaliGemma2CausalLM

        drawn = sampling or Sampling()
        model = PaliGemma2CausalLM.from_preset(str(directory), dtype=choice.dtype)
        model.compile(sampler=Sampler(drawn.temperature, drawn.top_k, drawn.top_p))
    return model
