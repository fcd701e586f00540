"""From settings, a recipe and rows to numbers: what a run will do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_pg2 import recipes
from keras_pg2.datasets.rows import Row, check_same_number_of_pictures, paths_of
from keras_pg2.finetuning.lengths import check_lengths, count_tokens
from keras_pg2.finetuning.metric_choice import choose_metric
from keras_pg2.finetuning.settings import Settings
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.recipes import Recipe
from keras_pg2.typing import Architecture

ROWS_AT_A_TIME = 8
"""Rows of a step where nobody says otherwise: most machines have room for so many."""
LORA_RATE_FACTOR = 10
"""The best learning rate of LoRA by that of full training: J. Schulman and Thinking
Machines Lab, "LoRA Without Regret" (2025), found about ten over many models."""
PAPERS_WIDTHS = {1: 2048, 2: 2304}
"""Width of the narrowest decoder whose learning rates the papers tell, by version. The
best rate of Adam goes with 1 / width: G. Yang et al., "Tensor Programs V" (2022)."""
_SIZES = {3584: "10b", 4608: "28b"}
_WARMUP = 0.05
_ROUNDED_TO = 8


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        settings: without None, but for `eval_steps`, `patience` and what else may be.
        recipe: where the numbers are from that were not given.
        num_rows: to train on.
        steps_per_epoch: rows that fill no batch are left out, others in each epoch.
        default_rate: the learning rate where nobody says otherwise.
    """

    settings: Settings
    recipe: Recipe
    num_rows: int
    steps_per_epoch: int
    default_rate: DefaultRate

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * (self.settings.epochs or 0)

    @property
    def num_warmup_steps(self) -> int:
        """Steps in which the learning rate rises."""
        return round(_WARMUP * self.num_steps)

    @property
    def antialias(self) -> tuple[bool | None, bool | None]:
        """Whether pictures are resized with it, in training and at evaluation.

        None for as the model does.
        """
        return self.recipe.antialias or (None, None)

    @property
    def eval_steps(self) -> int:
        """Steps from one evaluation to the next."""
        return self.settings.eval_steps or self.steps_per_epoch

    def schedule(self) -> Any:
        """The learning rate by steps, counted as Keras counts them."""
        warmup, rate = self.num_warmup_steps, self.settings.learning_rate
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(rate, self.num_steps)
        return keras.optimizers.schedules.CosineDecay(
            0.0, self.num_steps - warmup, warmup_target=rate, warmup_steps=warmup
        )


@dataclass(frozen=True)
class DefaultRate:
    """A recipe's learning rate, for what is trained.

    Attributes:
        of_recipe: for all weights of a decoder as wide as the papers'.
        lora_factor: for LoRA.
        width_factor: for a narrower decoder.
        width: of the decoder.
    """

    of_recipe: float
    lora_factor: float
    width_factor: float
    width: int

    @property
    def value(self) -> float:
        """The product."""
        return self.of_recipe * self.lora_factor * self.width_factor

    def __str__(self) -> str:
        """How it comes about, in words."""
        words = f"{self.of_recipe:.3g} of the recipe"
        if self.lora_factor != 1:
            words += f" x {self.lora_factor:g} for LoRA"
        if self.width_factor != 1:
            words += f" x {self.width_factor:.3g} for a decoder of width {self.width}"
        return words


def find_recipe(name: str | None, architecture: Architecture) -> Recipe:
    """The recipe of a task for a network, at the nearest resolution it is known at.

    Args:
        name: of the task; None for the papers' first try.
        architecture: of the network; other sizes than the papers' are taken as 3B.

    Raises:
        ValueError: for an unknown task, or one that is only evaluated.
    """
    version = _version(architecture)
    size = _SIZES.get(architecture["text_decoder"]["hidden_dim"], "3b")
    image_size = architecture["vision_encoder"]["image_size"]
    near = sorted(recipes.RESOLUTIONS, key=lambda each: abs(each - image_size))
    if name is None:
        return recipes.default(size, near[0], version)
    found = recipes.get(name, size, version=version)
    if not found.is_trained:
        raise ValueError(
            f"Expected a recipe of a task that is trained. Received: {name!r}, which "
            "the papers only evaluate."
        )
    for resolution in near:
        try:
            return recipes.get(name, size, resolution, version)
        except ValueError:
            continue
    return found


