"""Picture files by the names that data files have for them."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections import defaultdict
from pathlib import Path

from keras_pg2.datasets.checks import check_text
from keras_pg2.preprocessing.image_files import check_image_file, is_address

_MOST_NAMES = 1000
"""Files of a folder that are compared with a wrong name: more would take too long."""


class ImageFinder:
    """Finds picture files below a folder, each checked once.

    Names may have backslashes, other capital letters, or accents in the other form of
    Unicode than the files, as names from Windows and macOS do, so long as they mean one
    file alone.

    Args:
        folder: what relative paths are relative to.

    Raises:
        FileNotFoundError: if there is no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.expanduser(folder))
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"Expected a folder of pictures, but {str(folder)!r} is none. Pass the "
                "folder that the paths in the file are relative to, as image_folder "
                "(--image-folder)."
            )
        self._paths: dict[str, str] = {}
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, value: object, key: str) -> str:
        """Return the path of a picture.

        Args:
            value: what the data file has.
            key: where it has it, for errors.

        Raises:
            ValueError: if the value is not a path.
            FileNotFoundError, PermissionError: if there is no such file, or it may not
                be read; names the file that is nearest.
        """
        text = check_text(value, key)
        if text not in self._paths:
            self._paths[text] = self._find(text)
        return self._paths[text]

    def _find(self, text: str) -> str:
        if is_address(text):
            check_image_file(text)
            return text
        # An absolute path stays as it is.
        path = self.folder / os.path.expanduser(text)
        if not os.path.lexists(path):
            path = self._find_alike(text) or path
        try:
            check_image_file(path)
        except FileNotFoundError as error:
            near = self._find_near(text)
            raise FileNotFoundError(
                f"{error} Did you mean {str(near)!r}?" if near else str(error)
            ) from error
        return str(path)

    def _find_alike(self, text: str) -> Path | None:
        """Return the one file whose name differs only in how it is written."""
        path = Path(os.path.expanduser(text.replace("\\", "/")))
        found = Path(path.anchor) if path.is_absolute() else self.folder
        for part in path.parts[1:] if path.is_absolute() else path.parts:
            if part == ".." or os.path.lexists(found / part):
                found = found / part
                continue
            names = self._names_of(found).get(_plain(part), [])
            if len(names) != 1:
                return None
            found = found / names[0]
        return found

    def _find_near(self, text: str) -> Path | None:
        """Return a file that may be meant, for an error."""
        path = Path(os.path.expanduser(text.replace("\\", "/")))
        for folder in dict.fromkeys([self.folder / path.parent, self.folder]):
            names = self._names_of(folder)
            found = [_plain(path.name)] if _plain(path.name) in names else []
            if not found and len(names) <= _MOST_NAMES:
                found = difflib.get_close_matches(_plain(path.name), names, 1)
            if found:
                return folder / names[found[0]][0]
        return None

    def _names_of(self, folder: Path) -> dict[str, list[str]]:
        """Return the names in a folder by their plain forms; none if there is none."""
        if folder not in self._names:
            names = defaultdict(list)
            try:
                for name in sorted(os.listdir(folder)):
                    names[_plain(name)].append(name)
            except (OSError, ValueError):
                pass
            self._names[folder] = dict(names)
        return self._names[folder]


def _plain(name: str) -> str:
    """Return a name in small letters, letters and their accents in one character."""
    composed = unicodedata.normalize("NFC", name)
    return unicodedata.normalize("NFC", composed.casefold())
