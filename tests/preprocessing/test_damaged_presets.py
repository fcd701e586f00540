"""Presets whose configurations are damaged where only KerasHub looks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keras_pg2 import PaliGemma2CausalLMPreprocessor
from tests.fuzz.bases import write_preset


def without_class(config: dict[str, Any]) -> None:
    del config["class_name"]


def with_other_file(config: dict[str, Any]) -> None:
    config["config"]["tokenizer"]["config"]["config_file"] = "OTHER.JSON"


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (without_class, ValueError, "class_name of each part"),
        (with_other_file, FileNotFoundError, r"OTHER\.JSON, says"),
    ],
)
def test_a_damaged_preprocessor_is_refused(
    damage: Callable[[dict[str, Any]], None],
    kind: type[Exception],
    message: str,
    tmp_path: Path,
) -> None:
    write_preset(tmp_path)
    path = tmp_path / "preprocessor.json"
    config = json.loads(path.read_text())
    damage(config)
    path.write_text(json.dumps(config))
    with pytest.raises(kind, match=message) as caught:
        PaliGemma2CausalLMPreprocessor.from_preset(tmp_path)
    assert str(tmp_path) in str(caught.value)
