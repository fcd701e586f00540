"""What the rooms' tests share."""

from __future__ import annotations

import gc
import mmap
import os
import signal
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import keras
import pytest

from keras_pg2.modeling import PaliGemma2Backbone
from tests.support.tiny_networks import random_backbone

TESTS = Path(__file__).parent

# What a shell starts in the background ignores these, and so would what tests start.
SIGNALS = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
for name, handler in SIGNALS.items():
    kind = getattr(signal, name, None)  # Windows has no SIGHUP.
    if kind is not None and signal.getsignal(kind) == signal.SIG_IGN:
        signal.signal(kind, handler)

ONE_BACKEND = {
    "catalogue": "names, sizes and downloads",
    "checks": "arguments, before anything is computed",
    "cli": "what ends a command",
    "codecs": "text, and arrays of NumPy",
    "conversion": "files, and arrays of NumPy",
    "datasets": "files of annotations, and pictures of Pillow",
    "deploy/comparison": "arrays of NumPy",
    "deploy/litert": "files are written from weights, and run without Keras",
    "deploy/onnx": "files are written from weights, and run without Keras",
    "evaluation": "examples, answers and files; what a network computes is marked",
    "files": "what is written to a disk",
    "finetuning/test_command": "words of a command, and what they set",
    "finetuning/test_data_files": "files of annotations",
    "finetuning/test_splitting": "names of files, and pictures of Pillow",
    "finetuning/test_plan": "settings, before anything is computed",
    "fuzz": "files, in processes of their own",
    "generation/test_answer_trees": "arrays of NumPy",
    "generation/recording": "steps are recorded on PyTorch alone",
    "keras_hub_conventions/test_notebook_calls": "calls that the files beside test",
    "metrics": "arrays of NumPy",
    "preprocessing": "pictures of Pillow, text of SentencePiece",
    "recipes": "a table",
    "tasks/adapters/test_registry": "which adapter is whose, and its file",
    "tasks/answering/test_answers": "text of tokens",
    "tasks/answering/test_detecting": "prompts, and the reading of answers",
    "tasks/deciding/test_calibration": "arrays of NumPy",
    "tasks/deciding/test_captions": "texts, and what test_deciding asks on all",
    "tasks/deciding/test_questions": "words, before anything is computed",
    "tasks/loading": "files and options; test_causal_lm loads on each backend",
    "tasks/answering/test_predictions": "rows, records and what ends them",
    "tasks/test_exporting": "words of errors, and files",
    "tasks/test_kept_state": "what a file has; single ways run on all backends",
    "tasks/test_torch_module": "PyTorch alone has modules",
    "test_cli": "words of commands, and what they print",
    "test_documentation": "pages, and what they call is tested on all backends",
    "test_garbage_collection": "Python's collector",
    "test_layout": "sources",
    "test_public_face": "names, and processes that choose their own backend",
    "test_printing": "what is printed and written in cards",
    "test_presets": "files, and the sizes of networks without memory",
    "test_train_benchmark": "a script",
}
"""Tests of what no backend can change, and what that is; PyTorch alone runs them.

A test inside that goes through a backend's own arrays is marked `every_backend`.
"""

NEEDS_TENSORFLOW = {
    "deploy/litert": "TensorFlow Lite's converter writes the files",
    "deploy/saved_model": "TensorFlow writes the files",
    "test_cli_export": "the command asks first whether the converters are there",
}
"""Modules collected only where TensorFlow is installed, and why.

So are single tests marked `needs_tensorflow` and those that use the fixture `tf`.
"""

WITHOUT_TENSORFLOW = {"test_without_tensorflow": "it is told not to be there"}
"""Modules collected only where TensorFlow is not installed, and why."""

HAS_TENSORFLOW = find_spec("tensorflow") is not None

MOST_MAPPINGS = 25_000
"""Memory mappings of the process before JAX's programs go."""
MOST_MEMORY = 2.5e9
"""Resident bytes before they go."""


def is_in(table: dict[str, str], path: Path) -> bool:
    return path.relative_to(TESTS).as_posix().startswith(tuple(table))


def pytest_report_header() -> str:
    """Say what this environment has, as it decides what is collected."""
    found = "is" if HAS_TENSORFLOW else "is not"
    return f"backend: {keras.backend.backend()}; TensorFlow {found} installed"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out modules that this environment cannot import."""
    table = WITHOUT_TENSORFLOW if HAS_TENSORFLOW else NEEDS_TENSORFLOW
    return True if is_in(table, collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Mark tests by the tables above; leave out those that need TensorFlow."""
    for item in items:
        if is_in(ONE_BACKEND, item.path) and not item.get_closest_marker(
            "every_backend"
        ):
            item.add_marker("one_backend")
        if is_in(NEEDS_TENSORFLOW, item.path) or "tf" in item.fixturenames:
            item.add_marker("needs_tensorflow")
    if not HAS_TENSORFLOW:
        left_out = [i for i in items if i.get_closest_marker("needs_tensorflow")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(scope="session")
def tf() -> ModuleType:
    """TensorFlow, for tests of what runs inside `tf.data`."""
    import tensorflow

    return tensorflow


@pytest.fixture(autouse=True)
def eager_functions(request: pytest.FixtureRequest):
    """Run what TensorFlow would compile as it stands, in tests marked `eager`.

    A training step that is run a few times takes a tenth of the time so. Steps are
    compiled in tests/tasks/training, tests/tasks/test_quantizing and in a whole run of
    tests/finetuning.
    """
    is_eager = request.node.get_closest_marker("eager") is not None
    if not is_eager or keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    with warnings.catch_warnings():
        # Functions of tf.data, such as reads a generator, are compiled all the same.
        warnings.filterwarnings("ignore", "Even though the `tf.config")
        yield
    tensorflow.config.run_functions_eagerly(False)


@pytest.fixture(scope="session", autouse=True)
def peak_memory(record_testsuite_property: Callable[[str, object], None]):
    """Note the most memory that the process has held, in GB, in JUnit's file."""
    yield
    if find_spec("resource"):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        record_testsuite_property("peak_memory_gb", round(peak, 2))


@pytest.fixture(scope="session")
def backbone() -> PaliGemma2Backbone:
    return random_backbone()


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the preset `base` beside it; not to be changed."""
    from tests.support.finetuning_runs import make_run

    return make_run(tmp_path_factory.mktemp("trained"))


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
    if keras.backend.backend() == "jax" and is_process_full():
        import jax

        gc.collect()
        jax.clear_caches()


def is_process_full() -> bool:
    """Return whether programs take too much of this process; Linux alone tells."""
    process = Path("/proc/self")
    if not process.exists():
        return False
    resident = int((process / "statm").read_text().split()[1]) * mmap.PAGESIZE
    mappings = (process / "maps").read_text().count("\n")
    return resident > MOST_MEMORY or mappings > MOST_MAPPINGS
