"""VQAv2 and OK-VQA: ten people's answers to questions about pictures of COCO 2014.

The files are those of visualqa.org/download.html and okvqa.allenai.org:
`*_questions.json` has "questions" of question_id, image_id and question,
`*_annotations.json` "annotations" of question_id, image_id, answer_type and ten
answers; the pictures are in `train2014/`, `val2014/` and `test2015/`.

PaliGemma is evaluated on "minival", 10,240 questions of val (big_vision
`transfers/vqav2.py`). These are the last ones in the order of TFDS, which shuffles;
here they are the last ones of the file, so they are other questions of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import check_answers
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import find_file, find_folder
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.datasets.vqa import VqaQuestion, read_vqav2
from keras_pg2.metrics.metric import Truth

NUM_MINIVAL = 10_240
"""Questions of VQAv2's validation split that the papers evaluate on."""
_COCO_SPLITS = {
    "minival": "val2014",
    "val": "val2014",
    "train": "train2014",
    "test-dev": "test-dev2015",
    "test": "test2015",
}


def _read(
    prefix: str, has_kinds: bool, directory: Path, split: str, on_bad: OnBad
) -> Examples:
    name = _COCO_SPLITS[split]
    questions = f"{prefix}OpenEnded_mscoco_{name}_questions.json"
    annotations = f"{prefix}mscoco_{name}_annotations.json"
    is_test = name.startswith("test")
    path = find_file(directory, questions, f"Questions/{questions}")
    # The pictures of test-dev are those of the test split.
    folder = name.replace("test-dev", "test")
    file = read_vqav2(
        path,
        None
        if is_test
        else find_file(directory, annotations, f"Annotations/{annotations}"),
        find_folder(directory, folder, f"images/{folder}", f"Images/{folder}"),
        on_bad=on_bad,
    )
    chosen = file.questions[-NUM_MINIVAL:] if split == "minival" else file.questions
    examples = to_examples(chosen, path, on_bad, is_test=is_test, has_kinds=has_kinds)
    return Examples(examples, [*file.skipped, *examples.skipped], examples.sources)


def to_examples(
    questions: Sequence[VqaQuestion],
    path: Path,
    on_bad: OnBad,
    *,
    is_test: bool,
    has_kinds: bool,
) -> Examples:
    """Return the examples of questions.

    Args:
        questions: The questions, as `datasets.vqa` reads them.
        path: Their file, for errors.
        on_bad: "skip" leaves questions without an answer out.
        is_test: Whether a server keeps the answers back.
        has_kinds: Whether the types of answers tell questions apart.

    Raises:
        ValueError: if a question has no answer, or none is left.
    """
    problems = Problems(on_bad)
    examples, sources = [], []
    for question in questions:
        source = f"{path}, question {question.id}"
        with problems.of(source):
            answers = check_answers(question.answers, "answers", is_test=is_test)
            examples.append(
                Example(
                    id=question.id,
                    images=question.image,
                    fields={"question": question.question},
                    truth=Truth(
                        answers=answers,
                        kind=question.answer_type if has_kinds else "",
                    ),
                )
            )
            sources.append(source)
    problems.check_some_left(len(examples), str(path))
    return Examples(examples, problems.messages, sources)


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "vqav2",
        title="VQAv2: open questions about photographs",
        source="visualqa.org/download.html",
        files="v2_OpenEnded_mscoco_val2014_questions.json, "
        "v2_mscoco_val2014_annotations.json, val2014/",
        splits=("minival", "val", "train", "test-dev", "test"),
        read=partial(_read, "v2_", True),
    ),
    transfer(
        "okvqa",
        title="OK-VQA: questions that ask for knowledge of the world",
        source="okvqa.allenai.org/download.html",
        files="OpenEnded_mscoco_val2014_questions.json, "
        "mscoco_val2014_annotations.json, val2014/",
        splits=("val", "train"),
        read=partial(_read, "", False),
    ),
)
"""VQAv2 has the types of answers as kinds: yes/no, number, other."""
