"""Questions about videos: MSRVTT-QA, MSVD-QA and ActivityNet-QA.

Options of all are those of `videos.captions`.

MSRVTT-QA and MSVD-QA. `test_qa.json` (val, train) is a list of id, video_id, question
and answer (github.com/xudejing/video-question-answering). The video of MSRVTT-QA is
`video<video_id>`. That of MSVD-QA is `vid<video_id>`, or has the name that
`youtube_mapping.txt` gives it ("-4wsuPCjDBc_5_15 vid1").

ActivityNet-QA. `test_q.json` is a list of question_id, video_name and question,
`test_a.json` of question_id, answer and type, a number whose name is the kind
(github.com/MILVLG/activitynet-qa, dataset/README.md). Videos are `v_<video_name>`, or
without "v_".
"""

from __future__ import annotations

from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems, as_integer
from keras_pg2.datasets.public.captions.grouping import group
from keras_pg2.datasets.public.entries import collect, read_id, read_text
from keras_pg2.datasets.public.examples import Example, Examples
from keras_pg2.datasets.public.packed_files import stream_lines
from keras_pg2.datasets.public.published_files import find_file, read_entries
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.datasets.public.videos.folders import (
    Videos,
    activitynet_folders,
    msrvtt_folders,
    reader_of,
)
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

_TYPES = (
    *("motion", "spatial relationship", "temporal relationship"),
    *("yes/no", "color", "object", "location", "number", "other"),
)


def read_msrvtt_questions(
    directory: Path, split: str, on_bad: OnBad, videos: Videos
) -> Examples:
    """Return MSRVTT-QA's questions about videos."""
    path = find_file(directory, f"{split}_qa.json")

    def read(entry: Fields) -> Example:
        return _asked(entry, videos, f"video{entry.integer('video_id')}")

    return collect(read_entries(path), read, Problems(on_bad), path)


def _asked(entry: Fields, videos: Videos, *stems: str) -> Example:
    """Return an entry of MSRVTT-QA or MSVD-QA, which have the same fields."""
    return Example(
        id=read_id(entry, "id"),
        images=videos.find(*stems),
        truth=Truth(answers=(read_text(entry, "answer"),)),
        fields={"question": read_text(entry, "question")},
    )


def _msvd_folders(split: str) -> tuple[str, ...]:
    return ("video", "videos", "YouTubeClips", "")


def read_msvd_questions(
    directory: Path, split: str, on_bad: OnBad, videos: Videos
) -> Examples:
    """Return MSVD-QA's questions about videos."""
    path = find_file(directory, f"{split}_qa.json")
    problems = Problems(on_bad)
    mapping = directory / "youtube_mapping.txt"
    names = _read_mapping(mapping, problems) if mapping.is_file() else {}

    def read(entry: Fields) -> Example:
        name = f"vid{entry.integer('video_id')}"
        return _asked(entry, videos, *dict.fromkeys([names.get(name, name), name]))

    return collect(read_entries(path), read, problems, path)


def _read_mapping(path: Path, problems: Problems) -> dict[str, str]:
    """Return names of clips by their numbers, as "vid1"."""
    names = {}
    for source, line in stream_lines(path):
        with problems.of(source):
            cells = line.decode(errors="replace").split()
            if len(cells) != 2:
                raise ValueError(
                    f"expected the name of a clip and 'vid1', received {line[:60]!r}."
                )
            names[cells[1]] = cells[0]
    return names


def read_activitynet(
    directory: Path, split: str, on_bad: OnBad, videos: Videos
) -> Examples:
    """Return ActivityNet-QA's questions about videos, by type."""
    path = find_file(directory, f"{split}_q.json", f"dataset/{split}_q.json")
    problems = Problems(on_bad)
    answers = group(
        read_entries(find_file(path.parent, f"{split}_a.json")),
        lambda entry: read_id(entry, "question_id"),
        lambda entry: (read_text(entry, "answer"), _type(entry)),
        problems,
    )

    def read(entry: Fields) -> Example:
        question_id, name = (
            read_id(entry, "question_id"),
            read_text(entry, "video_name"),
        )
        found = answers.get(question_id, ())
        if len(found) != 1:
            received = "none" if not found else "two: it is there twice"
            raise ValueError(
                f"expected one answer in {split}_a.json, received {received}."
            )
        [(answer, kind)] = found
        return Example(
            id=question_id,
            images=videos.find(f"v_{name}", name),
            truth=Truth(answers=(answer,), kind=kind),
            fields={"question": read_text(entry, "question")},
        )

    return collect(read_entries(path), read, problems, path)


def _type(entry: Fields) -> str:
    value = entry.value("type")
    # A text in some copies.
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    number = as_integer(number)
    if type(number) is not int or not 0 <= number < len(_TYPES):
        raise entry.error("type", f"a number from 0 to {len(_TYPES) - 1}")
    return _TYPES[number]


DATA_SETS = (
    transfer(
        "msrvtt_qa",
        title="MSRVTT-QA: questions about videos",
        source="github.com/xudejing/video-question-answering",
        files="test_qa.json, TestVideo/",
        splits=("test", "val", "train"),
        read=reader_of("msrvtt_qa", msrvtt_folders, read_msrvtt_questions),
    ),
    transfer(
        "msvd_qa",
        title="MSVD-QA: questions about videos",
        source="github.com/xudejing/video-question-answering",
        files="test_qa.json, youtube_mapping.txt, video/",
        splits=("test", "val", "train"),
        read=reader_of("msvd_qa", _msvd_folders, read_msvd_questions),
    ),
    transfer(
        "activitynet_qa",
        title="ActivityNet-QA: questions about videos",
        source="github.com/MILVLG/activitynet-qa",
        files="test_q.json, test_a.json, videos/",
        splits=("test", "val", "train"),
        read=reader_of("activitynet_qa", activitynet_folders, read_activitynet),
    ),
)
