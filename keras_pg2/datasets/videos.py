"""Frames of videos as pictures, decoded when they are asked for (extra `video`).

    clip = Clip("video0.mp4", num_frames=16, stride=9)
    model.generate({"images": list(clip.frames), "prompts": "caption en"})

The papers' own reader of videos is not public (big_vision `configs/proj/paligemma/
transfers/msrvtt_cap.py`). What is known of it: frames are taken `stride` apart; in
evaluation from the first frame on; those of a shorter video are repeated from its first
until there are enough (`pp/proj/paligemma/video.py`). "centre" takes the window in the
middle, as the published DMVR does where nothing is drawn by chance
(google-deepmind/dmvr, `dmvr/processors.py`, `sample_sequence`).
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from keras_pg2.checks.packages import import_packages
from keras_pg2.checks.texts import printable

Window = Literal["first", "centre"]
ENDINGS = (".mp4", ".avi", ".webm", ".mkv", ".mov")
"""Endings of videos' names, as data sets have them."""


class _Latest(threading.local):
    """The clip that a thread has asked for last, with its frames."""

    clip: Clip | None = None
    frames: tuple[np.ndarray, ...] = ()


_latest = _Latest()


@dataclass(frozen=True)
class Clip:
    """A part of a video, and which of its frames are taken.

    Attributes:
        path: Path of the video.
        num_frames: Frames that are taken.
        stride: Frames from one taken to the next.
        window: Which frame is the first: of the part ("first"), or that with which the
            taken ones are in its middle ("centre").
        start: Beginning of the part in seconds.
        end: End of the part in seconds; None for that of the video.

    Raises:
        ValueError: if a number is out of range, or the window is unknown.
    """

    path: str
    num_frames: int
    stride: int = 1
    window: Window = "first"
    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.stride < 1:
            raise ValueError(
                "Expected num_frames >= 1 and stride >= 1, received "
                f"{self.num_frames} and {self.stride}."
            )
        if self.window not in get_args(Window):
            raise ValueError(
                f"Expected window to be 'first' or 'centre', received {self.window!r}."
            )
        if self.start < 0 or (self.end is not None and self.end < self.start):
            raise ValueError(
                "Expected a part that ends after its start, received "
                f"{self.start} to {self.end} seconds of {self.path}."
            )

    @property
    def frames(self) -> tuple[VideoFrame, ...]:
        """The frames, none of which is decoded yet."""
        return tuple(VideoFrame(self, index) for index in range(self.num_frames))

    def decode(self) -> tuple[np.ndarray, ...]:
        """Return `num_frames` times uint8[H, W, 3].

        Raises:
            ImportError: if PyAV is not installed.
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a video or damaged, or the part has no frame.
        """
        av = import_av()
        if not Path(self.path).is_file():
            raise FileNotFoundError(
                f"Expected a video at {self.path!r}, which is not there."
            )
        try:
            found = list(self._taken(av))
        except (av.error.FFmpegError, IndexError) as error:
            raise ValueError(
                f"Expected a video that PyAV can decode, but {self.path!r} is not one "
                f"or is damaged: {printable(error)}."
            ) from error
        if not found:
            raise ValueError(
                f"Expected a frame of {self.path!r} from {self.start} seconds on, "
                "found none."
            )
        return tuple(found[i % len(found)] for i in range(self.num_frames))

    def _taken(self, av: ModuleType) -> Iterator[np.ndarray]:
        """Give the frames that there are, at most `num_frames`."""
        first = 0
        if self.window == "centre":
            count = sum(1 for _ in self._in_part(av))
            first = max(0, (count - self.num_frames * self.stride) // 2)
        last = first + (self.num_frames - 1) * self.stride
        for index, frame in enumerate(self._in_part(av)):
            if index >= first and (index - first) % self.stride == 0:
                yield frame.to_ndarray(format="rgb24")
            if index == last:
                return

    def _in_part(self, av: ModuleType) -> Iterator[Any]:
        """Give the decoded frames of the part."""
        with av.open(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if self.start > 0 and stream.time_base:
                # To the key frame before.
                container.seek(int(self.start / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                time = 0.0 if frame.time is None else frame.time
                if self.end is not None and time > self.end:
                    return
                if time >= self.start:
                    yield frame


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a clip, read as a file object is.

    A thread keeps the frames of the clip that it has read last, so that those of one
    clip are decoded together; no others are kept.

    Attributes:
        clip: The clip.
        index: Which of its frames, from 0.
    """

    clip: Clip
    index: int

    @property
    def name(self) -> str:
        """What messages and records call it; no other frame of a video has it."""
        clip = self.clip
        part = (
            "" if not clip.start and clip.end is None else f"{clip.start}-{clip.end},"
        )
        return f"{clip.path}#{part}{clip.window}+{self.index * clip.stride}"

    def read(self) -> bytes:
        """Return the frame as the content of a BMP file.

        Raises:
            ImportError, FileNotFoundError, ValueError: as `Clip.decode`.
        """
        if _latest.clip != self.clip:
            _latest.frames = self.clip.decode()
            _latest.clip = self.clip
        content = io.BytesIO()
        Image.fromarray(_latest.frames[self.index]).save(content, "BMP")
        return content.getvalue()


def import_av() -> ModuleType:
    """Return PyAV.

    Raises:
        ImportError: if it is not installed.
    """
    advice = "Videos are decoded by PyAV. Run: pip install 'keras-pg2[video]'"
    return import_packages("av", advice=advice)[0]
