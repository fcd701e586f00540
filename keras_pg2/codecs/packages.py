"""The packages of the extra `keras-pg2[detection]`, imported when they are needed."""

from __future__ import annotations

import warnings
from types import ModuleType


def import_supervision() -> ModuleType:
    """The module `supervision`.

    Raises:
        ImportError: when it is not installed, with the extra that brings it.
    """
    with warnings.catch_warnings():
        # It says so when OpenCV is missing; what is used of it here works without.
        warnings.filterwarnings("ignore", message="OpenCV", category=UserWarning)
        try:
            import supervision
        except ImportError as error:
            raise _missing("supervision") from error
    return supervision


def import_coco_mask() -> ModuleType:
    """The module `pycocotools.mask`.

    Raises:
        ImportError: when it is not installed, with the extra that brings it.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise _missing("pycocotools") from error
    return mask


def _missing(package: str) -> ImportError:
    return ImportError(
        f"Expected the package {package}, which is not installed. "
        "Run: pip install 'keras-pg2[detection]'"
    )
