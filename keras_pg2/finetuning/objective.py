"""Optimizer and loss of a run, as the papers train (arXiv:2407.07726 appendix J)."""

from __future__ import annotations

from typing import Any

import keras

from keras_pg2.finetuning.plan import Plan
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.training.loss import LossParts, ResponseLoss

CLIP_NORM = 1.0


def compile_for(model: PaliGemma2CausalLM, plan: Plan) -> None:
    """Compiles a model and builds its optimizer.

    Args:
        model: a `PaliGemma2CausalLM`.
        plan: says learning rate, weight decay, label smoothing.
    """
    settings = plan.settings
    options: dict[str, Any] = {
        "learning_rate": plan.schedule(),
        "global_clipnorm": CLIP_NORM,
    }
    if settings.accumulate and settings.accumulate > 1:
        options["gradient_accumulation_steps"] = settings.accumulate
    if settings.weight_decay:
        options["weight_decay"] = settings.weight_decay
        optimizer = keras.optimizers.AdamW(**options)
    else:
        optimizer = keras.optimizers.Adam(**options)
    model.compile(
        optimizer=optimizer,
        loss=SmoothedInTraining(settings.label_smoothing or 0.0, "example"),
        weighted_metrics=["accuracy"],
    )
    optimizer.build(model.trainable_variables)


@keras.saving.register_keras_serializable(package="keras_pg2")
class SmoothedInTraining(ResponseLoss):
    """Labels are smoothed in training alone, so that evaluations can be compared."""

    def of_states(
        self,
        hidden: Any,
        vocabulary: Any,
        labels: Any,
        sample_weight: Any = None,
        training: bool = True,
    ) -> LossParts:
        """As in `ResponseLoss`."""
        arguments = (hidden, vocabulary, labels, sample_weight, training)
        if training:
            return super().of_states(*arguments)
        return ResponseLoss(0.0, self.reduction, self.chunk_size).of_states(*arguments)