def make_plan(
    settings: Settings,
    architecture: Architecture,
    preprocessor: PaliGemma2CausalLMPreprocessor,
    rows: Sequence[Row],
    eval_rows: Sequence[Row],
    is_lora: bool,
) -> Plan:
    """Settles every number, and checks rows against it.

    Args:
        settings: what was chosen.
        architecture: of the network.
        preprocessor: counts the tokens.
        rows: to train on.
        eval_rows: to evaluate on, may be none.
        is_lora: whether LoRA is trained, at ten times the recipe's learning rate. In
            a decoder narrower than the papers' all rates are as much higher.

    Raises:
        ValueError: for an unknown recipe or metric, rows of other keys or of different
            numbers of pictures, fewer rows than a batch, prompts that are too long.
    """
    if not rows:
        raise ValueError("Expected rows to train on, received none.")
    for row in [*rows, *eval_rows]:
        paths_of(row)
    if settings.patience is not None and not eval_rows:
        raise ValueError(
            "Expected evaluation rows together with patience (--patience), received "
            "none. Pass some (--eval-data, --eval-share)."
        )
    recipe = find_recipe(settings.recipe, architecture)
    metric = choose_metric(settings, recipe, rows, eval_rows)
    batch_size, accumulate = _batch_size(settings, recipe, len(rows))
    if batch_size > 1:
        check_same_number_of_pictures(rows)
        check_same_number_of_pictures(eval_rows)
    lengths = count_tokens([*rows, *eval_rows], preprocessor)
    text_length = settings.text_length or min(
        recipe.text_length, -(-int(lengths.totals.max()) // _ROUNDED_TO) * _ROUNDED_TO
    )
    check_lengths(lengths, text_length, architecture, rows)
    rate = default_rate(recipe, architecture, is_lora)
    # The recipes' decay is of whole weights, which LoRA does not train. It is that of
    # a step at the highest rate, which Keras' is multiplied by.
    decay = 0.0 if is_lora else recipe.weight_decay / rate.value
    own_dropout = architecture["text_decoder"].get("dropout", 0.0)
    settled = dataclasses.replace(
        settings,
        epochs=_first(settings.epochs, recipe.epochs),
        batch_size=batch_size,
        accumulate=accumulate,
        learning_rate=_first(settings.learning_rate, rate.value),
        weight_decay=_first(settings.weight_decay, decay),
        label_smoothing=_first(settings.label_smoothing, recipe.label_smoothing),
        dropout=_first(settings.dropout, own_dropout or recipe.dropout),
        text_length=text_length,
        metric=metric,
    )
    plan = Plan(settled, recipe, len(rows), len(rows) // batch_size, rate)
    if plan.num_steps < accumulate:
        raise ValueError(
            f"Expected at least one update of the weights, received {plan.num_steps} "
            f"steps with accumulate={accumulate}. Lower accumulate, or raise epochs."
        )
    return plan


def default_rate(
    recipe: Recipe, architecture: Architecture, is_lora: bool
) -> DefaultRate:
    """A recipe's learning rate for a network, of LoRA or of all weights."""
    assert recipe.learning_rate is not None
    width = architecture["text_decoder"]["hidden_dim"]
    return DefaultRate(
        recipe.learning_rate,
        LORA_RATE_FACTOR if is_lora else 1,
        max(1.0, PAPERS_WIDTHS[_version(architecture)] / width),
        width,
    )


def _batch_size(settings: Settings, recipe: Recipe, num_rows: int) -> tuple[int, int]:
    """Rows of a step, and steps of an update."""
    wanted = settings.batch_size
    if wanted is None and settings.accumulate is None:
        # The recipe's, but where rows are few at least sixteen updates an epoch.
        few = 1 << max(3, (num_rows // 16).bit_length() - 1)
        together = min(recipe.batch_size or few, few)
        batch_size = min(ROWS_AT_A_TIME, num_rows)
        return batch_size, max(1, together // batch_size)
    batch_size = min(ROWS_AT_A_TIME, num_rows) if wanted is None else wanted
    if batch_size > num_rows:
        raise ValueError(
            f"Expected rows for at least one batch of {batch_size}, received "
            f"{num_rows} rows. Lower batch_size (--batch-size)."
        )
    return batch_size, settings.accumulate or 1


def _version(architecture: Architecture) -> int:
    return 2 if architecture["text_decoder"]["has_post_norms"] else 1


def _first(chosen: Any, otherwise: Any) -> Any:
    return otherwise if chosen is None else chosen
