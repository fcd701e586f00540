"""The smallest directories of data sets of questions, after the published descriptions.

Each has two examples at least; where a file says more than a reader needs, some of it
is here too.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from tests.support.public_files import Lines, PublicFiles

IDS = frozenset({"text", "0", "below 0"})
"""Damages that make another id of an id."""
HUGE = ("2**63", "1e300", "4000 digits")


def _loads(**damages: str) -> frozenset[str]:
    """Return damages by the last name of a field, as "text|0"."""
    return frozenset(
        f"{name.replace('__', '.')}: {damage}"
        for name, joined in damages.items()
        for damage in joined.split("|")
    )


def _coco_questions(subtype: str) -> dict[str, Any]:
    return {
        "info": {"version": "2.0"},
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "data_subtype": subtype,
        "questions": [
            {"image_id": 9, "question": "How many {cats}?", "question_id": 90},
            {"image_id": 12, "question": "Is it red?", "question_id": 120},
        ],
    }


def _coco_annotations(first: int = 90) -> dict[str, Any]:
    given = {90: ["2"] * 7 + ["two", "2 cats", "3"], 120: ["yes"] * 10}
    kinds = {90: "number", 120: "yes/no"}
    return {
        "annotations": [
            {
                "question_id": number - 90 + first,
                "image_id": number // 10,
                "question_type": "how many",
                "answer_type": kinds[number],
                "multiple_choice_answer": answers[0],
                "answers": [
                    {"answer": answer, "answer_confidence": "yes", "answer_id": index}
                    for index, answer in enumerate(answers, start=1)
                ],
            }
            for number, answers in given.items()
        ]
    }


def _coco(prefix: str, subtype: str = "val2014") -> dict[str, Any]:
    return {
        f"{prefix}OpenEnded_mscoco_val2014_questions.json": _coco_questions(subtype),
        f"{prefix}mscoco_val2014_annotations.json": _coco_annotations(),
    }


def _coco_files(data_set: str, prefix: str) -> PublicFiles:
    annotations = f"{prefix}mscoco_val2014_annotations.json"
    return PublicFiles(
        data_set=data_set,
        split="val",
        files=partial(_coco, prefix),
        pictures=(
            "val2014/COCO_val2014_000000000009.jpg",
            "val2014/COCO_val2014_000000000012.jpg",
        ),
        annotations=annotations,
        fields=(
            ("annotations", 0, "answers", 0, "answer"),
            ("annotations", 0, "answers"),
            ("annotations", 0, "question_id"),
            ("annotations", 0),
        ),
        loads=_loads(annotations__0__answers__0__answer="text|empty text"),
        entries=("annotations",),
        answer=(("annotations", 0, "answers"), []),
        other_split=lambda: {annotations: _coco_annotations(700)},
    )


def _aokvqa(split: str = "val") -> list[dict[str, Any]]:
    return [
        {
            "split": split,
            "image_id": 299207,
            "question_id": "22jbM6gDxdaMaunuzgrsBB",
            "question": "What is in the motorcyclist's mouth?",
            "choices": ["toothpick", "food", "popsicle stick", "cigarette"],
            "correct_choice_idx": 3,
            "direct_answers": ["cigarette"] * 9 + ["toothpick"],
            "difficult_direct_answer": False,
            "rationales": ["He's smoking while riding."] * 3,
        },
        {
            "split": split,
            "image_id": 7,
            "question_id": "2Aq5RiEn7eyfWjEbpuYy4Y",
            "question": "Which number birthday is celebrated?",
            "choices": ["one", "ten", "nine", "thirty"],
            "correct_choice_idx": 1,
            "direct_answers": ["ten"] * 10,
            "difficult_direct_answer": True,
            "rationales": ["A ten is on the cake."] * 3,
        },
    ]


def _aokvqa_files(data_set: str, fields: tuple[Any, ...], **options: Any) -> Any:
    return PublicFiles(
        data_set=data_set,
        files=lambda: {"aokvqa_v1p0_val.json": _aokvqa()},
        pictures=("val2017/000000299207.jpg", "val2017/000000000007.jpg"),
        annotations="aokvqa_v1p0_val.json",
        fields=((0, "question"), (0, "question_id"), (0, "image_id"), *fields),
        entries=(),
        other_split=lambda: {"aokvqa_v1p0_val.json": _aokvqa("train")},
        **options,
    )


def _gqa() -> dict[str, Any]:
    return {
        "201307251": {
            "imageId": "n161313",
            "question": "Is it overcast?",
            "answer": "no",
            "fullAnswer": "No, it is clear.",
            "isBalanced": True,
            "types": {
                "detailed": "weatherVerify",
                "semantic": "global",
                "structural": "verify",
            },
        },
        "201640614": {
            "imageId": "n235859",
            "question": "Who is wearing the dress?",
            "answer": "woman",
            "fullAnswer": "The woman is wearing a dress.",
            "isBalanced": True,
            "types": {
                "detailed": "relS",
                "semantic": "rel",
                "structural": "query",
            },
        },
    }


def _gqa_files(data_set: str, name: str) -> PublicFiles:
    key = "201307251"
    return PublicFiles(
        data_set=data_set,
        files=lambda: {name: _gqa()},
        pictures=("images/n161313.jpg", "images/n235859.jpg"),
        annotations=name,
        fields=(
            (key, "question"),
            (key, "imageId"),
            (key, "answer"),
            (key, "types"),
            (key, "types", "structural"),
            (key,),
        ),
        loads=_loads(
            **{
                f"{key}__question": "text",
                f"{key}__answer": "text",
                f"{key}__types": "null|missing|object",
                f"{key}__types__structural": "text|empty text|missing",
                key: "missing",
            }
        ),
        entries=(),
        answer=((key, "answer"), ""),
    )


def _textvqa() -> dict[str, Any]:
    return {
        "dataset_type": "val",
        "dataset_name": "textvqa",
        "dataset_version": "0.5.1",
        "data": [
            {
                "question": "what is the brand?",
                "image_id": "003a8ae2ef43b901",
                "question_id": 34602,
                "answers": ["dakota"] * 9 + ["dakota digital"],
                "flickr_300k_url": "https://example.org/a.jpg",
                "set_name": "val",
            },
            {
                "question": "what does it say?",
                "image_id": "003a8ae2ef43b902",
                "question_id": 34603,
                "answers": ["Yes"] * 10,
                "set_name": "val",
            },
        ],
    }


def _stvqa(split: str = "train") -> dict[str, Any]:
    return {
        "dataset_name": "st-vqa",
        "task_name": "task3",
        "data": [
            {
                "question_id": 0,
                "question": "What is the price?",
                "answers": ["$0.63", "0.63"],
                "file_path": "coco-text/COCO_train2014_000000000009.jpg",
                "dataset": "coco-text",
                "set_name": split,
            },
            {
                "question_id": 1,
                "question": "What is the brand?",
                "answers": ["Yamaha"],
                "file_path": "imageNet/n02790996_1.jpg",
                "dataset": "imageNet",
                "set_name": split,
            },
        ],
    }


def _ocrvqa(split: int = 3) -> dict[str, Any]:
    return {
        "761183272": {
            "imageURL": "http://ecx.images-amazon.com/images/I/61Y5cOdHJbL.jpg",
            "questions": ["Who wrote this book?", "Is this a games related book?"],
            "answers": ["Sandra Boynton", "No"],
            "title": "Mom's Family Wall Calendar 2016",
            "authorName": "Sandra Boynton",
            "genre": "Calendars",
            "split": split,
        },
        "1449460364": {
            "imageURL": "http://ecx.images-amazon.com/images/I/61.png",
            "questions": ["What is the title of this book?"],
            "answers": ["Doug"],
            "title": "Doug",
            "authorName": "Z",
            "genre": "Comics",
            "split": split,
        },
        "1623439671": {
            "imageURL": "http://ecx.images-amazon.com/images/I/62.jpg",
            "questions": ["What is the title of this book?"],
            "answers": ["In training"],
            "split": 1,
        },
    }


def _docvqa(split: str = "val", answers: Any = None) -> dict[str, Any]:
    given = [["0.28"], ["San Diego", "san diego"]] if answers is None else answers
    return {
        "dataset_name": "SP-DocVQA",
        "dataset_version": "1.0",
        "dataset_split": split,
        "data": [
            {
                "questionId": 49153,
                "question": "What is the 'actual' value per 1000?",
                "question_types": ["figure/diagram"],
                "image": "documents/pybv0228_81.png",
                "docId": 14465,
                "ucsf_document_id": "pybv0228",
                "ucsf_document_page_no": "81",
                "answers": given[0],
                "data_split": split,
            },
            {
                "questionId": 24580,
                "question": "What is name of university?",
                "question_types": ["layout"],
                "image": "documents/xnbl0037_1.png",
                "answers": given[1],
                "data_split": split,
            },
        ],
    }


def _infovqa(split: str = "val") -> dict[str, Any]:
    return {
        "dataset_name": "infographicVQA",
        "dataset_split": split,
        "data": [
            {
                "questionId": 98313,
                "question": "Which are the two colors?",
                "image_local_name": "37313.jpeg",
                "image_url": "https://example.org/37313.jpeg",
                "ocr_output_file": "37313.json",
                "answers": ["Red, Blue"],
                "data_split": split,
            },
            {
                "questionId": 98314,
                "question": "How many?",
                "image_local_name": "37314.jpeg",
                "answers": ["6%", "6"],
                "data_split": split,
            },
        ],
    }


def _ai2d(name: str, letters: bool, number: str) -> dict[str, Any]:
    return {
        "imageName": name,
        "questions": {
            "What is the top of the chain?": {
                "abcLabel": letters,
                "answerTexts": ["fox", "Grass", "rabbit", "hawk"],
                "correctAnswer": 3,
                "questionId": f"{number}-0",
            }
        },
    }


def _ai2d_texts() -> dict[str, Any]:
    return {
        "text": {
            "T0": {
                "id": "T0",
                "rectangle": [[0, 0], [5, 3]],
                "replacementText": "A",
                "value": "hawk",
            }
        }
    }


def _ai2d_files() -> dict[str, Any]:
    return {
        "ai2d_test_ids.csv": "0\n2\n",
        "ai2d/questions/0.png.json": _ai2d("0.png", False, "0"),
        "ai2d/questions/1.png.json": _ai2d("1.png", False, "1"),
        "ai2d/questions/2.png.json": _ai2d("2.png", True, "2"),
        "ai2d/annotations/0.png.json": _ai2d_texts(),
        "ai2d/annotations/2.png.json": _ai2d_texts(),
    }


def _science_qa(split: str = "test") -> dict[str, Any]:
    problem = {
        "question": "Which of these states is farthest north?",
        "choices": ["West Virginia", "Louisiana", "Arizona", "Oklahoma"],
        "answer": 0,
        "hint": "",
        "image": "image.png",
        "task": "closed choice",
        "grade": "grade2",
        "subject": "social science",
        "topic": "geography",
        "split": split,
    }
    return {
        "5": problem,
        "11": {
            **problem,
            "question": "What can they trade?",
            "choices": ["tomatoes", "broccoli"],
            "answer": 1,
            "hint": "Trade happens\nwhen people agree.",
            "subject": "natural science",
        },
        "12": {**problem, "image": None, "subject": "language science"},
        "1": {**problem, "split": "train"},
    }


def _vizwiz(split: str = "val") -> list[dict[str, Any]]:
    return [
        {
            "image": f"VizWiz_{split}_00000000.jpg",
            "question": "Ok. There is another picture I hope it is a better one.",
            "answers": [
                *[{"answer": "unanswerable", "answer_confidence": "yes"}] * 9,
                {"answer": "", "answer_confidence": "no"},
            ],
            "answer_type": "unanswerable",
            "answerable": 0,
        },
        {
            "image": f"VizWiz_{split}_00000001.jpg",
            "question": "What is this?",
            "answers": [{"answer": "pepsi", "answer_confidence": "maybe"}] * 10,
            "answer_type": "other",
            "answerable": 1,
        },
    ]


def _tallyqa() -> list[dict[str, Any]]:
    return [
        {
            "answer": 1,
            "data_source": "imported_genome",
            "image": "VG_100K_2/1.jpg",
            "image_id": 1,
            "issimple": True,
            "question": "How many horses?",
            "question_id": 30094067,
        },
        {
            "answer": 2,
            "data_source": "amt",
            "image": "VG_100K/2.jpg",
            "image_id": 2,
            "issimple": False,
            "question": "How many dogs are asleep?",
            "question_id": 30094068,
        },
    ]


def _nlvr2(split: str = "test1") -> Lines:
    return Lines(
        [
            {
                "identifier": f"{split}-0-1-0",
                "sentence": "There is an empty glass.",
                "label": "False",
                "left_url": "https://example.org/l.jpg",
                "right_url": "https://example.org/r.jpg",
                "writer": "103",
                "synset": "beer bottle",
                "query": "group of beer bottles41",
            },
            {
                "identifier": f"{split}-0-1-1",
                "sentence": "The left image shows a bottle.",
                "label": "True",
                "writer": "104",
            },
        ]
    )


def _marvl(language: str = "id") -> Lines:
    return Lines(
        [
            {
                "concept": "39-Panci",
                "language": language,
                "caption": "Panci di salah satu foto berada di atas kompor.",
                "left_img": "39-4.jpg",
                "right_img": "39-8.jpg",
                "chapter": "Basic actions and technology",
                "id": f"{language}-1",
                "label": False,
            },
            {
                "concept": "39-Panci",
                "language": language,
                "caption": "Ada dua panci.",
                "left_img": "39-8.jpg",
                "right_img": "39-4.jpg",
                "id": f"{language}-2",
                "label": True,
            },
        ]
    )


def _rsvqa_questions() -> dict[str, Any]:
    asked = [
        ("comp", "Are there more trees than roads?"),
        ("presence", "Is a road present?"),
        ("count", "How many roads are there?"),
        ("area", "What is the area covered by buildings?"),
    ]
    return {
        "questions": [
            {"id": 0, "active": False},
            *(
                {
                    "id": number,
                    "date_added": 1550000000.5,
                    "img_id": number % 2,
                    "people_id": 0,
                    "type": kind,
                    "question": question,
                    "answers_ids": [number + 10],
                    "active": True,
                }
                for number, (kind, question) in enumerate(asked, start=1)
            ),
        ]
    }


def _rsvqa_answers(first: int = 1) -> dict[str, Any]:
    return {
        "answers": [
            {"id": 10, "active": False},
            *(
                {
                    "id": number + 10,
                    "date_added": 1550000000.5,
                    "question_id": number,
                    "people_id": 0,
                    "answer": answer,
                    "active": True,
                }
                for number, answer in enumerate(("No", "Yes", "12", "53m2"), first)
            ),
        ]
    }


def _rsvqa_files(data_set: str, prefix: str, folder: str) -> PublicFiles:
    questions, answers = f"{prefix}_questions.json", f"{prefix}_answers.json"
    return PublicFiles(
        data_set=data_set,
        files=lambda: {questions: _rsvqa_questions(), answers: _rsvqa_answers()},
        pictures=(f"{folder}/0.tif", f"{folder}/1.tif"),
        annotations=answers,
        fields=(
            ("answers", 1, "answer"),
            ("answers", 1, "question_id"),
            ("answers", 1),
        ),
        loads=_loads(answers__1__answer="text"),
        entries=("answers",),
        answer=(("answers", 1, "answer"), " "),
        other_split=lambda: {answers: _rsvqa_answers(500)},
    )


def _pope() -> Lines:
    names = ["COCO_val2014_000000016631.jpg", "COCO_val2014_000000016632.jpg"]
    return Lines(
        [
            {
                "question_id": 1,
                "image": names[0],
                "text": "Is there a person in the image?",
                "label": "yes",
            },
            {
                "question_id": 2,
                "image": names[1],
                "text": "Is there a refrigerator in the image?",
                "label": "no",
            },
        ]
    )


def _vsr() -> Lines:
    return Lines(
        [
            {
                "image": "000000050403.jpg",
                "image_link": "http://images.cocodataset.org/train2017/000000050403.jpg",
                "caption": "The teddy bear is in front of the person.",
                "label": 1,
                "relation": "in front of",
                "annotator_id": 31,
                "vote_true_validator_id": [2, 6],
                "vote_false_validator_id": [],
            },
            {
                "image": "000000401552.jpg",
                "caption": "The umbrella is far away from the motorcycle.",
                "label": 0,
                "relation": "far away from",
            },
        ]
    )


MMVP = """\
lndex,Question,Options,Correct Answer
1,Are the butterfly's wings open?,(a) Open (b) Closed,(a)
2,Are the butterfly's wings open?,(a) Open (b) Closed,(b)
"""


def _list_fields(*names: str) -> tuple[Any, ...]:
    return (*((0, name) for name in names), (0,))


CASES: list[PublicFiles] = [
    _coco_files("vqav2", "v2_"),
    _coco_files("okvqa", ""),
    _aokvqa_files(
        "aokvqa_da",
        (
            (0, "direct_answers"),
            (0, "direct_answers", 0),
            (0, "difficult_direct_answer"),
        ),
        answer=((0, "direct_answers"), []),
        loads=_loads(
            **{
                "0__question": "text",
                "0__question_id": "|".join(IDS),
                "0__direct_answers__0": "text|empty text|missing",
                "0__difficult_direct_answer": "true",
            }
        ),
    ),
    _aokvqa_files(
        "aokvqa_mc",
        ((0, "choices"), (0, "choices", 0), (0, "correct_choice_idx")),
        loads=_loads(
            **{
                "0__question": "text",
                "0__question_id": "|".join(IDS),
                "0__choices__0": "text",
                "0__correct_choice_idx": "0",
            }
        ),
    ),
    _gqa_files("gqa", "testdev_balanced_questions.json"),
    _gqa_files("xgqa", "testdev_balanced_questions_bn.json"),
    PublicFiles(
        data_set="textvqa",
        files=lambda: {"TextVQA_0.5.1_val.json": _textvqa()},
        pictures=(
            "train_images/003a8ae2ef43b901.jpg",
            "train_images/003a8ae2ef43b902.jpg",
        ),
        annotations="TextVQA_0.5.1_val.json",
        fields=(
            ("data", 0, "question"),
            ("data", 0, "question_id"),
            ("data", 0, "image_id"),
            ("data", 0, "answers"),
            ("data", 0),
            ("data",),
        ),
        loads=_loads(
            data__0__question="text",
            data__0__question_id="|".join({*IDS, "empty text", *HUGE}),
            data__0="missing",
        ),
        entries=("data",),
        answer=(("data", 0, "answers"), []),
    ),
    PublicFiles(
        data_set="stvqa",
        files=lambda: {"train_task_3.json": _stvqa()},
        pictures=(
            "train_images/imageNet/n02790996_1.jpg",
            "train_images/coco-text/COCO_train2014_000000000009.jpg",
        ),
        annotations="train_task_3.json",
        fields=(
            ("data", 0, "question"),
            ("data", 0, "question_id"),
            ("data", 0, "file_path"),
            ("data", 0, "answers"),
            ("data", 0),
            ("data",),
        ),
        loads=_loads(
            data__0__question="text",
            data__0__question_id="|".join(IDS),
            data__0="missing",
        ),
        entries=("data",),
        answer=(("data", 0, "answers"), [""]),
        other_split=lambda: {"train_task_3.json": _stvqa("test")},
    ),
    PublicFiles(
        data_set="ocrvqa",
        files=lambda: {"dataset.json": _ocrvqa()},
        pictures=("images/761183272.jpg", "images/1449460364.png"),
        annotations="dataset.json",
        fields=tuple(
            ("761183272", *place)
            for place in (
                ("questions", 0),
                ("answers", 0),
                ("questions",),
                ("answers",),
                ("imageURL",),
                ("split",),
                (),
            )
        ),
        loads=_loads(
            **{
                "761183272__questions__0": "text",
                "761183272__answers__0": "text",
                "761183272": "missing",
            }
        ),
        entries=(),
        answer=(("761183272", "answers", 0), ""),
        other_split=lambda: {"dataset.json": _ocrvqa(2)},
    ),
    PublicFiles(
        data_set="docvqa",
        files=lambda: {"val_v1.0_withQT.json": _docvqa()},
        pictures=(
            "spdocvqa_images/pybv0228_81.png",
            "spdocvqa_images/xnbl0037_1.png",
        ),
        annotations="val_v1.0_withQT.json",
        fields=(
            ("data", 0, "question"),
            ("data", 0, "questionId"),
            ("data", 0, "image"),
            ("data", 0, "answers"),
            ("data", 0, "answers", 0),
            ("data", 0, "data_split"),
            ("data", 0),
            ("data",),
        ),
        loads=_loads(
            data__0__question="text",
            data__0__questionId="|".join(IDS),
            data__0__answers__0="text",
            data__0__data_split="missing",
            data__0="missing",
        ),
        entries=("data",),
        answer=(("data", 0, "answers"), []),
        other_split=lambda: {"val_v1.0_withQT.json": _docvqa("train")},
    ),
    PublicFiles(
        data_set="infovqa",
        files=lambda: {"infographicsVQA_val_v1.0_withQT.json": _infovqa()},
        pictures=(
            "infographicsvqa_images/37313.jpeg",
            "infographicsvqa_images/37314.jpeg",
        ),
        annotations="infographicsVQA_val_v1.0_withQT.json",
        fields=(
            ("data", 0, "question"),
            ("data", 0, "questionId"),
            ("data", 0, "image_local_name"),
            ("data", 0, "answers"),
            ("data", 0),
        ),
        loads=_loads(
            data__0__question="text",
            data__0__questionId="|".join(IDS),
            data__0="missing",
        ),
        entries=("data",),
        answer=(("data", 0, "answers"), []),
        other_split=lambda: {"infographicsVQA_val_v1.0_withQT.json": _infovqa("train")},
    ),
    PublicFiles(
        data_set="chartqa",
        files=lambda: {
            "test/test_human.json": [
                {"imgname": "a.png", "query": "How many bars?", "label": "14"},
                {"imgname": "b.png", "query": "Is it 2019?", "label": "Yes"},
            ],
            "test/test_augmented.json": [
                {"imgname": "b.png", "query": "What was the share?", "label": "3.2%"}
            ],
        },
        pictures=("test/png/a.png", "test/png/b.png"),
        annotations="test/test_human.json",
        fields=_list_fields("query", "imgname", "label"),
        loads=_loads(**{"0__query": "text", "0__label": "text", "0": "missing"}),
        answer=((0, "label"), ""),
        other_split=lambda: {
            "test/test_human.json": [
                {"imgname": "of_train.png", "query": "How many?", "label": "1"}
            ]
        },
    ),
    PublicFiles(
        data_set="ai2d",
        files=lambda: (
            {
                name: content
                for name, content in _ai2d_files().items()
                if "2.png" not in name
            }
            | {"ai2d/questions/3.png.json": _ai2d("3.png", False, "3")}
            | {"ai2d_test_ids.csv": "0\n3\n"}
        ),
        pictures=("ai2d/images/0.png", "ai2d/images/3.png"),
        annotations="ai2d/questions/0.png.json",
        needed="ai2d_test_ids.csv",
        fields=(
            ("imageName",),
            ("questions",),
            *(
                ("questions", "What is the top of the chain?", name)
                for name in ("questionId", "answerTexts", "correctAnswer", "abcLabel")
            ),
        ),
        loads=frozenset(
            {
                f"questions.What is the top of the chain?.{damage}"
                for damage in (
                    *(f"questionId: {name}" for name in IDS),
                    "correctAnswer: 0",
                )
            }
            | {"questions: object"}
        ),
    ),
    PublicFiles(
        data_set="science_qa",
        files=lambda: {"problems.json": _science_qa()},
        pictures=("test/5/image.png", "test/11/image.png"),
        annotations="problems.json",
        entries=(),
        fields=tuple(
            ("5", *place)
            for place in (
                ("question",),
                ("choices",),
                ("choices", 0),
                ("answer",),
                ("hint",),
                ("image",),
                (),
            )
        ),
        loads=_loads(
            **{
                "5__question": "text",
                "5__choices__0": "text|missing",
                "5__answer": "0",
                "5__hint": "text|empty text",
                # A problem without a picture is left out.
                "5__image": "null|empty text",
                "5": "missing",
            }
        ),
        other_split=lambda: {"problems.json": _science_qa("val")},
    ),
    PublicFiles(
        data_set="vizwizvqa",
        files=lambda: {"Annotations/val.json": _vizwiz()},
        pictures=("val/VizWiz_val_00000000.jpg", "val/VizWiz_val_00000001.jpg"),
        annotations="Annotations/val.json",
        fields=(
            (0, "question"),
            (0, "image"),
            (0, "answers"),
            (0, "answers", 0, "answer"),
            (0, "answer_type"),
            (0,),
        ),
        loads=_loads(
            **{
                "0__question": "text",
                "0__answers__0__answer": "text",
                "0__answer_type": "text|empty text|missing",
                "0": "missing",
            }
        ),
        entries=(),
        answer=((0, "answers"), [{"answer": "", "answer_confidence": "no"}]),
        other_split=lambda: {"Annotations/val.json": _vizwiz("train")},
    ),
    PublicFiles(
        data_set="tallyqa",
        files=lambda: {"test.json": _tallyqa()},
        pictures=("VG_100K/2.jpg", "VG_100K_2/1.jpg"),
        annotations="test.json",
        fields=_list_fields("question", "question_id", "image", "answer", "issimple"),
        loads=_loads(
            **{
                "0__question": "text",
                "0__question_id": "|".join(IDS),
                "0__answer": "0",
                "0__issimple": "true",
                "0": "missing",
            }
        ),
        entries=(),
        answer=((0, "answer"), None),
        # Only test says whether a question is simple.
        other_split=lambda: {
            "test.json": [
                {k: v for k, v in entry.items() if k != "issimple"}
                for entry in _tallyqa()
            ]
        },
    ),
    PublicFiles(
        data_set="nlvr2",
        files=lambda: {"test1.json": _nlvr2()},
        pictures=("images/test1/test1-0-1-img0.png", "images/test1/test1-0-1-img1.png"),
        annotations="test1.json",
        fields=_list_fields("sentence", "identifier", "label"),
        loads=_loads(**{"0__sentence": "text", "0": "missing"}),
        entries=(),
        answer=((0, "label"), ""),
        other_split=lambda: {"test1.json": _nlvr2("dev")},
    ),
    PublicFiles(
        data_set="marvl",
        files=lambda: {"marvl-id.jsonl": _marvl()},
        pictures=("id/images/39-Panci/39-4.jpg", "id/images/39-Panci/39-8.jpg"),
        annotations="marvl-id.jsonl",
        fields=_list_fields(
            "caption", "id", "concept", "left_img", "right_img", "label"
        ),
        loads=_loads(
            **{
                "0__caption": "text",
                "0__id": "|".join(IDS),
                "0__label": "true",
                "0": "missing",
            }
        ),
        entries=(),
        answer=((0, "label"), None),
        other_split=lambda: {"marvl-id.jsonl": _marvl("sw")},
    ),
    _rsvqa_files("rsvqa_lr", "LR_split_test", "Images_LR"),
    _rsvqa_files("rsvqa_hr", "USGS_split_test", "Data"),
    PublicFiles(
        data_set="pope",
        files=lambda: {"coco_pope_random.json": _pope()},
        pictures=(
            "val2014/COCO_val2014_000000016631.jpg",
            "val2014/COCO_val2014_000000016632.jpg",
        ),
        annotations="coco_pope_random.json",
        fields=_list_fields("text", "question_id", "image", "label"),
        loads=_loads(
            **{"0__text": "text", "0__question_id": "|".join(IDS), "0": "missing"}
        ),
        entries=(),
        answer=((0, "label"), ""),
    ),
    PublicFiles(
        data_set="vsr",
        files=lambda: {"zeroshot/test.jsonl": _vsr()},
        pictures=("images/000000050403.jpg", "images/000000401552.jpg"),
        annotations="zeroshot/test.jsonl",
        fields=_list_fields("caption", "image", "label", "relation"),
        loads=_loads(
            **{
                "0__caption": "text",
                "0__label": "0",
                "0__relation": "text|empty text|missing",
                "0": "missing",
            }
        ),
        answer=((0, "label"), None),
    ),
    PublicFiles(
        data_set="mmvp",
        files=lambda: {"Questions.csv": MMVP},
        pictures=("MMVP Images/1.jpg", "MMVP Images/2.jpg"),
        annotations="Questions.csv",
        fields=(),
        entries=(),
    ),
]
"""One for each data set but CountBenchQA, whose pictures are in a parquet file."""


def case_of(name: str) -> PublicFiles:
    """Return the files of a data set."""
    return next(case for case in copy.copy(CASES) if case.data_set == name)
