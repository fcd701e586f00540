"""Downloading checkpoints from Hugging Face and Kaggle.

huggingface_hub and kagglehub do the work: their caches (HF_HOME, KAGGLEHUB_CACHE),
their logins, their resuming of what was cut off, their offline modes
(HF_HUB_OFFLINE). Here are the addresses, the choice of files, and errors that say
what to do.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from keras_pg2.start.backends import raise_without_home

HUGGING_FACE_URI = re.compile(
    r"hf://(?P<repository>[\w.-]+/[\w.-]+)"
    # The hub's names of pull requests and converted copies have slashes.
    r"(@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(/(?P<file>.+))?"
)
KAGGLE_URI = re.compile(r"kaggle://(?P<handle>[\w.-]+(/[\w.-]+){3}(/\d+)?)")
WEIGHT_FILES = (".npz", ".sbs")
"""Endings of files that are a model by themselves."""
# What a checkpoint needs besides weights, and those; no second copies of the weights as
# .bin or .gguf. The hub's patterns match folders too: those of a training run, with
# weights of their own, are left out.
_DESCRIPTION = ["*.json", "*.model", "mask_codec.npz", "README.md"]
_WEIGHTS = ["*.safetensors", "*.weights.h5"]
_IN_FOLDERS = ["*/*"]
_ASSETS = ["assets/*"]
# What a preset of Keras may have beside its `config.json`, as Kaggle has no patterns.
_KERAS_FILES = (
    "metadata.json",
    "task.json",
    "preprocessor.json",
    "tokenizer.json",
    "image_converter.json",
    "assets/tokenizer/vocabulary.spm",
    "mask_codec.npz",
    "detection_scores.json",
    "decisions.json",
)


def download(uri: str, with_weights: bool = True) -> Path:
    """Download a checkpoint, or find it in the cache.

    Args:
        uri: `hf://organisation/name`, also with `@revision` and the path of a file in
            the repository; or `kaggle://organisation/model/framework/variation`, also
            with `/version`.
        with_weights: Whether weights are needed too; a .npz or .sbs, which has all in
            one file, comes in any case.

    Returns:
        The directory; or the file, where the address names one, or where a .npz or
        .sbs is all there is.

    Raises:
        ValueError: when the address is of another form.
        PermissionError: when a licence has to be accepted or a login is missing.
        FileNotFoundError: when there is no such model, version or file.
        ConnectionError: when the site cannot be reached and the cache has no copy.
        ImportError: when kagglehub is not installed.
        OSError: when there is no place for a cache.
    """
    found = HUGGING_FACE_URI.fullmatch(uri)
    if found:
        with explained_errors(uri, f"https://huggingface.co/{found['repository']}"):
            return _download_huggingface(with_weights, **found.groupdict())
    found = KAGGLE_URI.fullmatch(uri)
    if found:
        return _download_kaggle(uri, found["handle"], with_weights)
    raise ValueError(
        "Expected hf://organisation/name[@revision][/file] or "
        "kaggle://organisation/model/framework/variation[/version]. Received: "
        f"{uri!r}."
    )


def _download_huggingface(
    with_weights: bool,
    repository: str,
    revision: str | None,
    file: str | None,
    **rest: Any,
) -> Path:
    import huggingface_hub

    if revision is not None:  # The site's own addresses have refs%2Fpr%2F1.
        revision = urllib.parse.unquote(revision)
    if file is not None:
        path = huggingface_hub.hf_hub_download(repository, file, revision=revision)
        return Path(path)
    fetch = partial(huggingface_hub.snapshot_download, repository, revision=revision)
    patterns = [*_DESCRIPTION, *(_WEIGHTS if with_weights else ())]
    directory = Path(fetch(allow_patterns=patterns, ignore_patterns=_IN_FOLDERS))
    if (directory / "metadata.json").is_file():  # Of Keras, with its vocabulary below.
        fetch(allow_patterns=_ASSETS)
    if (directory / "config.json").is_file():
        return directory
    fetch(allow_patterns=[f"*{ending}" for ending in WEIGHT_FILES])
    return _only_file(directory)


def _download_kaggle(uri: str, handle: str, with_weights: bool) -> Path:
    try:
        import kagglehub
    except ImportError as error:
        raise ImportError(
            f"Expected kagglehub to download {uri}. Run `pip install kagglehub`."
        ) from error
    except RuntimeError as error:
        raise_without_home(error)
        raise
    page = "https://www.kaggle.com/models/" + "/".join(handle.split("/")[:2])
    with explained_errors(uri, page):
        directory = None if with_weights else _download_keras_files(handle)
        return directory or _only_file(Path(kagglehub.model_download(handle)))


def _download_keras_files(handle: str) -> Path | None:
    """The directory of a preset of Keras without its weights; None for other models."""
    import kagglehub

    try:
        config = kagglehub.model_download(handle, path="config.json")
    except Exception as error:
        if _is_missing(error):
            return None
        raise
    for name in _KERAS_FILES:
        try:
            kagglehub.model_download(handle, path=name)
        except Exception as error:
            if not _is_missing(error):
                raise
    return Path(config).parent


def _is_missing(error: Exception) -> bool:
    """Whether Kaggle, or the copy in the cache, says that a model has no such file."""
    is_absent = "is not present in the model files" in str(error)
    return is_absent or _kind_of(error) is FileNotFoundError


def _only_file(directory: Path) -> Path:
    """The .npz or .sbs of a directory that has no configuration."""
    files = [p for p in directory.rglob("*") if p.suffix.lower() in WEIGHT_FILES]
    if (directory / "config.json").is_file() or len(files) != 1:
        return directory
    return files[0]


@contextmanager
def explained_errors(uri: str, page: str) -> Iterator[None]:
    """Turns the errors of both libraries into ones that say what to do."""
    try:
        yield
    except Exception as error:
        raise_without_home(error)
        kind = _kind_of(error)
        login = (
            "`hf auth login` or the variable HF_TOKEN"
            if uri.startswith("hf://")
            else "`kagglehub.login()` or the variable KAGGLE_API_TOKEN"
        )
        if kind is PermissionError:
            raise PermissionError(
                f"Expected access to {uri}, which was refused. Accept the licence at "
                f"{page}, then log in: {login}."
            ) from error
        if kind is FileNotFoundError:
            raise FileNotFoundError(
                f"Expected a model at {uri}; there is none, or it is private. Look at "
                f"{page}; for a private one log in: {login}. ({_first_line(error)})"
            ) from error
        if kind is ConnectionError:
            raise ConnectionError(
                f"Expected to download {uri}, or to find all of it in the cache. The "
                "site cannot be reached, or offline mode is on, and the cache has no "
                "whole copy. Download it where there is a network, copy the directory, "
                f"and pass its path. ({_first_line(error)})"
            ) from error
        raise


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _kind_of(error: Exception) -> type[Exception] | None:
    """PermissionError, FileNotFoundError, ConnectionError, or None for others."""
    from huggingface_hub import errors

    cause: BaseException | None = error
    # A failed look-up in the cache hides why the site did not answer.
    chain: list[BaseException] = []
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    statuses = [_status_of(link) for link in chain]
    if any(isinstance(link, errors.GatedRepoError) for link in chain):
        return PermissionError
    missing = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError)
    if any(isinstance(link, missing) for link in chain) or 404 in statuses:
        return FileNotFoundError
    if 401 in statuses or 403 in statuses:
        return PermissionError
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return ConnectionError
    names = {type(link).__name__ for link in chain}
    # Of httpx, below huggingface_hub, and of requests, below kagglehub.
    if names & {"ConnectError", "ConnectTimeout", "ConnectionError"}:
        return ConnectionError
    if isinstance(error, errors.EntryNotFoundError):
        return FileNotFoundError
    return None


def _status_of(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)
