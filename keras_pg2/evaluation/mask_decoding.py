"""The decoder of a metric that reads masks in the texts of answers."""

from __future__ import annotations

import os
from dataclasses import replace

from keras_pg2 import codecs, tasks
from keras_pg2.evaluation.asking import Plan
from keras_pg2.evaluation.sources import Source
from keras_pg2.metrics.things.referring import MaskIou
from keras_pg2.tasks.answering.runners import is_runner


def needs_decoder(plan: Plan) -> bool:
    """Return whether a plan's metric has still to be given a decoder of masks."""
    metric = plan.metric
    is_undecided = isinstance(metric, MaskIou) and metric.decode_crops is None
    return is_undecided and plan.mode != "segment"  # Which decodes the masks itself.


def with_codec(plan: Plan, codec: codecs.MaskCodec) -> Plan:
    """Return a plan whose metric decodes masks with a codec, if it has to."""
    if not (needs_decoder(plan) and isinstance(plan.metric, MaskIou)):
        return plan
    return replace(plan, metric=replace(plan.metric, decode_crops=codec.decode_crops))


def with_mask_decoder(plan: Plan, model: Source) -> Plan:
    """Return a plan whose metric decodes masks with the model's codec, if it has to.

    As in `segment`, a model without a codec of its own has the released one, and so has
    a file of answers; an exported model has the one that it was given.

    Raises:
        ValueError: if the metric has to decode masks and the model is an exported one
            that was given none.
        ConnectionError: if the released codec cannot be downloaded.
    """
    if not needs_decoder(plan):
        return plan
    if isinstance(model, str | os.PathLike):
        return with_codec(plan, codecs.MaskCodec.released())
    if isinstance(model, tasks.PaliGemma2CausalLM):
        return with_codec(plan, model.mask_codec or codecs.MaskCodec.released())
    if is_runner(model) and model.mask_codec is not None:
        return with_codec(plan, model.mask_codec)
    raise ValueError(
        f"Expected a model with a codec for masks for the metric {plan.metric.name}, "
        f"received {type(model).__name__} with mask_codec=None. Set it, as to "
        "MaskCodec.released(), or pass the metric with a codec: "
        "MaskIou(decode_crops=codec.decode_crops)."
    )
