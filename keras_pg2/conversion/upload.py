"""Uploading written checkpoints to Hugging Face and Kaggle."""

from __future__ import annotations

from pathlib import Path

from keras_pg2.catalogue.download import (
    HUGGING_FACE_URI,
    KAGGLE_URI,
    WEIGHT_FILES,
    explained_errors,
)
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.files.user_paths import user_path


def upload(uri: str, directory: str | Path) -> None:
    """Uploads a written checkpoint as it is, with its own README.md.

    (KerasHub's `upload_preset` puts a card of its own in the place of README.md where
    the repository has none yet, and removes it from the directory.)

    Args:
        uri: `hf://organisation/name`, which is made if it is not there, or
            `kaggle://organisation/model/framework/variation`.
        directory: what `write_model`, `convert` or `save_to_preset` wrote.

    Raises:
        FileNotFoundError: when the directory holds no checkpoint.
        ValueError: when the address is of another form, or the checkpoint is damaged.
        PermissionError: when a login is missing.
        ConnectionError: when the site cannot be reached.
    """
    directory = user_path(directory)
    found, kaggle = HUGGING_FACE_URI.fullmatch(uri), KAGGLE_URI.fullmatch(uri)
    if kaggle is None and (found is None or found["file"] or found["revision"]):
        raise ValueError(
            "Expected hf://organisation/name or "
            f"kaggle://organisation/model/framework/variation. Received: {uri!r}."
        )
    files = [p for p in directory.glob("*") if p.suffix.lower() in WEIGHT_FILES]
    open_checkpoint(files[0] if len(files) == 1 else directory)
    if found is not None:
        import huggingface_hub

        repository = found["repository"]
        with explained_errors(uri, f"https://huggingface.co/{repository}"):
            huggingface_hub.create_repo(repository, exist_ok=True)
            huggingface_hub.upload_folder(repo_id=repository, folder_path=directory)
        return
    import kagglehub

    assert kaggle is not None
    with explained_errors(uri, "https://www.kaggle.com/models"):
        kagglehub.model_upload(kaggle["handle"], str(directory))
