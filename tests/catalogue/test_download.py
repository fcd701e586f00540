"""Downloads from a server on this machine that speaks as much of the hub as is used."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import kagglehub
import pytest
import requests
from huggingface_hub import constants
from kagglehub.exceptions import KaggleApiHTTPError

from keras_pg2.catalogue import download
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import write_model
from tests.support.released_kinds import assert_same_weights
from tests.support.tiny_models import random_task

COMMIT = "c" * 40
REPOSITORY = "someone/model"


class Hub:
    """What the server has, what it shall refuse, and what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.refusal: tuple[int, str] | None = None
        self.cut_after: int | None = None
        self.requests: list[tuple[str, str, str | None]] = []
        self.sent = 0


def handler_of(served: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            start = self.headers.get("Range")
            served.requests.append((self.command, self.path, start))
            if served.refusal is not None:
                status, code = served.refusal
                self.reply(
                    status, b"{}", {"X-Error-Code": code, "X-Error-Message": code}
                )
                return
            found = re.fullmatch(f"/{REPOSITORY}/resolve/[^/]+/(.+)", self.path)
            if found and found[1] in served.files:
                self.send_file(served.files[found[1]], start, with_body)
            elif found:
                self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
            elif self.path.startswith(f"/api/models/{REPOSITORY}"):
                self.reply(200, self.listing(), {})
            else:
                self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def listing(self) -> bytes:
            if "/tree/" in self.path:
                tree = [
                    {
                        "type": "file",
                        "path": name,
                        "size": len(data),
                        "oid": hashlib.sha1(data).hexdigest(),
                    }
                    for name, data in served.files.items()
                ]
                return json.dumps(tree).encode()
            siblings = [{"rfilename": name} for name in served.files]
            content = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}
            return json.dumps(content).encode()

        def send_file(self, data: bytes, start: str | None, with_body: bool) -> None:
            first = int(start.removeprefix("bytes=").rstrip("-")) if start else 0
            part = data[first:]
            headers = {
                "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
            }
            if start:
                headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            self.reply(206 if start else 200, part, headers, with_body)

        def reply(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str],
            with_body: bool = True,
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if not with_body or self.command == "HEAD":
                return
            if served.cut_after is not None and len(body) > served.cut_after:
                self.wfile.write(body[: served.cut_after])
                served.cut_after = None  # Once.
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            self.wfile.write(body)
            served.sent += len(body)

    return Handler


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(served))
    server.handle_error = lambda *args: None  # A cut connection is what is tested.
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path)
    yield served
    server.shutdown()
    thread.join()
    server.server_close()
    huggingface_hub.close_session()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path) -> None:
    # What HF_ENDPOINT, HF_HOME and HF_HUB_DISABLE_XET set when the library is imported.
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda s: None)


@pytest.fixture
def checkpoint(served: Hub, tmp_path: Path) -> Path:
    directory = write_model(random_task(), tmp_path / "hf", "hf")
    for file in directory.iterdir():
        served.files[file.name] = file.read_bytes()
    served.files["pytorch_model.bin"] = b"a second copy"
    return directory


def test_what_is_downloaded_is_loaded(served: Hub, checkpoint: Path) -> None:
    path = download.download(f"hf://{REPOSITORY}")
    assert_same_weights(open_checkpoint(path), open_checkpoint(checkpoint))
    assert not (path / "pytorch_model.bin").exists()
    sent = served.sent
    assert download.download(f"hf://{REPOSITORY}") == path
    assert served.sent - sent < 10_000  # The list of files, no file.


def test_a_description_comes_without_weights(served: Hub, checkpoint: Path) -> None:
    served.files["mask_codec.npz"] = b"what masks mean"
    path = download.download(f"hf://{REPOSITORY}", with_weights=False)
    description = {p.name for p in checkpoint.iterdir()} - {"model.safetensors"}
    assert {p.name for p in path.iterdir()} == {*description, "mask_codec.npz"}
    opened = open_checkpoint(path, with_weights=False)
    assert opened.preprocessing.tokenizer is not None
    assert not any(name.endswith("model.safetensors") for _, name, _ in served.requests)


