"""Every directory of presets/, and the script that writes them."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import pytest
import typer
from huggingface_hub import constants

from keras_pg2 import PaliGemma2Backbone, PaliGemma2CausalLM
from keras_pg2.catalogue import names
from keras_pg2.catalogue.architecture import count_parameters
from keras_pg2.catalogue.names import PRESETS
from keras_pg2.catalogue.released import ReleasedPresets
from keras_pg2.cli.app import app
from keras_pg2.cli.catalogue import list_presets
from scripts import write_presets
from tests.support.tiny_networks import TEXT_DECODER, VISION_ENCODER
from tests.support.tiny_vocabulary import gemma_like_proto

ROOT = Path(__file__).parents[1] / "presets"
FILES = {
    "README.md",
    "config.json",
    "image_converter.json",
    "metadata.json",
    "preprocessor.json",
    "tokenizer.json",
}
# As the Hugging Face blog and KerasHub have them; of 28B at 448 and 896 pixels those of
# 224, and (1024 - 256) * 1152 or (4096 - 256) * 1152 more of the position table.
PARAMETERS = {
    ("2_3b", 224): 3_032_094_960,
    ("2_3b", 448): 3_032_979_696,
    ("2_3b", 896): 3_036_518_640,
    ("2_10b", 224): 9_662_409_456,
    ("2_10b", 448): 9_663_294_192,
    ("2_10b", 896): 9_666_833_136,
    ("2_28b", 224): 27_650_192_112,
    ("2_28b", 448): 27_651_076_848,
    ("2_28b", 896): 27_654_615_792,
    ("_3b", 224): 2_923_335_408,
    ("_3b", 448): 2_924_220_144,
    ("_3b", 896): 2_927_759_088,
}
SMALL = {
    "vision_encoder": {**VISION_ENCODER, "hidden_dim": 24, "intermediate_dim": 150},
    "text_decoder": {
        **TEXT_DECODER,
        "hidden_dim": 140,
        "vocabulary_size": 61,
        "has_post_norms": True,
    },
}


def read(name: str, file: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / name / file).read_text("utf-8"))
    return content


@pytest.mark.parametrize("name", PRESETS)
def test_a_directory_is_of_a_published_network(name: str) -> None:
    found = re.fullmatch(r"pali_gemma(2?).*(_\d+b)(_mix)?_(\d+)", name)
    assert found is not None
    generation, size, _, side = found.groups()
    config = read(name, "config.json")["config"]
    metadata = read(name, "metadata.json")
    architecture = {part: config[part] for part in SMALL}
    published = PARAMETERS[generation + size, int(side)]
    assert metadata["parameter_count"] == published
    assert count_parameters(**architecture) == published
    assert config["vision_encoder"]["image_size"] == int(side)
    converter = read(name, "image_converter.json")["config"]
    assert converter["image_size"] == [int(side), int(side)]
    assert converter["crop_to_aspect_ratio"] is False
    preprocessor = read(name, "preprocessor.json")["config"]
    assert preprocessor["sequence_length"] == metadata["sequence_length"]
    assert metadata["memory_bytes"]["bfloat16"] == 2 * published
    rows = published + 64 * config["text_decoder"]["hidden_dim"]
    assert metadata["download_bytes"] == (2 if generation else 4) * rows
    assert metadata["huggingface_id"].startswith(f"google/paligemma{generation}-")
    assert {p.name for p in (ROOT / name).iterdir()} == FILES


@pytest.mark.parametrize("name", PRESETS)
def test_a_card_says_what_the_metadata_say(name: str) -> None:
    card = (ROOT / name / "README.md").read_text("utf-8")
    metadata = read(name, "metadata.json")
    assert f"license: {metadata['license']}\n" in card
    assert f"base_model: {metadata['huggingface_id']}\n" in card
    assert f"https://huggingface.co/{metadata['huggingface_id']})" in card
    assert f"`{metadata['kaggle_handle']}`" in card
    assert f"| {metadata['parameter_count']:,} |" in card
    assert f"| text | {metadata['sequence_length']} tokens" in card
    sizes = {**metadata["memory_bytes"], **metadata["training_bytes"]}
    assert len(sizes) == 6
    for size in sizes.values():
        assert f"| {size / 1e9:.1f} GB |" in card
    assert f'from_preset("{name}"' in card
    # Of PaliGemma 2 mix, and of 28B at 896 pixels, the papers have none.
    assert ("| source |" in card) == (
        ("_pt_" in name and "28b_896" not in name)
        or "docci" in name
        or name.startswith("pali_gemma_")
    )


def test_examples_of_cards_are_commands_that_there_are() -> None:
    known = typer.main.get_command(app).commands
    for card in ROOT.glob("*/README.md"):
        for command in re.findall(r"^keras-pg2 (\w+)", card.read_text("utf-8"), re.M):
            assert command in known


def test_the_table_has_what_the_metadata_have() -> None:
    records = list_presets()
    assert [record["is_bundled"] for record in records] == [True] + 22 * [False]
    for record in records:
        metadata = read(record["name"], "metadata.json")
        assert record["parameters"] == metadata["parameter_count"]
        for key in ("kind", "license", "memory_bytes"):
            assert record[key] == metadata[key]


def test_help_reads_no_preset() -> None:
    code = """
