"""What is sent to Hugging Face and Kaggle, and what is refused before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import kagglehub
import pytest

from keras_pg2.conversion.from_model import write_model
from keras_pg2.conversion.upload import upload
from tests.support.tiny_models import random_task


@pytest.mark.parametrize("to", ["hf", "preset", "npz"])
def test_upload_keeps_the_model_card(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"npz": "folder/model.npz"}.get(to, "folder")
    write_model(random_task(), tmp_path / name, to)
    before = {p.name: p.read_bytes() for p in (tmp_path / "folder").glob("*.*")}
    calls: list[Any] = []
    monkeypatch.setattr(
        huggingface_hub, "create_repo", lambda *a, **k: calls.append((a, k))
    )
    monkeypatch.setattr(huggingface_hub, "upload_folder", lambda **k: calls.append(k))
    upload("hf://someone/tuned", tmp_path / "folder")
    assert calls == [
        (("someone/tuned",), {"exist_ok": True}),
        {"repo_id": "someone/tuned", "folder_path": tmp_path / "folder"},
    ]
    after = {p.name: p.read_bytes() for p in (tmp_path / "folder").glob("*.*")}
    assert after == before
    assert to == "npz" or b"library_name" in after["README.md"]


def test_upload_to_kaggle_and_bad_uploads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(kagglehub, "model_upload", lambda *a: calls.append(a))
    directory = write_model(random_task(), tmp_path / "preset", "preset")
    upload("kaggle://me/model/keras/tuned", directory)
    assert calls == [("me/model/keras/tuned", str(directory))]
    with pytest.raises(ValueError, match="Expected hf://organisation/name or"):
        upload("hf://me/model@main", directory)
    (directory / "model.weights.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.weights\.h5"):
        upload("hf://me/model", directory)