def test_folders_of_a_repository_are_left_out(served: Hub, checkpoint: Path) -> None:
    for name in ("config.json", "model.safetensors", "optimizer.pt"):
        served.files[f"checkpoint-500/{name}"] = b"of another step"
    served.files["onnx/model.onnx"] = served.files["tf_model.h5"] = b"a second copy"
    path = download.download(f"hf://{REPOSITORY}")
    assert {p.name for p in path.iterdir()} == {p.name for p in checkpoint.iterdir()}


def test_a_preset_of_keras_has_its_vocabulary(served: Hub, tmp_path: Path) -> None:
    directory = write_model(random_task(), tmp_path / "preset", "preset")
    for file in directory.rglob("*.*"):
        served.files[file.relative_to(directory).as_posix()] = file.read_bytes()
    opened = open_checkpoint(download.download(f"hf://{REPOSITORY}"))
    assert opened.preprocessing.tokenizer is not None
    assert_same_weights(opened, open_checkpoint(directory))


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("refs/pr/1", "refs%2Fpr%2F1"),
        ("refs%2Fpr%2F1", "refs%2Fpr%2F1"),
        ("refs/convert/parquet", "refs%2Fconvert%2Fparquet"),
        ("main", "main"),
    ],
)
def test_a_revision_with_slashes(
    written: str, asked: str, served: Hub, checkpoint: Path
) -> None:
    name = "config.json"
    path = download.download(f"hf://{REPOSITORY}@{written}/{name}")
    assert path.read_bytes() == served.files[name]
    paths = {path for _, path, _ in served.requests}
    assert paths == {f"/{REPOSITORY}/resolve/{asked}/{name}"}
    found = download.HUGGING_FACE_URI.fullmatch(f"hf://{REPOSITORY}@{written}")
    assert found is not None
    assert found["revision"] == written


