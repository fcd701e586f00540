from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras_hub
import pytest

from keras_pg2.catalogue import download, names
from keras_pg2.catalogue.architecture import (
    count_parameters,
    override_architecture,
    variable_shapes,
)
from keras_pg2.catalogue.names import (
    PRESETS,
    Preset,
    locate,
    resolve,
)
from keras_pg2.catalogue.released import ReleasedPresets, read_preset, text_length
from keras_pg2.modeling import PaliGemma2Backbone
from tests.support.damages import Case, all_cases, read_all
from tests.support.tiny_networks import TEXT_DECODER, VISION_ENCODER

NUMBERS = {
    "vision_encoder": VISION_ENCODER,
    "text_decoder": {
        **TEXT_DECODER,
        "attention_logit_soft_cap": 50.0,
        "final_logit_soft_cap": 30.0,
        "has_post_norms": True,
    },
}

# KerasHub lists the size of the 224-pixel model for all 28B ones; the position
# table grows by (1024 - 256) * 1152 and (4096 - 256) * 1152 rows.
WRONG_IN_KERAS_HUB = {
    "pali_gemma2_pt_28b_448": 27_651_076_848,
    "pali_gemma2_mix_28b_448": 27_651_076_848,
    "pali_gemma2_pt_28b_896": 27_654_615_792,
}

# As the Hugging Face blog and KerasHub's metadata have them.
PARAMETERS = {
    "pali_gemma2_pt_3b_224": 3_032_094_960,
    "pali_gemma2_pt_3b_448": 3_032_979_696,
    "pali_gemma2_pt_3b_896": 3_036_518_640,
    "pali_gemma2_pt_10b_224": 9_662_409_456,
    "pali_gemma2_pt_10b_448": 9_663_294_192,
    "pali_gemma2_pt_10b_896": 9_666_833_136,
    "pali_gemma2_pt_28b_224": 27_650_192_112,
    "pali_gemma_3b_224": 2_923_335_408,
    "pali_gemma_3b_448": 2_924_220_144,
    "pali_gemma_3b_896": 2_927_759_088,
}


def test_catalogue_has_the_released_checkpoints() -> None:
    assert len(PRESETS) == 22
    assert sum(name.startswith("pali_gemma2_") for name in PRESETS) == 17
    for name, count in PARAMETERS.items():
        assert PRESETS[name].num_parameters == count


