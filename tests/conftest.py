"""What the rooms' tests share."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import keras
import pytest

from keras_pg2.modeling import PaliGemma2Backbone
from tests.tiny_networks import random_backbone

ONE_BACKEND = {
    "catalogue": "names, sizes and downloads",
    "checks": "arguments, before anything is computed",
    "codecs": "text, and arrays of NumPy",
    "conversion": "files, and arrays of NumPy",
    "datasets": "files of annotations, and pictures of Pillow",
    "deploy/comparison": "arrays of NumPy",
    "deploy/litert": "files are written from weights, and run without Keras",
    "deploy/onnx": "files are written from weights, and run without Keras",
    "files": "what is written to a disk",
    "finetuning/test_command": "words of a command, and what they set",
    "finetuning/test_data_files": "files of annotations",
    "finetuning/test_evaluation": "metrics of texts",
    "finetuning/test_plan": "settings, before anything is computed",
    "generation/recording": "steps are recorded on PyTorch alone",
    "metrics": "arrays of NumPy",
    "preprocessing": "pictures of Pillow, text of SentencePiece",
    "recipes": "a table",
    "tasks/adapters/test_registry": "which adapter is whose, and its file",
    "tasks/answering/test_answers": "text of tokens",
    "tasks/answering/test_detecting": "prompts, and the reading of answers",
    "tasks/answering/test_detection_scores": "arrays of NumPy",
    "tasks/answering/test_predictions": "rows, records and what ends them",
    "tasks/test_exporting": "words of errors, and files",
    "tasks/test_torch_module": "PyTorch alone has modules",
    "test_cli": "words of commands, and what they print",
    "test_garbage_collection": "Python's collector",
    "test_layout": "sources",
    "test_train_benchmark": "a script",
}
"""Tests of what no backend can change, and what that is; PyTorch alone runs them.

A test inside that goes through a backend's own arrays is marked `every_backend`.
"""

MOST_MAPPINGS = 25_000
"""Memory mappings of the process before JAX's programs go."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need one backend, for `-m "not one_backend"`."""
    for item in items:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        is_listed = path.startswith(tuple(ONE_BACKEND))
        if is_listed and item.get_closest_marker("every_backend") is None:
            item.add_marker("one_backend")


@pytest.fixture(scope="session")
def backbone() -> PaliGemma2Backbone:
    return random_backbone()


@pytest.fixture(autouse=True)
def float32_policy():
    """No test leaves another dtype policy behind."""
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session", autouse=True)
def compiled_on_disk(tmp_path_factory):
    """What JAX compiles is kept for this run alone, also by processes it starts.

    JAX writes an entry in one go, reads what a killed process left of one with a
    warning, and never writes it anew.
    """
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    folder = str(tmp_path_factory.mktemp("jax"))
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "JAX_COMPILATION_CACHE_DIR", folder)
        yield


@pytest.fixture(scope="module", autouse=True)
def garbage_and_programs():
    """Hide what was imported from the garbage collector, and let JAX's programs go.

    Keras collects for every kernel that it quantizes, and TensorFlow and transformers
    are many objects. A compiled program takes several memory mappings of the process,
    of which Linux allows 65,530; XLA ends with a segmentation fault where there are no
    more. Its caches are cleared well before, as all is traced again afterwards.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
    yield
    mappings = Path("/proc/self/maps")
    is_jax = keras.backend.backend() == "jax" and mappings.exists()
    if is_jax and mappings.read_text().count("\n") > MOST_MAPPINGS:
        import jax

        gc.collect()
        jax.clear_caches()
