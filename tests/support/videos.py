"""Small videos whose frames say which they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STEP = 8
"""Levels from one frame to the next."""
FRAMES_PER_SECOND = 10


def write_video(path: Path, num_frames: int) -> Path:
    """Write a video of gray frames, the level of each its index times `STEP`."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        stream.gop_size = 6  # So that a part does not begin at a key frame.
        for index in range(num_frames):
            levels = np.full((16, 32, 3), index * STEP, np.uint8)
            frame = av.VideoFrame.from_ndarray(levels, format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def indices(frames: list[np.ndarray]) -> list[int]:
    """Return which frame of such a video each is."""
    return [round(float(frame.mean()) / STEP) for frame in frames]
