"""The decoder of a metric that reads masks in the texts of answers."""

from __future__ import annotations

from dataclasses import replace

from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.evaluation.answering import Source
from keras_pg2.evaluation.asking import Plan
from keras_pg2.metrics.things.referring import MaskIou
from keras_pg2.tasks import PaliGemma2CausalLM


def with_mask_decoder(plan: Plan, model: Source) -> Plan:
    """Return a plan whose metric decodes masks with the model's codec, if it has to.

    As in `segment`, a model without a codec of its own has the released one.

    Raises:
        ValueError: if the metric has to decode masks and the model has no codec.
        ConnectionError: if the released codec cannot be downloaded.
    """
    metric = plan.metric
    if not isinstance(metric, MaskIou) or metric.decode_crops is not None:
        return plan
    if plan.mode == "segment":  # Which decodes the masks itself.
        return plan
    if not isinstance(model, PaliGemma2CausalLM):
        raise ValueError(
            f"Expected a model with a codec for masks for the metric {metric.name}, "
            f"received {type(model).__name__}. Pass the metric with one: "
            "MaskIou(decode_crops=codec.decode_crops)."
        )
    codec = model.mask_codec or MaskCodec.released()
    return replace(plan, metric=replace(metric, decode_crops=codec.decode_crops))
