"""All data sets of pictures and videos that are not questions about pictures."""

from __future__ import annotations

from keras_pg2.datasets.public.captions import (
    figures,
    languages,
    photographs,
    screens,
)
from keras_pg2.datasets.public.examples import DataSet
from keras_pg2.datasets.public.own import lines, scenes
from keras_pg2.datasets.public.structures import (
    detection,
    molecules,
    music,
    referring,
    reports,
    scene_text,
    tables,
)
from keras_pg2.datasets.public.videos import captions as video_captions
from keras_pg2.datasets.public.videos import questions as video_questions

FAMILIES: tuple[tuple[DataSet, ...], ...] = (
    photographs.DATA_SETS,
    languages.DATA_SETS,
    figures.DATA_SETS,
    screens.DATA_SETS,
    detection.DATA_SETS,
    referring.DATA_SETS,
    scene_text.DATA_SETS,
    tables.DATA_SETS,
    music.DATA_SETS,
    molecules.DATA_SETS,
    reports.DATA_SETS,
    video_captions.DATA_SETS,
    video_questions.DATA_SETS,
    lines.DATA_SETS,
    scenes.DATA_SETS,
)
