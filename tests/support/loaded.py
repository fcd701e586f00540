"""Loading a network alone, as the tests of formats do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_pg2.modeling import PaliGemma2Backbone
from keras_pg2.tasks.loading.loading import load_parts


def load_backbone(path: Path, **options: Any) -> PaliGemma2Backbone:
    return load_parts(str(path), **options)[0]
