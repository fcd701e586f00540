"""Captions of videos: MSR-VTT, VATEX and ActivityNet.

Options of all: num_frames, frame_stride (None for the recipe's) and window, as `Clip`
has them. Videos that are no longer on the web are left out with `on_bad="skip"`.

MSR-VTT. `train_val_videodatainfo.json` and `test_videodatainfo.json` have "videos"
(video_id, split: "train", "validate", "test") and "sentences" (video_id, caption); so
has `videodatainfo_2016.json` of all. Videos are `TrainValVideo/video0.mp4`,
`TestVideo/...` or `videos/...`. Source: ms-multimedia-challenge.com/2016/dataset.

VATEX. `vatex_validation_v1.0.json` is a list of videoID (the video of YouTube with its
start and end, which the file is named as) and enCap. Source: eric-xw.github.io/
vatex-website.

ActivityNet captions. `val_2.json` has for each video ("v_...") its duration, timestamps
in seconds, and sentences; each part is an example, with one caption. The papers'
numbers of parts are those of val_1 (validation) and val_2 (test), less what was gone.
Source: cs.stanford.edu/people/ranjaykrishna/densevid.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_pg2.checks.texts import shown
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.captions.grouping import (
    captioned,
    check_split,
    group,
    of_split,
)
from keras_pg2.datasets.public.entries import collect, read_text
from keras_pg2.datasets.public.examples import Example, Examples
from keras_pg2.datasets.public.published_files import (
    find_file,
    read_entries,
    read_table,
)
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.datasets.public.videos.folders import (
    Videos,
    activitynet_folders,
    msrvtt_folders,
    reader_of,
)
from keras_pg2.files.json_fields import Fields

_MSRVTT = ("test", "validate", "train")
_VATEX = {
    "test": "vatex_public_test_english_v1.1.json",
    "validation": "vatex_validation_v1.0.json",
    "train": "vatex_training_v1.0.json",
}


def read_msrvtt_captions(
    directory: Path, split: str, on_bad: OnBad, videos: Videos
) -> Examples:
    """Return MSR-VTT's videos with their captions."""
    part = "test" if split == "test" else "train_val"
    path = find_file(directory, f"{part}_videodatainfo.json", "videodatainfo_2016.json")
    problems = Problems(on_bad)
    captions = group(
        read_entries(path, "sentences"),
        lambda entry: read_text(entry, "video_id"),
        lambda entry: read_text(entry, "caption"),
        problems,
    )

    def read(entry: Fields) -> Example:
        check_split(entry, _MSRVTT)
        name = read_text(entry, "video_id")
        return captioned(name, videos.find(name), captions.get(name, ()))

    entries = of_split(read_entries(path, "videos"), [split], _MSRVTT, path)
    return collect(entries, read, problems, path)


def _vatex_folders(split: str) -> tuple[str, ...]:
    return (f"videos/{split}", "videos", split, "")


def read_vatex(directory: Path, split: str, on_bad: OnBad, videos: Videos) -> Examples:
    """Return VATEX' videos with their English captions."""
    path = find_file(directory, _VATEX[split], f"annotations/{_VATEX[split]}")

    def read(entry: Fields) -> Example:
        name = read_text(entry, "videoID")
        return captioned(name, videos.find(name), entry.items("enCap", read_text))

    return collect(read_entries(path), read, Problems(on_bad), path)


def read_activitynet(
    directory: Path, split: str, on_bad: OnBad, videos: Videos
) -> Examples:
    """Return parts of ActivityNet's videos with a caption each."""
    path = find_file(directory, f"{split}.json", f"captions/{split}.json")
    problems = Problems(on_bad)

    def parts() -> Iterator[tuple[str, Any]]:
        for source, name, value in read_table(path):
            with problems.of(source):
                if not isinstance(value, dict):
                    raise ValueError(f"expected an object, received {shown(value)}.")
                entry = Fields(value, "the entry")
                times = entry.items("timestamps", lambda items, i: items.value(i))
                texts = entry.items("sentences", lambda items, i: items.value(i))
                if len(times) != len(texts):
                    raise ValueError(
                        f"expected a sentence for each of {len(times)} timestamps, "
                        f"received {len(texts)}."
                    )
                for index, (time, text) in enumerate(zip(times, texts)):
                    part = {"video": name, "index": index, "time": time, "text": text}
                    yield f"{source}, part {index}", part

    def read(entry: Fields) -> Example:
        name, index = entry.text("video"), entry.integer("index")
        time = entry.items("time", lambda items, i: items.number(i, at_least=0))
        if len(time) != 2:
            raise entry.error("time", "start and end in seconds")
        return captioned(
            id=f"{name}/{index}",
            images=videos.find(name, start=min(time), end=max(time)),
            captions=[read_text(entry, "text")],
        )

    return collect(parts(), read, problems, path)


DATA_SETS = (
    transfer(
        "msrvtt_cap",
        title="MSR-VTT: captions of videos",
        source="ms-multimedia-challenge.com/2016/dataset",
        files="test_videodatainfo.json, TestVideo/",
        splits=_MSRVTT,
        read=reader_of("msrvtt_cap", msrvtt_folders, read_msrvtt_captions),
    ),
    transfer(
        "vatex_cap",
        title="VATEX: captions of videos",
        source="eric-xw.github.io/vatex-website",
        files="vatex_public_test_english_v1.1.json, videos/",
        splits=tuple(_VATEX),
        read=reader_of("vatex_cap", _vatex_folders, read_vatex),
    ),
    transfer(
        "activitynet_cap",
        title="ActivityNet captions: of parts of videos",
        source="cs.stanford.edu/people/ranjaykrishna/densevid",
        files="val_2.json, videos/",
        splits=("val_2", "val_1", "train"),
        read=reader_of("activitynet_cap", activitynet_folders, read_activitynet),
    ),
)
