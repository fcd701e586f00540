"""How classes of lower rooms reach what loads and writes them.

Checkpoints are opened in `tasks/loading/`, above the network and the preprocessor whose
`from_preset` users call. `tasks/loading/registration.py` gives that room's functions to
`provide` when the task's module is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from keras_pg2.start.registration import CLASSES


@dataclass(frozen=True)
class PresetLoading:
    """The functions by which classes are loaded.

    A preset is a name, URI, directory or file; `cls` is the class that is loaded, ours
    or one derived from it.

    Attributes:
        list_presets: `() ->` what `presets` of a class is.
        find_own_files: `(preset, needs_vocabulary) ->` a directory in the layout of
            ours with all but the weights, which KerasHub reads; None for other formats.
        load_backbone: `(cls, preset, load_weights, **options) ->` a network.
        load_preprocessor: `(cls, preset, **options) ->` one of another format.
        load_tokenizer: `(cls, preset, **options) ->` one of another format.
        load_image_converter: `(cls, preset, **options) ->` one of another format.
        export_backbone: `(backbone, path)` writes a directory of transformers.
        export_tokenizer: `(path, proto)` writes the tokenizer of one.
    """

    list_presets: Callable[[], dict[str, dict[str, Any]]]
    find_own_files: Callable[..., str | None]
    load_backbone: Callable[..., Any]
    load_preprocessor: Callable[..., Any]
    load_tokenizer: Callable[..., Any]
    load_image_converter: Callable[..., Any]
    export_backbone: Callable[..., Any]
    export_tokenizer: Callable[..., Any]

    def load_part(
        self,
        preset: str | Path,
        from_directory: Callable[[str], Any],
        from_other: Callable[[], Any],
        needs_vocabulary: bool = True,
    ) -> Any:
        """Return a part of a preset, read by KerasHub where the layout is ours.

        Args:
            preset: Name, URI, directory or file.
            from_directory: Reads the part from a directory of ours.
            from_other: Builds it from files of another format.
            needs_vocabulary: Whether the part has one.

        Raises:
            ValueError: if a configuration of ours does not name its class.
        """
        directory = self.find_own_files(preset, needs_vocabulary)
        if directory is None:
            return from_other()
        part = from_directory(directory)
        if isinstance(part, dict):  # As Keras gives it back.
            raise ValueError(
                "Expected the class_name of each part in the configurations of "
                f"{directory}. Received one without. Save the preset again."
            )
        return part


_provided: list[PresetLoading] = []


def provide(loading: PresetLoading) -> None:
    """Take the functions for all classes."""
    _provided[:] = [loading]


def preset_loading() -> PresetLoading:
    """Return the functions, which `keras_pg2.tasks` provides."""
    if not _provided:
        import_module(CLASSES)
    return _provided[0]


class PresetNames:
    """`presets` of a class: the presets that its `from_preset` takes, by name."""

    def __get__(self, instance: Any, owner: type | None = None) -> dict[str, Any]:
        return preset_loading().list_presets()
