"""What words for a model stand for; nothing is trained or loaded here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from keras_pg2.conversion.adapters.files import (
    ADAPTER_FILE,
    Adapter,
    Base,
    Factors,
    write_adapter,
)
from keras_pg2.conversion.found_models import (
    ExportedFiles,
    FoundModel,
    find_checkpoint,
    find_model,
)

MIX = "pali_gemma2_mix_3b_224"


def make_adapter(path: Path, base: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    factors = Factors(np.ones((4, 1), np.float32), np.ones((1, 4), np.float32), 1.0)
    write_adapter(Adapter({"vision_projection": factors}, base=Base(base)), path)
    return path


def make_run(folder: Path, base: str = MIX, lora: str | None = "LoRA", **model) -> Path:
    """The record of a run, without a result."""
    folder.mkdir(parents=True)
    record = {
        "model": {"base": base, "lora": lora, **model},
        "data": {},
        "settings": {},
    }
    (folder / "settings.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "models" / "base").mkdir(parents=True)
    return tmp_path / "models" / "base"


def refuses(message: str, *arguments: object) -> None:
    with pytest.raises(ValueError, match=message):
        find_checkpoint(*arguments)


def test_names_paths_and_uris_are_checkpoints(base):
    for word in (MIX, "google/paligemma2-3b-mix-224", "hf://a/b", "unknown", base):
        assert find_model(word) == FoundModel(str(word), word)
    assert find_model(None).base == "pali_gemma2_nano"


def test_a_name_is_no_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / MIX)
    assert find_model(MIX).adapters == ()


def test_a_run_is_its_adapter_on_its_base(tmp_path, base):
    run = make_run(tmp_path / "run", "base", base_path=str(base))
    adapter = make_adapter(run / ADAPTER_FILE, "base")
    found = find_model(run)
    assert found == FoundModel(str(run), str(base), (adapter,))
    assert found.name == "base with run"
    # Its own files, and a checkpoint of it, have the base of the run.
    best = make_adapter(run / "best" / ADAPTER_FILE, "base")
    assert find_model(adapter).base == str(base)
    assert find_model(best.parent) == FoundModel(str(best.parent), str(base), (best,))


def test_a_run_knows_adapters_that_were_merged_before(tmp_path, base):
    first = make_adapter(tmp_path / "first.safetensors", "base")
    run = make_run(
        tmp_path / "run",
        "base with first",
        base_path=str(base),
        base_adapters=[str(first)],
    )
    adapter = make_adapter(run / ADAPTER_FILE, "base with first")
    found = find_model(run)
    assert found.adapters == (first, adapter)
    assert found.apart() == (
        FoundModel(f"{base} with {first}", str(base), (first,)),
        adapter,
    )
    first.unlink()
    by_hand = r"--adapter .*first\.safetensors --adapter .*run.adapter\.safetensors"
    with pytest.raises(FileNotFoundError, match=f"result the run .*base {by_hand}"):
        find_model(run)
    base.rmdir()
    refuses(f"--preset BASE {by_hand}", run)


def test_a_run_of_whole_weights_is_its_preset(tmp_path):
    run = make_run(tmp_path / "run", lora=None)
    refuses("run that has ended, with preset in", run)
    (run / "preset").mkdir()
    assert find_model(run) == FoundModel(str(run), run / "preset")
    refuses("a run that trained whole weights", MIX, [run])


def test_a_run_that_has_not_ended(tmp_path):
    run = make_run(tmp_path / "run")
    refuses(r"has ended, with adapter\.safetensors.*--resume\.$", run)
    make_adapter(run / "best" / ADAPTER_FILE, MIX)
    refuses("--resume. Or take its best adapter until now: .*best", run)
    refuses("--resume. Or take its best adapter until now: .*best", MIX, [run])


def test_an_adapter_alone_goes_by_the_name_of_its_base(tmp_path, base, monkeypatch):
    known = make_adapter(tmp_path / "known.safetensors", MIX)
    assert find_model(known) == FoundModel(str(known), MIX, (known,))
    lost = make_adapter(tmp_path / "lost.safetensors", "base")
    refuses("calls it 'base'.*--preset BASE --adapter .*lost", lost)
    monkeypatch.chdir(base.parent)
    assert find_model(lost).base == "base"
    nameless = make_adapter(tmp_path / "nameless.safetensors", "")
    refuses("which does not tell", nameless)


def test_adapters_go_on_a_model_in_their_order(tmp_path, base):
    one, two = (make_adapter(tmp_path / f"{n}.safetensors", MIX) for n in (1, 2))
    found = find_model(base, [one, two])
    assert (found.base, found.adapters) == (base, (one, two))
    assert found.title == f"{base} with {one} and {two}"
    # Without a model it is the base of the first.
    assert find_model(None, [one, two]).base == MIX
    assert find_model(None, [one, two]).adapters == (one, two)
    # On an adapter, that one is first.
    assert find_model(one, [two]).adapters == (one, two)
    with pytest.raises(FileNotFoundError, match="Expected an adapter file"):
        find_model(MIX, [tmp_path / "none"])
    (base / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="of a whole model: take that as the"):
        find_model(None, [base])


def test_an_adapter_of_peft_names_its_base(tmp_path):
    folder = tmp_path / "peft"
    folder.mkdir()
    config = {"base_model_name_or_path": "google/paligemma2-3b-mix-224"}
    config |= {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["q"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").touch()
    assert find_model(folder).base == "google/paligemma2-3b-mix-224"
    # Beside a model it is none of its own, unless it is named so.
    (folder / "config.json").write_text("{}")
    assert find_model(folder).adapters == ()
    assert find_model(MIX, [folder]).adapters == (folder,)


@pytest.mark.parametrize(
    ("name", "runtime", "how"),
    [
        ("d/litert.json", "LiteRT", "LiteRTModel"),
        ("d/onnx.json", "ONNX", "ONNXModel"),
        ("d/saved_model.pb", "SavedModel", "saved_model.load"),
        ("model.litertlm", "LiteRT-LM", "LiteRT-LM"),
    ],
)
def test_exported_files_are_known_by_what_they_hold(name, runtime, how, tmp_path):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    path = file if file.parent == tmp_path else file.parent
    found = find_model(path)
    assert isinstance(found, ExportedFiles)
    assert found.runtime.name == runtime
    refuses(f"exported for {runtime}. Take what .*{how}", path)
    adapter = make_adapter(tmp_path / "a.safetensors", MIX)
    refuses("keras-pg2 export --adapter", path, [adapter])


def test_other_settings_are_no_run(tmp_path):
    (tmp_path / "settings.json").write_text('{"model": "x"}')
    assert find_model(tmp_path).adapters == ()