def test_every_preset_of_keras_hub_is_known_and_equal() -> None:
    theirs = keras_hub.models.PaliGemmaBackbone.presets
    assert len(theirs) == 22
    for name, record in theirs.items():
        ours = resolve(name)
        assert isinstance(ours, Preset)
        assert ours.kaggle_handle == record["kaggle_handle"]
        expected = WRONG_IN_KERAS_HUB.get(name, record["metadata"]["params"])
        assert ours.num_parameters == expected, name


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("google/paligemma2-3b-ft-docci-448", "pali_gemma2_ft_docci_3b_448"),
        ("pali_gemma_2_ft_docci_3b_448", "pali_gemma2_ft_docci_3b_448"),
        ("hf://google/paligemma2-28b-pt-896", "pali_gemma2_pt_28b_896"),
        ("pali_gemma2_28b_mix_448", "pali_gemma2_mix_28b_448"),
        (
            "kaggle://keras/paligemma2/keras/pali_gemma2_pt_10b_448",
            "pali_gemma2_pt_10b_448",
        ),
        ("google/paligemma-3b-mix-224", "pali_gemma_3b_mix_224"),
        ("google/paligemma-3b-pt-896", "pali_gemma_3b_896"),
    ],
)
def test_aliases(alias: str, name: str) -> None:
    assert resolve(alias) is PRESETS[name]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("hf://google/paligemma2-3b-mix-224@main", "pali_gemma2_mix_3b_224"),
        ("hf://google/paligemma2-3b-pt-224@refs/pr/1", "pali_gemma2_pt_3b_224"),
        (
            "kaggle://keras/paligemma2/keras/pali_gemma2_mix_3b_224/1",
            "pali_gemma2_mix_3b_224",
        ),
        ("hf://someone/paligemma2-3b-mix-224@main", None),
        ("hf://google/paligemma2-3b-mix-225@main", None),
    ],
)
def test_a_revision_has_the_record_and_is_what_is_downloaded(
    uri: str, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve(uri) is PRESETS.get(name, uri)
    asked = []
    monkeypatch.setattr(
        download, "download", lambda uri, weights: asked.append(uri) or tmp_path
    )
    assert locate(uri) == tmp_path
    assert asked == [uri]


def test_text_lengths_of_what_no_record_tells() -> None:
    """By the size of the pictures, with the room that models of many tasks have."""
    lengths = [text_length(size) for size in (84, 224, 225, 448, 896)]
    assert lengths == [256, 256, 512, 512, 512]


def test_numbers_of_28b() -> None:
    text = PRESETS["pali_gemma2_pt_28b_224"].text_decoder
    assert text["query_pre_attn_scalar"] == text["hidden_dim"] // 32 == 144
    assert text["head_dim"] == 128


def test_text_lengths() -> None:
    lengths = {name: preset.sequence_length for name, preset in PRESETS.items()}
    assert lengths["pali_gemma2_pt_3b_224"] == 128
    assert lengths["pali_gemma_3b_mix_224"] == 256
    assert lengths["pali_gemma2_pt_10b_896"] == 512


def test_what_is_no_name() -> None:
    for wrong in (None, 3, b"pali_gemma2_nano"):
        with pytest.raises(TypeError, match="Expected a preset as the name"):
            resolve(wrong)
    with pytest.raises(ValueError, match="Received: an empty text"):
        resolve(" ")


def test_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(ValueError, match="pali_gemma2_mix_3b_224") as error:
        resolve("pali_gemma2_3b_mix_224")
    assert "keras-pg2 presets" in str(error.value)


def test_a_repository_without_its_scheme() -> None:
    with pytest.raises(ValueError, match="On Hugging Face that is 'hf://me/my-model'"):
        resolve("me/my-model")


def test_directory_and_uri(tmp_path: Path) -> None:
    assert resolve(tmp_path) == tmp_path
    assert locate(str(tmp_path)) == tmp_path
    assert resolve("hf://someone/their-model") == "hf://someone/their-model"


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("pali_gemma2_pt_3b_224", "hf://google/paligemma2-3b-pt-224"),
        ("google/paligemma2-3b-pt-224", "hf://google/paligemma2-3b-pt-224"),
        (
            "kaggle://keras/paligemma2/keras/pali_gemma2_pt_10b_448",
            "kaggle://keras/paligemma2/keras/pali_gemma2_pt_10b_448",
        ),
        ("hf://someone/model@main", "hf://someone/model@main"),
    ],
)
def test_what_is_not_here_is_downloaded(
    name: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def note(uri: str, with_weights: bool) -> Path:
        asked.append((uri, with_weights))
        return tmp_path

    monkeypatch.setattr(download, "download", note)
    assert locate(name) == locate(name, with_weights=False) == tmp_path
    assert asked == [(uri, True), (uri, False)]


def test_files_are_models(tmp_path: Path) -> None:
    for name in ("model.npz", "model.sbs", "model.txt"):
        (tmp_path / name).touch()
    assert resolve(tmp_path / "model.npz") == tmp_path / "model.npz"
    assert resolve(tmp_path / "model.sbs") == tmp_path / "model.sbs"
    with pytest.raises(ValueError, match="a file of another kind"):
        resolve(tmp_path / "model.txt")


def test_bundled_presets_and_the_newest_nano(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dates = {"pali_gemma2_nano_224": "2026-01-02", "pali_gemma2_nano_112": "2026-03-01"}
    root = tmp_path / "presets"
    for name, date in {**dates, "other": "2027-01-01"}.items():
        directory = root / name
        directory.mkdir(parents=True)
        (directory / "config.json").write_text("{}")
        (directory / "model.weights.h5").touch()
        (directory / "metadata.json").write_text(json.dumps({"date_saved": date}))
    (root / "no_preset").mkdir()
    monkeypatch.setattr(names, "PRESETS", ReleasedPresets(root))
    assert resolve("pali_gemma2_nano") == root / "pali_gemma2_nano_112"
    assert resolve("other") == root / "other"
    with pytest.raises(ValueError, match="Expected the name of a preset"):
        resolve("no_preset")


@pytest.mark.parametrize(
    "override",
    [
        {},
        {"has_post_norms": False, "num_key_value_heads": 1},
        {"head_dim": 2, "vision_encoder": {"num_layers": 1, "image_size": 42}},
        {"vocabulary_size": 61, "text_decoder": {"num_layers": 3, "hidden_dim": 30}},
    ],
    ids=str,
)
def test_count_parameters_is_that_of_the_built_network(override: dict) -> None:
    architecture = override_architecture(NUMBERS, **override)
    backbone = PaliGemma2Backbone(**architecture)
    assert count_parameters(**architecture) == backbone.count_params()
    shapes = {v.path: tuple(v.shape) for v in backbone.variables}
    assert variable_shapes(**architecture) == shapes


def test_override_numbers_changes_a_copy() -> None:
    changed = override_architecture(
        NUMBERS, sliding_window=None, patch_size=7, text_decoder={"num_layers": 5}
    )
    assert changed["text_decoder"]["sliding_window"] is None
    assert changed["text_decoder"]["num_layers"] == 5
    assert changed["vision_encoder"]["patch_size"] == 7
    assert changed["vision_encoder"]["num_layers"] == 2
    assert NUMBERS["text_decoder"]["sliding_window"] == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"sliding_windows": 3}, "received sliding_windows.*sliding_window"),
        ({"text_decoder": {"patch_size": 3}}, "received patch_size"),
        ({"num_layers": 3}, "Both the vision encoder and the text decoder"),
    ],
)
def test_override_numbers_rejects(override: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        override_architecture(NUMBERS, **override)


METADATA = (
    "parameter_count",
    "kind",
    "license",
    "kaggle_handle",
    "huggingface_id",
    "aliases",
    "sequence_length",
    "download_bytes",
    "memory_bytes",
)
TEXTS = ("kind", "license", "kaggle_handle", "huggingface_id")


def test_damaged_metadata_of_a_released_preset(tmp_path: Path) -> None:
    released = PRESETS.root / "pali_gemma2_mix_3b_224"
    directory = shutil.copytree(released, tmp_path / released.name)
    file = directory / "metadata.json"
    content = json.loads(file.read_text())

    def judge(case: Case, found: Preset) -> str | None:
        field, name, _ = case
        is_fine = {
            "text": field[0] in TEXTS,
            "object": field[0] == "memory_bytes",
            "zero": field[0].endswith(("_count", "_bytes")),
            "2**31": field[0].endswith(("_count", "_bytes")),
        }
        return None if is_fine.get(name) else f"read as {found}"

    wrong, num_refused = read_all(
        all_cases(content, [(name,) for name in METADATA]),
        file,
        lambda: read_preset(directory),
        judge,
    )
    assert not wrong, "\n".join(wrong)
    assert num_refused > 100


def test_damaged_metadata_of_a_bundled_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "presets" / "pali_gemma2_nano_84"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "model.weights.h5").touch()
    monkeypatch.setattr(names, "PRESETS", ReleasedPresets(tmp_path / "presets"))
    for text in ("{", "[]", '{"date_saved": 7}', '{"date_saved": null}'):
        (directory / "metadata.json").write_text(text)
        with pytest.raises(ValueError, match=r"Expected .*metadata\.json"):
            resolve("pali_gemma2_nano")


@pytest.mark.parametrize("name", ["~nobody_of_that_name/preset", "x" * 5000])
def test_a_name_that_cannot_be_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="keras-pg2 presets"):
        names.resolve(name)
