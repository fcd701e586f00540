"""The model that a command uses: found before all work, loaded when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_pg2.catalogue.names import NANO_ALIAS, locate, resolve
from keras_pg2.cli.messages import notice, progress
from keras_pg2.cli.options import AUTO, ModelChoice, Sampling

if TYPE_CHECKING:
    from keras_pg2.conversion.found_models import ExportedFiles, FoundModel
    from keras_pg2.deploy.runners.runner import ExportedModel
    from keras_pg2.tasks import PaliGemma2CausalLM


@dataclass(frozen=True)
class ChosenModel:
    """A checkpoint that was found, and is not loaded yet.

    Attributes:
        found: What it is.
        dtype: Dtype policy.
        sampling: How answers are drawn.
    """

    found: FoundModel
    dtype: str
    sampling: Sampling

    @property
    def title(self) -> str:
        """What the user called it."""
        return self.found.title

    def load(self) -> PaliGemma2CausalLM:
        """Load the model and set its sampler; say so if it is the default one.

        Raises:
            ValueError, FileNotFoundError, OSError: as `PaliGemma2CausalLM.from_preset`.
        """
        found = self.found
        name = locate(found.base).name
        if found.title == NANO_ALIAS:
            notice(
                f"Using the bundled preset {name}, which knows only drawn scenes of "
                "coloured shapes and a short text. For photographs pass --preset; "
                "`keras-pg2 presets` lists the released models."
            )
        with progress(f"Loading {found.title if found.adapters else name}"):
            from keras_pg2.generation import Sampler
            from keras_pg2.tasks import PaliGemma2CausalLM

            drawn = self.sampling
            model = PaliGemma2CausalLM.from_preset(found, dtype=self.dtype)
            model.compile(sampler=Sampler(drawn.temperature, drawn.top_k, drawn.top_p))
        return model


@dataclass(frozen=True)
class ChosenExport:
    """A model that was exported, and is not opened yet.

    Attributes:
        found: What it is.
        with_codec: Whether masks are decoded.
    """

    found: ExportedFiles
    with_codec: bool = False

    @property
    def title(self) -> str:
        """What the user called it."""
        return self.found.title

    def load(self) -> ExportedModel:
        """Open the files.

        Raises:
            ValueError, FileNotFoundError, ImportError, ConnectionError: as
                `open_exported`.
        """
        from keras_pg2.deploy.opening import open_exported

        with progress(f"Loading {self.title}"):
            return open_exported(self.found, self.with_codec)


def choose_checkpoint(
    choice: ModelChoice, sampling: Sampling | None = None
) -> ChosenModel:
    """Find the model of a command that needs weights.

    Args:
        choice: Which model, and on what.
        sampling: How answers are drawn; None takes the likeliest tokens.

    Raises:
        FileNotFoundError, ValueError: as `find_checkpoint`; ValueError for a name that
            stands for nothing.
    """
    from keras_pg2.conversion.found_models import find_checkpoint

    found = find_checkpoint(choice.preset, choice.adapter or ())
    resolve(found.base)
    return ChosenModel(found, choice.dtype, sampling or Sampling())


def choose_model(
    choice: ModelChoice, sampling: Sampling | None = None, with_codec: bool = False
) -> ChosenModel | ChosenExport:
    """Find the model of a command that also runs exported files.

    Args:
        choice: Which model, and on what.
        sampling: How answers are drawn; None takes the likeliest tokens.
        with_codec: Whether masks are decoded.

    Raises:
        FileNotFoundError, ValueError: as `find_model`; ValueError for a name that
            stands for nothing, and for options that exported files do not have.
    """
    from keras_pg2.conversion.found_models import ExportedFiles, find_model

    found = find_model(choice.preset, choice.adapter or ())
    if not isinstance(found, ExportedFiles):
        return choose_checkpoint(choice, sampling)
    from keras_pg2.deploy.opening import check_has_runner

    check_has_runner(found)
    temperature = 0.0 if sampling is None else sampling.temperature
    for option, value, usual in (
        ("--dtype", choice.dtype, AUTO),
        ("--backend", choice.backend, None),
        ("--temperature", temperature, 0.0),
    ):
        if value != usual:
            raise ValueError(
                f"Expected {option} with a checkpoint. Received: {option} {value} with "
                f"{found.path}, exported for {found.runtime.name}, which computes as "
                "it was exported and takes the likeliest tokens. Leave it out."
            )
    return ChosenExport(found, with_codec)
