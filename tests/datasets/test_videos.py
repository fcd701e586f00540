from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_pg2.datasets import videos
from keras_pg2.datasets.videos import Clip, import_av
from keras_pg2.preprocessing.examples import normalize_examples, num_pictures
from keras_pg2.preprocessing.image_sources import source_name
from keras_pg2.preprocessing.images import load_rgb
from tests.support.videos import FRAMES_PER_SECOND, indices, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_video(tmp_path_factory.mktemp("videos") / "a.mp4", 30))


def taken(clip: Clip) -> list[int]:
    return indices([load_rgb(frame) for frame in clip.frames])


@pytest.mark.parametrize(
    ("num_frames", "stride", "window", "expected"),
    [
        (4, 9, "first", [0, 9, 18, 27]),
        (3, 1, "first", [0, 1, 2]),
        # Those of a shorter video are repeated from its first.
        (5, 9, "first", [0, 9, 18, 27, 0]),
        (3, 30, "first", [0, 0, 0]),
        # DMVR: (30 - 3 * 4) // 2 = 9; never before the first frame.
        (3, 4, "centre", [9, 13, 17]),
        (2, 20, "centre", [0, 20]),
    ],
)
def test_which_frames_are_taken(video, num_frames, stride, window, expected):
    assert taken(Clip(video, num_frames, stride, window)) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.8, None, [8, 13, 18]),
        (0.85, None, [9, 14, 19]),
        (0.8, 1.4, [8, 13, 8]),
        # One frame is in the part.
        (1.0, 1.05, [10, 10, 10]),
    ],
)
def test_frames_of_a_part(video, start, end, expected):
    assert taken(Clip(video, 3, 5, start=start, end=end)) == expected


def test_the_middle_of_a_part(video):
    # Frames 8 to 20 are 13: (13 - 2 * 3) // 2 = 3.
    assert taken(Clip(video, 2, 3, "centre", start=0.8, end=2.0)) == [11, 14]


def test_nothing_is_decoded_before_it_is_asked_for(video, monkeypatch):
    decoded = []
    decode = Clip.decode

    def counted(self: Clip) -> tuple[np.ndarray, ...]:
        decoded.append(self)
        return decode(self)

    monkeypatch.setattr(Clip, "decode", counted)
    first, second = Clip(video, 4, 3).frames, Clip(video, 4, 3, start=1).frames
    assert num_pictures(first) == 4
    examples = normalize_examples({"images": [first, second], "prompts": ["a", "b"]})
    assert [len(images) for images in examples.images] == [4, 4]
    assert decoded == []
    # Frames of one clip together, and no clip is kept beside the last.
    assert indices([load_rgb(frame) for frame in (*first, *second, first[0])]) == [
        *(0, 3, 6, 9),
        *(10, 13, 16, 19),
        0,
    ]
    assert decoded == [first[0].clip, second[0].clip, first[0].clip]


def test_frames_have_names_of_their_own_and_can_be_sent(video):
    frames = [
        *Clip(video, 3, 2).frames,
        *Clip(video, 2, 3, "centre").frames,
        *Clip(video, 2, 2, start=1).frames,
        *Clip(video, 2, 2, start=1, end=2).frames,
    ]
    names = [source_name(frame) for frame in frames]
    assert all(name.startswith(video) for name in names)
    assert len(set(names)) == len(names)
    assert pickle.loads(pickle.dumps(frames)) == frames


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_frames": 0}, "num_frames >= 1"),
        ({"stride": 0}, "stride >= 1"),
        ({"window": "center"}, "'first' or 'centre', received 'center'"),
        ({"start": 2.0, "end": 1.0}, "ends after its start, received 2.0 to 1.0"),
        ({"start": -1.0}, "ends after its start"),
    ],
)
def test_numbers_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        Clip(**{"path": "a.mp4", "num_frames": 4, **values})


def damaged(tmp_path: Path, video: str, name: str) -> Path:
    content = Path(video).read_bytes()
    path = tmp_path / "b.mp4"
    path.write_bytes(
        {
            "empty": b"",
            "a text": b"This video is unavailable.\n" * 40,
            "cut off": content[: len(content) // 2],
            "no frames": content[:200],
        }[name]
    )
    return path


@pytest.mark.parametrize("name", ["empty", "a text", "cut off", "no frames"])
def test_damaged_videos(tmp_path, video, name):
    path = damaged(tmp_path, video, name)
    with pytest.raises(ValueError, match="video that PyAV can decode") as caught:
        load_rgb(Clip(str(path), 4).frames[0])
    assert str(path) in str(caught.value)
    assert "open file" not in str(caught.value)


def test_frames_that_are_damaged(tmp_path, video):
    content = bytearray(Path(video).read_bytes())
    start = content.index(b"mdat") + 400
    content[start : start + 4000] = bytes(len(content[start : start + 4000]))
    path = tmp_path / "c.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"c\.mp4' is not one or is damaged"):
        Clip(str(path), 16).decode()


def test_no_video_is_there(tmp_path, video):
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
        load_rgb(Clip(str(tmp_path / "none.mp4"), 4).frames[0])
    end = 30 / FRAMES_PER_SECOND
    with pytest.raises(ValueError, match=r"Expected a frame of .* from 4 seconds on"):
        Clip(video, 2, start=int(end) + 1).decode()


def test_a_file_without_a_picture(tmp_path):
    import av

    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        for packet in (*stream.encode(sound), *stream.encode()):
            container.mux(packet)
    with pytest.raises(ValueError, match=r"sound\.mkv' is not one"):
        Clip(str(path), 2).decode()


def test_without_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"package av.*keras-pg2\[video\]"):
        import_av()
    assert videos.ENDINGS[0] == ".mp4"
