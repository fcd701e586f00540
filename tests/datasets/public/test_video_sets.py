"""What readers of videos find in files written after the published descriptions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from keras_pg2.datasets.public import registry
from keras_pg2.datasets.public.rows import training_rows
from keras_pg2.datasets.rows import check_pictures
from keras_pg2.preprocessing.images import load_rgb
from keras_pg2.recipes.transfers import TASKS
from tests.datasets.public.test_captions import case_of, read
from tests.support.public_files import write_content
from tests.support.videos import indices, write_video

NAMES = [name for name, task in TASKS.items() if task.frame_stride is not None]


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_of_the_recipe(name, tmp_path):
    examples = read(name, tmp_path)
    task = TASKS[name]
    for example in examples:
        assert len(example.images) == task.num_images
        clip = example.images[0].clip
        assert (clip.stride, clip.window) == (task.frame_stride, "first")
        assert Path(clip.path).is_file()
    rows = training_rows(examples, task.prompt)
    assert tuple(rows[0]["images"]) == examples[0].images


@pytest.mark.parametrize("name", NAMES)
def test_other_frames(name, tmp_path):
    options = {"num_frames": 2, "frame_stride": 5, "window": "centre"}
    first = read(name, tmp_path, **options)[0]
    clip = first.images[0].clip
    assert (len(first.images), clip.stride, clip.window) == (2, 5, "centre")
    with pytest.raises(ValueError, match="num_frames >= 1"):
        read(name, tmp_path, num_frames=0)
    with pytest.raises(ValueError, match="'first' or 'centre'"):
        read(name, tmp_path, window="last")


@pytest.mark.parametrize("name", NAMES)
def test_without_pyav(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"keras-pg2\[video\]"):
        read(name, tmp_path, on_bad="skip")


def test_msrvtt_captions(tmp_path):
    first, _ = read("msrvtt_cap", tmp_path)
    assert first.id == "video7010"
    assert first.truth.answers == ("a man sings 0", "a man sings 1")


def test_vatex_captions(tmp_path):
    first, _ = read("vatex_cap", tmp_path)
    assert first.id == "Ptf_2VRj-V0_000027_000037"
    assert first.truth.answers == ("one", "two")


def test_parts_of_activitynet(tmp_path):
    case = case_of("activitynet_cap")
    case.write(tmp_path)
    first, second, third = case.read(tmp_path)
    assert [e.id for e in (first, second, third)] == [
        "v_uqiMw7tQ1Cc/0",
        "v_bXdq2zI1Ms0/0",
        "v_bXdq2zI1Ms0/1",
    ]
    assert third.truth.answers == ("The man lifts it.",)
    clip = third.images[0].clip
    assert (clip.start, clip.end) == (9.5, 20)
    content = case.content()
    content["v_bXdq2zI1Ms0"]["sentences"].pop()
    write_content(tmp_path / case.annotations, content)
    with pytest.raises(ValueError, match="sentence for each of 2 timestamps"):
        case.read(tmp_path)


def test_questions(tmp_path):
    first, _ = read("msrvtt_qa", tmp_path)
    assert (first.id, first.truth.answers) == (158581, ("couch",))
    assert first.fields == {"question": "what is a man sitting on?"}


def test_names_of_msvd(tmp_path):
    first, second = read("msvd_qa", tmp_path)
    assert first.images[0].clip.path.endswith("video/-4wsuPCjDBc_5_15.avi")
    assert second.images[0].clip.path.endswith("video/vid7011.avi")
    write_content(tmp_path / "youtube_mapping.txt", "-4wsuPCjDBc_5_15\n")
    with pytest.raises(ValueError, match="name of a clip and 'vid1', received"):
        case_of("msvd_qa").read(tmp_path)


def test_types_of_activitynet_questions(tmp_path):
    case = case_of("activitynet_qa")
    case.write(tmp_path)
    content = case.content()
    # A text in some copies of the file.
    content[1]["type"] = "7"
    write_content(tmp_path / case.annotations, content)
    first, second = case.read(tmp_path)
    assert (first.truth.kind, second.truth.kind) == ("yes/no", "number")
    content[1]["type"] = 9
    write_content(tmp_path / case.annotations, content)
    with pytest.raises(ValueError, match=r"type in .* as a number from 0 to 8"):
        case.read(tmp_path)


def test_videos_that_are_damaged_are_told(tmp_path):
    case = case_of("vatex_cap")
    case.write(tmp_path)
    write_video(tmp_path / case.pictures[0], 9)
    first, second = registry.read("vatex_cap", tmp_path, num_frames=3, frame_stride=4)
    assert indices([load_rgb(frame) for frame in first.images]) == [0, 4, 8]
    (tmp_path / case.pictures[1]).write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"a1_000027_000037\.mp4' is not one"):
        load_rgb(second.images[0])
    rows = training_rows([first, second], "caption en")
    checked = check_pictures(rows, on_bad="skip")
    assert len(checked) == 1
    assert "a1_000027_000037.mp4" in checked.skipped[0]
