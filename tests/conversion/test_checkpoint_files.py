"""No byte from outside of a directory of a checkpoint is read, by whatever file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from keras_pg2 import PaliGemma2CausalLMPreprocessor, PaliGemma2Tokenizer
from keras_pg2.conversion.adapters.peft import read_peft
from keras_pg2.conversion.convert import convert
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import write_model
from keras_pg2.preprocessing.preset_files import OWN_FILES
from tests.support.finetuning_runs import make_model
from tests.support.tiny_models import random_task

VOCABULARY = "assets/tokenizer/vocabulary.spm"
FILES = {
    "hf": (
        *("config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json"),
        *("preprocessor_config.json", "processor_config.json", "added_tokens.json"),
        "special_tokens_map.json",
    ),
    "preset": (
        *("config.json", "metadata.json", "task.json", "preprocessor.json"),
        *("tokenizer.json", "image_converter.json", VOCABULARY, *OWN_FILES),
    ),
}
CASES = [(to, name) for to, names in FILES.items() for name in names]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root, model = tmp_path_factory.mktemp("sources"), random_task()
    return {to: write_model(model, root / to, to) for to in FILES}


def link_out(directory: Path, name: str) -> None:
    """Put a file elsewhere, where what it holds is right, and a link in its place."""
    outside = directory.parent / "outside"
    path = directory / name
    if path.exists():
        path.rename(outside)
    else:
        outside.write_text(json.dumps({}))
    path.symlink_to(outside)


@pytest.mark.parametrize(("to", "name"), CASES)
def test_a_link_that_leads_out_is_refused(
    to: str, name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    evil = Path(shutil.copytree(sources[to], tmp_path / "evil"))
    link_out(evil, name)
    with pytest.raises(ValueError, match=r"in its directory\. Received: a link to"):
        open_checkpoint(evil)
    with pytest.raises(ValueError, match=r"in its directory\. Received: a link to"):
        convert(evil, tmp_path / "out", "preset")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [VOCABULARY, "tokenizer.json", *OWN_FILES])
def test_parts_of_a_preset_are_not_read_through_a_link(
    name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    evil = Path(shutil.copytree(sources["preset"], tmp_path / "evil"))
    link_out(evil, name)
    for part in (PaliGemma2Tokenizer, PaliGemma2CausalLMPreprocessor):
        with pytest.raises(ValueError, match="a link to"):
            part.from_preset(str(evil))


@pytest.mark.parametrize(("to", "name"), CASES)
def test_the_cache_of_the_hub_is_read(
    to: str, name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    if not (sources[to] / name).exists():
        pytest.skip("the format is written without it")
    snapshot = tmp_path / "snapshots" / ("12" * 20)
    shutil.copytree(sources[to], snapshot)
    blob = tmp_path / "blobs" / ("ab" * 20)
    blob.parent.mkdir()
    path = snapshot / name
    path.rename(blob)
    path.symlink_to(os.path.relpath(blob, path.parent))
    assert open_checkpoint(snapshot).num_parameters


@pytest.mark.parametrize(("to", "name"), CASES)
def test_a_file_of_no_use_is_refused_by_its_size(
    to: str, name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    evil = Path(shutil.copytree(sources[to], tmp_path / "evil"))
    with (evil / name).open("ab") as file:
        file.truncate(2**40)  # A hole, which takes no space.
    with pytest.raises(ValueError, match=r"at most \d+ MB at .*Received: 1099512 MB"):
        open_checkpoint(evil)


@pytest.mark.parametrize(("to", "name"), CASES)
def test_a_pipe_is_not_waited_for(
    to: str, name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    evil = Path(shutil.copytree(sources[to], tmp_path / "evil"))
    (evil / name).unlink(missing_ok=True)
    os.mkfifo(evil / name)
    with pytest.raises(OSError, match="Received: something else"):
        open_checkpoint(evil)


def test_what_is_carried_on_has_been_parsed(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    evil = Path(shutil.copytree(sources["preset"], tmp_path / "evil"))
    (evil / "decisions.json").write_text("root:x:0:0")
    with pytest.raises(ValueError, match=r"Expected JSON in .*decisions\.json"):
        convert(evil, tmp_path / "out", "preset")


def test_a_vocabulary_beside_a_file_is_its_own(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    file = convert(sources["hf"], tmp_path / "m" / "m.npz", "npz")
    link_out(file.parent, "paligemma_tokenizer.model")
    with pytest.raises(ValueError, match="a link to"):
        open_checkpoint(file)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_has_its_own_files(name: str, tmp_path: Path) -> None:
    model = make_model(rank=4)
    directory = tmp_path / "adapter"
    model.adapters.export_to_peft(directory)
    link_out(directory, name)
    with pytest.raises(ValueError, match="a link to"):
        read_peft(directory, model.backbone.architecture)
