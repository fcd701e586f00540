"""What `import keras_pg2` gives, in processes of their own."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_pg2

ROOMS = {
    "codecs",
    "conversion",
    "datasets",
    "deploy",
    "finetuning",
    "evaluation",
    "metrics",
    "recipes",
}
NAMES = {
    "BeamSearch",
    "CheckedCaption",
    "Choices",
    "Decision",
    "DecisionCalibration",
    "Detections",
    "EncodedImages",
    "Grammar",
    "LocationGrammar",
    "MaskCodec",
    "MemoryEstimate",
    "PaliGemma2Backbone",
    "PaliGemma2CausalLM",
    "PaliGemma2CausalLMPreprocessor",
    "PaliGemma2ImageConverter",
    "PaliGemma2Tokenizer",
    "Question",
    "ResponseLoss",
    "RowBatches",
    "Sampler",
    "ScoreCalibration",
    "ScoredAnswer",
    "cache_image_features",
    "convert",
    "draw_detections",
    "estimate_memory",
    "open_checkpoint",
    "open_image",
    "predict",
    "prompts",
    "read_coco",
    "read_jsonl",
    "read_table",
    "upload",
    "write_model",
}
REGISTERED = "keras.saving.get_registered_object('keras_pg2>PaliGemma2CausalLM')"


def without(*packages: str) -> str:
    """Return code after which packages are as if they were not installed."""
    return f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"


def run(code: str, **environment: str) -> str:
    """Return what a new process prints, or the last line of its error.

    Its backend is JAX unless told otherwise, which is imported in half of the time.
    """
    variables = {**os.environ, "KERAS_BACKEND": "jax", **environment}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    return (done.stderr if done.returncode else done.stdout).strip().splitlines()[-1]


def test_the_package_lists_what_it_gives_and_nothing_else() -> None:
    assert set(dir(keras_pg2)) == NAMES | ROOMS
    assert set(keras_pg2.__all__) == NAMES | ROOMS
    with pytest.raises(AttributeError):
        keras_pg2.nothing_of_this_name  # noqa: B018


@pytest.mark.parametrize("room", [None, *sorted(ROOMS), "modeling", "preprocessing"])
def test_every_name_of_a_room_is_there_and_documented(room: str | None) -> None:
    module = keras_pg2 if room is None else importlib.import_module(f"keras_pg2.{room}")
    names = dir(module)
    assert names
    for name in names:
        value = getattr(module, name)
        assert not name.startswith("_")
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name


def test_the_prompts_list_themselves_alone() -> None:
    names = dir(keras_pg2.prompts)
    assert {"caption", "detect", "ocr"} <= set(names)
    for name in names:
        value = getattr(keras_pg2.prompts, name)
        assert inspect.isfunction(value), name
        assert value.__module__ == keras_pg2.prompts.__name__, name


def test_importing_the_package_imports_neither_keras_nor_a_backend() -> None:
    heavy = "{'keras', 'keras_hub', 'jax', 'torch', 'tensorflow', 'numpy', 'PIL'}"
    code = f"import keras_pg2, sys; print(sorted({heavy} & set(sys.modules)))"
    assert run(code) == "[]"


@pytest.mark.parametrize(
    "imports",
    [
        "import keras_pg2, keras",
        "import keras_pg2, keras_hub, keras",
        "from keras_pg2.modeling import SigLIPEncoder; import keras",
    ],
)
def test_classes_are_registered_in_any_order_of_imports(imports: str) -> None:
    code = "from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer as T\n"
    code += f"print({REGISTERED}, T.from_preset('pali_gemma2_nano').separator_id)"
    found = run(f"{imports}\n{code}")
    assert "PaliGemma2CausalLM" in found
    assert found.endswith(" 4")


def test_classes_are_registered_where_keras_was_there_first() -> None:
    # tests/conftest.py imports Keras before the package.
    registered = keras.saving.get_registered_object("keras_pg2>PaliGemma2CausalLM")
    assert registered is keras_pg2.PaliGemma2CausalLM


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        (["keras"], "the package keras, which is not installed. Run: pip install"),
        (["keras_hub"], "the package keras-hub, which is not installed. Run: pip"),
    ],
)
def test_a_missing_package_is_told_at_the_first_name(packages, message) -> None:
    start = without(*packages)
    assert message in run(f"{start}import keras_pg2\nkeras_pg2.PaliGemma2CausalLM")
    code = "from keras_pg2.deploy import LiteRTModel\nprint(LiteRTModel.__name__)"
    assert run(start + code) == "LiteRTModel"


WITHOUT_HOME = """
import os, pwd
for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
def no_entry(uid):
    raise KeyError(uid)
pwd.getpwuid = no_entry
"""
"""Code after which the user is one of a container: a number without a home."""


@pytest.mark.parametrize(
    "use",
    [
        "keras_pg2.PaliGemma2CausalLM",
        "keras_pg2.open_checkpoint('~/model')",
        "from keras_pg2.catalogue.download import download\n"
        "download('hf://someone/model')",
        "from keras_pg2.catalogue.download import download\n"
        "download('kaggle://a/b/c/d')",
    ],
)
def test_a_user_without_a_home_is_told_what_to_set(use: str, tmp_path: Path) -> None:
    told = run(f"{WITHOUT_HOME}\nimport keras_pg2\n{use}", HF_HUB_OFFLINE="1")
    expected = "at ~/model, where nothing is" if "~" in use else "variable HOME to"
    assert expected in told


def test_a_missing_backend_is_told_at_the_first_name() -> None:
    code = "import keras_pg2\nkeras_pg2.PaliGemma2CausalLM"
    found = run(code, KERAS_BACKEND="theano")
    assert "Expected KERAS_BACKEND to be one of jax, torch, tensorflow" in found
    code_without = "from keras_pg2.catalogue import download; print(download.__name__)"
    assert run(code_without, KERAS_BACKEND="theano") == "keras_pg2.catalogue.download"
    found = run(without("jax") + code, KERAS_BACKEND="jax")
    assert "the package jax for the backend of that name" in found
    found = run(without("jax", "torch", "tensorflow") + code, KERAS_BACKEND="")
    assert "Expected a backend for Keras" in found


@pytest.mark.parametrize(
    ("configured", "missing", "backend"),
    [
        (None, [], "jax"),
        # Keras itself writes it there, whatever a user wants.
        ("tensorflow", [], "jax"),
        ("torch", [], "torch"),
        (None, ["jax"], "torch"),
    ],
)
def test_python_and_the_command_choose_the_same_backend(
    configured: str | None, missing: list[str], backend: str, tmp_path: Path
) -> None:
    if configured:
        (tmp_path / "keras.json").write_text(f'{{"backend": "{configured}"}}')
    start = without(*missing)
    home = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": ""}
    code = "import os, keras_pg2; print(os.environ['KERAS_BACKEND'])"
    assert run(start + code, **home) == backend
    code = "from keras_pg2.start.backends import use_backend; print(use_backend(None))"
    assert run(start + code, **home) == backend


def test_the_command_is_a_module_and_a_script_of_its_name_is_none(tmp_path) -> None:
    command = [sys.executable, "-m", "keras_pg2", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("keras-pg2 ")
    script = tmp_path / "keras-pg2.py"
    script.write_text("import keras_pg2\nprint(keras_pg2.Detections.__name__)")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "Detections"
