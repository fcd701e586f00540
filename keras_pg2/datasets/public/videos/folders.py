"""Videos of a data set, and which of their frames a model is shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from keras_pg2.datasets.checks import OnBad
from keras_pg2.datasets.public.examples import Examples
from keras_pg2.datasets.public.published_files import Pictures
from keras_pg2.datasets.videos import ENDINGS, Clip, VideoFrame, Window, import_av
from keras_pg2.recipes.transfers import TASKS


@dataclass(frozen=True)
class Frames:
    """Which frames of a video are taken.

    Attributes:
        num_frames: How many.
        stride: Frames from one to the next.
        window: As for `Clip`.
    """

    num_frames: int
    stride: int
    window: Window = "first"

    @classmethod
    def of_recipe(
        cls, recipe: str, num_frames: int | None, stride: int | None, window: Window
    ) -> Frames:
        """Return what is asked for, with the recipe's number and stride for None."""
        task = TASKS[recipe]
        return cls(
            num_frames=task.num_images if num_frames is None else num_frames,
            stride=(task.frame_stride or 1) if stride is None else stride,
            window=window,
        )


class Videos:
    """Video files in folders of a directory, found by their names without endings.

    Args:
        frames: Which frames are taken.
        directory: The directory of the data set.
        folders: Folders below it, as versions of the data set have them.

    Raises:
        ImportError: if PyAV is not installed.
        FileNotFoundError: if none of the folders is there; says what is.
    """

    def __init__(self, frames: Frames, directory: Path, *folders: str) -> None:
        import_av()
        Clip("", frames.num_frames, frames.stride, frames.window)  # Checks the numbers.
        Pictures(directory, *folders)
        self._frames = frames
        self._folders = [str(directory / name) for name in folders]
        self._paths = {
            path.stem: path
            for name in reversed(folders)
            if (directory / name).is_dir()
            for path in (directory / name).iterdir()
            if path.suffix.lower() in ENDINGS
        }

    def find(
        self, *stems: str, start: float = 0.0, end: float | None = None
    ) -> tuple[VideoFrame, ...]:
        """Return the frames of a video, none of them decoded.

        Args:
            stems: Its name without ending; several where versions name it differently.
            start: Beginning of the part in seconds.
            end: End of the part in seconds; None for that of the video.

        Raises:
            FileNotFoundError, PermissionError: if there is no such file, or it may not
                be read.
            ValueError: if the part ends before its start.
        """
        for stem in stems:
            path = self._paths.get(stem)
            if path is not None:
                if not os.access(path, os.R_OK):
                    raise PermissionError(f"expected to read {path}, but may not.")
                frames = self._frames
                return Clip(
                    path=str(path),
                    num_frames=frames.num_frames,
                    stride=frames.stride,
                    window=frames.window,
                    start=start,
                    end=end,
                ).frames
        raise FileNotFoundError(
            f"expected a video {' or '.join(stems)} ({', '.join(ENDINGS)}) in "
            f"{' or '.join(self._folders)}, which does not exist."
        )


ReadVideos: TypeAlias = Callable[[Path, str, OnBad, Videos], Examples]
"""Reads a split of a directory whose videos are found already."""


def reader_of(
    recipe: str, folders_of: Callable[[str], tuple[str, ...]], read: ReadVideos
) -> Callable[..., Examples]:
    """Return a reader with the options of all data sets of videos.

    Args:
        recipe: The recipe whose frames are taken where no options are given.
        folders_of: Returns the folders of a split's videos.
        read: Reads the files beside the videos.
    """

    def read_split(
        directory: Path,
        split: str,
        on_bad: OnBad = "raise",
        num_frames: int | None = None,
        frame_stride: int | None = None,
        window: Window = "first",
    ) -> Examples:
        frames = Frames.of_recipe(recipe, num_frames, frame_stride, window)
        videos = Videos(frames, directory, *folders_of(split))
        return read(directory, split, on_bad, videos)

    return read_split


def msrvtt_folders(split: str) -> tuple[str, ...]:
    """Return where MSR-VTT's videos of a split are, as versions have them."""
    own = "TestVideo" if split == "test" else "TrainValVideo"
    return (own, "videos", "videos/all", "")


def activitynet_folders(split: str) -> tuple[str, ...]:
    """Return where ActivityNet's videos of a split are, as versions have them."""
    return ("videos", f"videos/{split}", split, "")
