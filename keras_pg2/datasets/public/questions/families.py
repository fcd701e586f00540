"""All data sets of questions."""

from __future__ import annotations

from keras_pg2.datasets.public.examples import DataSet
from keras_pg2.datasets.public.questions import (
    ai2d,
    aokvqa,
    chartqa,
    docvqa,
    gqa,
    mmvp,
    nlvr2,
    ocrvqa,
    pope,
    rsvqa,
    science_qa,
    stvqa,
    tallyqa,
    textvqa,
    vizwiz,
    vqav2,
    vsr,
)

FAMILIES: tuple[tuple[DataSet, ...], ...] = (
    vqav2.DATA_SETS,
    aokvqa.DATA_SETS,
    gqa.DATA_SETS,
    textvqa.DATA_SETS,
    stvqa.DATA_SETS,
    ocrvqa.DATA_SETS,
    docvqa.DATA_SETS,
    chartqa.DATA_SETS,
    ai2d.DATA_SETS,
    science_qa.DATA_SETS,
    vizwiz.DATA_SETS,
    tallyqa.DATA_SETS,
    nlvr2.DATA_SETS,
    rsvqa.DATA_SETS,
    pope.DATA_SETS,
    vsr.DATA_SETS,
    mmvp.DATA_SETS,
)
"""One tuple for each module beside this one."""
