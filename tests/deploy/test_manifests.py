"""Manifests of exported directories, field by field; no runtime is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keras_pg2.deploy.runners import litert, onnx
from keras_pg2.deploy.runners.files import read_manifest
from tests.support.damaged_fields import DAMAGES, damaged, loads, named

COMMON = {
    "files": {"vision": "onnx/vision.bin"},
    "quantization": "int8",
    "cache_length": 64,
    "image_size": 28,
    "interpolation": "bicubic",
    "antialias": True,
    "separator": "\n",
    "separator_ids": [108],
    "start_token_ids": [2],
    "end_token_id": 1,
    "special_token_ids": [0, 1, 2],
}
KINDS = {
    "onnx": (onnx._read_more, {"num_layers": 2, "cache_shape": [1, 2, 0, 8]}),
    "litert": (litert._read_more, {"decoder_parts": 1, "prefill_lengths": [8, 16]}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_field(kind: str, tmp_path: Path) -> None:
    read_more, more = KINDS[kind]
    (tmp_path / "onnx").mkdir()
    for name in ("onnx/vision.bin", "vocabulary.spm"):
        (tmp_path / name).touch()
    path = tmp_path / "manifest.json"

    def read(content: Any) -> dict[str, Any]:
        path.write_text(json.dumps(content))
        return read_manifest(tmp_path, "manifest.json", "export", read_more)

    content = {**COMMON, **more}
    assert read(content) == content
    fields = [(name,) for name in content]
    fields += [("files", "vision"), ("separator_ids", 0)]
    fields += [(list(more)[1], i) for i in range(2)]
    errors = (ValueError, FileNotFoundError)
    count, loaded = loads(read, damaged(content, fields), tmp_path, errors)
    assert count == len(DAMAGES) * (len(content) + 4)
    optional = {
        *named("files", ["object"]),
        *named("files.vision", ["missing"]),
        *named("quantization", ["null"]),
        *named("antialias", ["true"]),
        *named("separator", ["text", "empty text"]),
        *named("separator_ids", ["list"]),
        *named("separator_ids.0", ["missing", "0"]),
        *named("start_token_ids", ["list"]),
        *named("special_token_ids", ["list"]),
        *named("end_token_id", ["0"]),
    }
    if kind == "litert":
        optional |= named("prefill_lengths.0", ["missing"])
        optional |= named("prefill_lengths.1", ["missing"])
    else:
        optional |= named("cache_shape.1", ["0"])
    assert loaded == optional


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/hostname", "a/../../b", "..\\b", "C:\\b", "\\\\host\\b", "."],
)
def test_files_are_those_of_the_directory(name: str, tmp_path: Path) -> None:
    content = {**COMMON, "files": {"vision": name}}
    (tmp_path / "m.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"files\.vision in .*a file in its directory"):
        read_manifest(tmp_path, "m.json", "export", lambda fields: {})


@pytest.mark.parametrize("shape", [[10**6, 2, 0, 8], [1, 2, 3, 8], [1, 2, 0], [1] * 99])
def test_caches_begin_with_nothing(shape: list[int], tmp_path: Path) -> None:
    for name in ("vision.bin", "vocabulary.spm"):
        (tmp_path / name).touch()
    content = {**COMMON, "files": {}, "num_layers": 2, "cache_shape": shape}
    (tmp_path / "m.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"Expected cache_shape.*export the model again"
    ):
        read_manifest(tmp_path, "m.json", "export", onnx._read_more)
