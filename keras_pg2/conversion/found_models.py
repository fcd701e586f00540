"""What a user's word for a model stands for, in one place for Python and the commands.

It may be a checkpoint of any format, the folder of a fine-tuning run, an adapter that
knows its base, or files that were exported for another runtime. Nothing is opened here
but the small files that say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keras_pg2.catalogue.names import NANO_ALIAS, is_name, short_name
from keras_pg2.conversion.adapters.opening import (
    adapter_name,
    base_name,
    find_adapter,
    is_adapter,
    with_adapter,
)
from keras_pg2.conversion.adapters.runs import RunFolder, read_run, run_around
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.files.user_paths import user_path
from keras_pg2.files.whole_files import readable


@dataclass(frozen=True)
class Runtime:
    """What runs exported files.

    Attributes:
        name: What users call it.
        marker: Name of a file that a directory for it has; an ending for files alone.
        how: How such files are run in Python, or by others.
    """

    name: str
    marker: str
    how: str


RUNTIMES = (
    Runtime("LiteRT", "litert.json", "keras_pg2.deploy.LiteRTModel({path!r})"),
    Runtime("ONNX", "onnx.json", "keras_pg2.deploy.ONNXModel({path!r})"),
    Runtime("SavedModel", "saved_model.pb", "tf.saved_model.load({path!r})"),
    Runtime("LiteRT-LM", ".litertlm", "LiteRT-LM's own programs"),
)


@dataclass(frozen=True)
class ExportedFiles:
    """A model that was exported for another runtime.

    Attributes:
        path: The directory or file.
        runtime: What runs it.
    """

    path: Path
    runtime: Runtime

    @property
    def title(self) -> str:
        """What it is called."""
        return str(self.path)

    def how_to_run(self) -> str:
        """Return what to call in Python."""
        return self.runtime.how.format(path=str(self.path))


@dataclass(frozen=True)
class FoundModel:
    """A checkpoint, and the adapters that go on it.

    Attributes:
        title: What the user called it.
        base: Name, URI or path of the checkpoint, as `locate` takes it.
        adapters: Each for the weights into which those before it are merged.
    """

    title: str
    base: str | Path
    adapters: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """What its weights are called in records, without folders."""
        return _with(short_name(self.base), map(adapter_name, self.adapters))

    def apart(self) -> tuple[FoundModel, Path | None]:
        """Return what the last adapter is for, and that adapter; None without one."""
        if not self.adapters:
            return self, None
        *others, last = self.adapters
        title = _with(str(self.base), others)
        return FoundModel(title, self.base, tuple(others)), last


def find_model(
    model: str | Path | FoundModel | ExportedFiles | None,
    adapters: Sequence[str | Path] = (),
) -> FoundModel | ExportedFiles:
    """Return what a word for a model stands for.

    Args:
        model: Name of a preset, a URI, a directory or a file: a checkpoint, the folder
            of a run, an adapter, or exported files; None for the base of the first
            adapter, or without one for the bundled model. What this function has
            returned is returned as it is.
        adapters: Adapters that go on it, in the order in which they were trained.

    Raises:
        FileNotFoundError: if there is no adapter of a path.
        ValueError: if a run has not ended, nothing says where the base of an adapter
            is, or adapters are given for exported files.
    """
    if isinstance(model, FoundModel | ExportedFiles):
        return model
    given = tuple(map(find_adapter, adapters))
    if model is None:
        found = _of_adapter(given[0]) if given else FoundModel(NANO_ALIAS, NANO_ALIAS)
        others = given[1:]
    else:
        opened = _of_word(model)
        if isinstance(opened, ExportedFiles):
            if given:
                raise ValueError(
                    "Expected adapters (--adapter) on a checkpoint. Received: "
                    f"{opened.path}, an exported model. Export it with its adapter "
                    "(keras-pg2 export --adapter)."
                )
            return opened
        found, others = opened, given
    if not given:
        return found
    title = _with(str(found.base) if model is None else found.title, adapters)
    return replace(found, title=title, adapters=(*found.adapters, *others))


def find_checkpoint(
    model: str | Path | FoundModel | None, adapters: Sequence[str | Path] = ()
) -> FoundModel:
    """Return what a word for a model stands for, where weights are needed.

    Raises:
        FileNotFoundError, ValueError: as `find_model`; ValueError for exported files.
    """
    found = find_model(model, adapters)
    if isinstance(found, ExportedFiles):
        raise ValueError(
            "Expected a checkpoint, the folder of a run or an adapter, whose weights "
            f"can be read. Received: {found.path}, exported for {found.runtime.name}. "
            f"Take what it was exported from; in Python it is run by "
            f"{found.how_to_run()}."
        )
    return found


def open_found(
    found: FoundModel, path: Path, tokenizer: str | Path | None = None
) -> Checkpoint:
    """Open a checkpoint into whose kernels the adapters are merged as they are read.

    Args:
        found: What was found.
        path: Where its base is on this machine, as `locate` returns it.
        tokenizer: As for `open_checkpoint`.

    Raises:
        FileNotFoundError, ValueError: as `open_checkpoint` and `with_adapter`.
    """
    checkpoint = open_checkpoint(path, tokenizer)
    for adapter in found.adapters:
        checkpoint = with_adapter(checkpoint, adapter)
    return checkpoint


def find_exported(path: Path) -> ExportedFiles | None:
    """Return the exported model of a path; None if it is something else."""
    for runtime in RUNTIMES:
        if runtime.marker.startswith("."):
            is_one = path.suffix.lower() == runtime.marker and path.is_file()
        else:
            is_one = (path / runtime.marker).is_file()
        if is_one:
            return ExportedFiles(path, runtime)
    return None


def _with(name: str, adapters: Iterable[object]) -> str:
    """Return the name of a model with adapters."""
    names = " and ".join(map(str, adapters))
    return f"{name} with {names}" if names else name


def _of_word(word: str | Path) -> FoundModel | ExportedFiles:
    whole = FoundModel(str(word), word)
    path = find_path(word)
    if path is None:
        return whole
    exported = find_exported(path)
    if exported is not None:
        return exported
    run = read_run(path)
    if run is not None:
        return replace(_of_run(run), title=str(word))
    if is_adapter(path):
        return replace(_of_adapter(find_adapter(path)), title=str(word))
    return whole


def find_path(word: str | Path) -> Path | None:
    """Return the path of a word that is no name of a preset, if something is there."""
    if is_name(word):
        return None
    try:
        path = readable(user_path(word))
        return path if path.exists() else None
    except (OSError, TypeError, ValueError):  # No path at all.
        return None


def _of_run(run: RunFolder) -> FoundModel:
    result = run.result()
    if not run.trains_lora:
        return FoundModel(str(run.path), result)
    return _on_base(run, result)


def _of_adapter(path: Path) -> FoundModel:
    """Return an adapter on the base that it knows."""
    run = run_around(path)
    if run is not None and run.trains_lora:
        return _on_base(run, path)
    name = base_name(path)
    return FoundModel(str(path), _find_base((path,), name), (path,))


def _on_base(run: RunFolder, adapter: Path) -> FoundModel:
    names = (run.base_path, "" if run.base_adapters else run.base_name)
    before = run.base_adapters
    base = _find_base((*before, adapter), *names)
    gone = [path for path in before if not path.exists()]
    if gone:
        raise FileNotFoundError(
            f"Expected the adapter at {gone[0]}, on whose result the run {run.path} "
            "was trained. There is none. Say where it is: "
            f"{_by_hand(base, (*before, adapter))}."
        )
    return FoundModel(str(run.path), base, (*map(find_adapter, before), adapter))


def _by_hand(base: object, adapters: Iterable[Path]) -> str:
    """Return how a user names a base and adapters."""
    return f"--preset {base}" + "".join(f" --adapter {path}" for path in adapters)


def _find_base(adapters: Sequence[Path], *names: str) -> str | Path:
    """Return the first of some names that stands for the model of adapters."""
    for name in filter(None, names):
        if is_name(name) or "://" in name or find_path(name) is not None:
            return name
    known = [repr(name) for name in names if name]
    said = f"which calls it {' and '.join(known)}" if known else "which does not tell"
    raise ValueError(
        f"Expected the base of the adapter {adapters[-1]}, {said}, as the name of a "
        "preset or a path that is there. Received: neither. Say where it is: "
        f"{_by_hand('BASE', adapters)} (convert, export and info take BASE as their "
        "first argument); in Python from_preset(BASE), then adapters.load."
    )
