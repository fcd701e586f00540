"""RSVQA: questions of several types about satellite pictures."""

from __future__ import annotations

from keras_pg2.metrics.answers.exact import is_exact_in_lower_case
from keras_pg2.metrics.metric import MeanOfKinds

METRICS = (
    MeanOfKinds(
        name="rsvqa_accuracy",
        meaning="mean over question types of the share of equal answers, lower case; "
        "nonum without those that ask for a number",
        source="big_vision `evaluators/proj/paligemma/transfers/rsvqa.py`, acc_avg",
        score=is_exact_in_lower_case,
        parts={"nonum": ("comp", "presence", "rural_urban")},
    ),
)