def test_an_interrupted_transfer_is_resumed(
    served: Hub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = "model.safetensors"
    # The library keeps whole chunks, of 10 MB, larger than this file.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 14)
    served.cut_after = 200_000
    size = len(served.files[weights])
    assert size > 200_000
    path = download.download(f"hf://{REPOSITORY}/{weights}")
    assert path.read_bytes() == served.files[weights]
    ranges = [start for _, name, start in served.requests if name.endswith(weights)]
    begun = [int(start[6:-1]) for start in ranges if start and start != "bytes=0-"]
    assert begun
    assert 0 < begun[0] <= 200_000


def test_a_file_of_big_vision(served: Hub, tmp_path: Path) -> None:
    path = write_model(random_task(), tmp_path / "made" / "model.npz", "npz")
    served.files = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    for uri in (f"hf://{REPOSITORY}", f"hf://{REPOSITORY}@main/model.npz"):
        found = download.download(uri)
        assert found.name == "model.npz"
        assert found.read_bytes() == path.read_bytes()
    assert open_checkpoint(found).preprocessing.tokenizer is not None


@pytest.mark.parametrize(
    ("refusal", "kind", "message"),
    [
        ((401, "GatedRepo"), PermissionError, "Accept the licence at https://hugging"),
        ((403, "GatedRepo"), PermissionError, "hf auth login"),
        ((403, ""), PermissionError, "HF_TOKEN"),
        ((404, "RepoNotFound"), FileNotFoundError, "there is none, or it is private"),
        ((401, "RepoNotFound"), FileNotFoundError, "for a private one log in"),
        ((404, "RevisionNotFound"), FileNotFoundError, f"hf://{REPOSITORY}@other"),
    ],
)
def test_refusals(
    refusal: tuple[int, str], kind: type[Exception], message: str, served: Hub
) -> None:
    served.refusal = refusal
    with pytest.raises(kind, match=message):
        download.download(f"hf://{REPOSITORY}@other")


def test_a_file_that_is_not_there(served: Hub) -> None:
    with pytest.raises(FileNotFoundError, match=r"hf://someone/model/none\.npz"):
        download.download(f"hf://{REPOSITORY}/none.npz")


def test_no_network(
    served: Hub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = download.download(f"hf://{REPOSITORY}")
    # Port 9 is the discard protocol's; nobody listens.
    use_endpoint(monkeypatch, "http://127.0.0.1:9", tmp_path)
    assert download.download(f"hf://{REPOSITORY}") == path
    with pytest.raises(ConnectionError, match="copy the directory"):
        download.download("hf://someone/another")


def test_offline_mode(
    served: Hub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = download.download(f"hf://{REPOSITORY}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    assert download.download(f"hf://{REPOSITORY}") == path
    with pytest.raises(ConnectionError, match="offline mode"):
        download.download("hf://someone/another")


@pytest.mark.parametrize(
    "uri",
    ["hf://model", "kaggle://a/b", "gs://bucket/x", "hf://a/b c", "kaggle://a/b/c/d/x"],
)
def test_malformed_addresses(uri: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(uri))):
        download.download(uri)


HANDLE = "keras/paligemma2/keras/pali_gemma2_pt_3b_224/2"


def test_a_filled_kaggle_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    monkeypatch.setenv("KAGGLE_API_ENDPOINT", "http://127.0.0.1:9")
    cached = tmp_path / "models" / HANDLE
    write_model(random_task(), cached, "preset")
    (cached.parent / "2.complete").touch()
    assert download.download(f"kaggle://{HANDLE}") == cached
    assert open_checkpoint(cached).format == "preset"


class Kaggle:
    """Files of a model, given one by one."""

    def __init__(self, directory: Path, error: Exception) -> None:
        self.directory = directory
        self.error = error
        self.asked: list[str | None] = []

    def model_download(self, handle: str, path: str | None = None) -> str:
        assert handle == HANDLE
        self.asked.append(path)
        found = self.directory / (path or "")
        if not found.exists():
            raise self.error
        return str(found)


def not_found(status: int = 404) -> KaggleApiHTTPError:
    response = requests.Response()
    response.status_code = status
    return KaggleApiHTTPError(f"{status} Client Error", response=response)


@pytest.mark.parametrize(
    "error", [not_found(), ValueError("'task.json' is not present in the model files.")]
)
def test_a_description_of_kaggle(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a task, as KerasHub's own.
    random_task().backbone.save_to_preset(str(tmp_path))
    random_task().preprocessor.save_to_preset(str(tmp_path))
    kaggle = Kaggle(tmp_path, error)
    monkeypatch.setattr(kagglehub, "model_download", kaggle.model_download)
    assert download.download(f"kaggle://{HANDLE}", with_weights=False) == tmp_path
    assert None not in kaggle.asked
    assert "model.weights.h5" not in kaggle.asked
    assert "assets/tokenizer/vocabulary.spm" in kaggle.asked


def test_a_file_of_kaggle_comes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(random_task(), tmp_path / "model.npz", "npz")
    kaggle = Kaggle(tmp_path, not_found())
    monkeypatch.setattr(kagglehub, "model_download", kaggle.model_download)
    found = download.download(f"kaggle://{HANDLE}", with_weights=False)
    assert found == tmp_path / "model.npz"
    assert kaggle.asked == ["config.json", None]


def test_a_refused_description_of_kaggle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle = Kaggle(tmp_path, not_found(403))
    monkeypatch.setattr(kagglehub, "model_download", kaggle.model_download)
    with pytest.raises(PermissionError, match="KAGGLE_API_TOKEN"):
        download.download(f"kaggle://{HANDLE}", with_weights=False)


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, PermissionError, "https://www.kaggle.com/models/keras/paligemma2"),
        (403, PermissionError, "KAGGLE_API_TOKEN"),
        (404, FileNotFoundError, "kaggle://keras"),
    ],
)
def test_refusals_of_kaggle(
    status: int,
    kind: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    response = requests.Response()
    response.status_code = status

    def refuse(handle: str) -> str:
        assert handle == HANDLE
        raise KaggleApiHTTPError(f"{status} Client Error", response=response)

    monkeypatch.setattr(kagglehub, "model_download", refuse)
    with pytest.raises(kind, match=message):
        download.download(f"kaggle://{HANDLE}")


def test_kaggle_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: str) -> str:
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(kagglehub, "model_download", refuse)
    with pytest.raises(ConnectionError, match="copy the directory"):
        download.download(f"kaggle://{HANDLE}")