import sys
opened = []
sys.addaudithook(lambda name, args: name == "open" and opened.append(str(args[0])))
sys.argv = ["keras-pg2", "--help"]
from keras_pg2.cli import main
try:
    main()
except SystemExit:
    pass
found = [path for path in opened if path.endswith("metadata.json")]
assert opened and not found, found
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent
    )
    assert done.returncode == 0, done.stderr
    assert "presets" in done.stdout


def test_sizes_are_those_of_quantized_networks() -> None:
    """Two groups of 128 inputs, and a last byte that holds one number."""
    expected = write_presets.memory_bytes(SMALL)
    for mode in ("bfloat16", "int8", "int4"):
        model = PaliGemma2CausalLM(PaliGemma2Backbone(**SMALL, dtype="bfloat16"))
        if mode != "bfloat16":
            model.quantize(mode)
        found = sum(
            math.prod(v.shape) * {"bfloat16": 2, "int8": 1, "float32": 4}[v.dtype]
            for v in model.backbone.variables
        )
        assert expected[mode] == found, mode


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="needs a meta device")
def test_the_script_writes_these_files() -> None:
    for path, content in write_presets.all_files().items():
        assert path.read_text("utf-8") == content, (
            f"Expected {path} as scripts/write_presets.py writes it. Run the script."
        )


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a released preset whose network is made small."""
    name = "pali_gemma2_mix_3b_448"
    directory = tmp_path / "presets" / name
    shutil.copytree(ROOT / name, directory)
    config = json.loads((directory / "config.json").read_text())
    size = {"image_size": 28, "num_layers": 1, "hidden_dim": 16, "intermediate_dim": 20}
    config["config"]["vision_encoder"] |= {**size, "num_heads": 2}
    config["config"]["text_decoder"] |= {
        "num_layers": 1,
        "hidden_dim": 24,
        "intermediate_dim": 40,
        "num_query_heads": 4,
        "head_dim": 8,
        "vocabulary_size": 1552,
    }
    (directory / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(names, "PRESETS", ReleasedPresets(tmp_path / "presets"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return name


def test_a_name_or_its_directory_without_weights(small: str, tmp_path: Path) -> None:
    vocabulary = tmp_path / "tokenizer.model"
    vocabulary.write_bytes(gemma_like_proto())
    directory = tmp_path / "presets" / small
    for preset in (small, "google/paligemma2-3b-mix-448", directory, str(directory)):
        model = PaliGemma2CausalLM.from_preset(
            preset, load_weights=False, tokenizer=vocabulary, sliding_window=9
        )
        text = model.backbone.architecture["text_decoder"]
        assert (text["num_layers"], text["final_logit_soft_cap"]) == (1, 30.0)
        assert text["sliding_window"] == 9
        assert model.preprocessor.sequence_length == 512
        assert model.preprocessor.image_converter.image_size == (28, 28)
    assert isinstance(model.generate("caption en", max_length=12), str)
    with pytest.warns(UserWarning, match="Pass tokenizer="):
        bare = PaliGemma2CausalLM.from_preset(small, load_weights=False)
    assert bare.preprocessor is None


def test_a_directory_means_the_download_of_its_weights(
    small: str, tmp_path: Path
) -> None:
    with pytest.raises(ConnectionError, match="hf://google/paligemma2-3b-mix-448"):
        PaliGemma2CausalLM.from_preset(tmp_path / "presets" / small)


def test_a_copy_elsewhere_says_what_is_missing(small: str, tmp_path: Path) -> None:
    copy = shutil.copytree(ROOT / small, tmp_path / "copy")
    with pytest.raises(FileNotFoundError, match=r"model\.weights\.h5"):
        PaliGemma2CausalLM.from_preset(copy)
    small_copy = shutil.copytree(tmp_path / "presets" / small, tmp_path / "small_copy")
    alone = PaliGemma2CausalLM.from_preset(
        small_copy, load_weights=False, preprocessor=None
    )
    assert alone.backbone.num_image_tokens == 4
