"""The packages of the extra `keras-pg2[detection]`, imported when they are needed."""

from __future__ import annotations

import warnings
from types import ModuleType

from keras_pg2.checks.packages import import_packages

_ADVICE = "Run: pip install 'keras-pg2[detection]'"


def import_supervision() -> ModuleType:
    """Return the module `supervision`; raise ImportError if it is not installed."""
    with warnings.catch_warnings():
        # It says so when OpenCV is missing; what is used of it here works without.
        warnings.filterwarnings("ignore", message="OpenCV", category=UserWarning)
        return import_packages("supervision", advice=_ADVICE)[0]


def import_coco_mask() -> ModuleType:
    """Return the module `pycocotools.mask`; raise ImportError if it is missing."""
    return import_packages("pycocotools", "pycocotools.mask", advice=_ADVICE)[1]
