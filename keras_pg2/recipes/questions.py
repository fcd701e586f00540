"""Transfers to questions about photographs, and to questions about videos."""

from __future__ import annotations

from keras_pg2.recipes.record import NOT_IN_TABLE_14, Settings, Task, at, rates

_BOTH = (224, 448)
_QUESTION = "answer en {question}"
# Two blanks after "en", and tabs between the options, as the code writes them.
_CHOICES = "answer en  {question} choose from: {options joined by ' \\t '}"

QUESTIONS = (
    Task(
        name="vqav2",
        dataset="VQAv2, train and all but 10240 of validation",
        prompt=_QUESTION,
        response="one of the ten answers, by chance",
        text_length=32,
        metric="vqav2_accuracy",
        settings={
            224: Settings(
                epochs=10, batch_size=256, learning_rate=1e-5, weight_decay=1e-6
            ),
            448: Settings(
                epochs=10, batch_size=256, learning_rate=1e-5, weight_decay=0
            ),
        },
        learning_rates=rates((3e-6,), (1e-6,), (6e-7, 1e-6)),
        antialias=(True, True),
    ),
    Task(
        name="okvqa",
        dataset="OK-VQA",
        prompt=_QUESTION,
        response="one of the answers, by chance",
        text_length=32,
        metric="vqa_accuracy",
        settings=at(_BOTH, Settings(10, 128, 5e-6)),
        learning_rates=rates((3e-6,), (1e-6,), (1e-6,)),
        antialias=(True, True),
    ),
    Task(
        name="aokvqa_da",
        dataset="A-OKVQA, direct answers",
        prompt=_QUESTION,
        response="one of the direct answers, by chance",
        text_length=32,
        metric="vqa_accuracy",
        settings=at(_BOTH, Settings(10, 128, 5e-6)),
        learning_rates=rates((3e-6,), (1e-6,), (6e-7,)),
        antialias=(True, True),
    ),
    Task(
        name="aokvqa_mc",
        dataset="A-OKVQA, multiple choice",
        prompt=_CHOICES,
        response="the right option",
        text_length=128,
        metric="vqa_accuracy",
        settings=at(_BOTH, Settings(15, 128, 5e-6)),
        learning_rates=rates((3e-6,), (3e-7,), (1e-6,)),
        antialias=(True, True),
    ),
    Task(
        name="ai2d",
        dataset="AI2D",
        prompt=_CHOICES,
        response="the right option",
        text_length=128,
        metric="vqa_accuracy",
        settings=at(
            _BOTH,
            Settings(epochs=10, batch_size=256, learning_rate=1e-5, weight_decay=1e-6),
        ),
        learning_rates=rates((6e-6,), (1e-6,), (3e-6,)),
        antialias=(True, False),
    ),
    Task(
        name="gqa",
        dataset="GQA, balanced",
        prompt=_QUESTION,
        response="the answer",
        text_length=32,
        metric="vqa_accuracy",
        settings={
            224: Settings(1, 256, 1e-5),
            448: Settings(
                epochs=1, batch_size=256, learning_rate=1e-5, freezes_vision=True
            ),
        },
        learning_rates=rates((3e-6, 6e-6), (1e-6,), (3e-6,)),
        antialias=(False, False),
    ),
    Task(
        name="nlvr2",
        dataset="NLVR2",
        prompt="answer en {sentence}",
        response="True or False",
        text_length=64,
        metric="vqa_accuracy",
        settings={
            224: Settings(
                epochs=3, batch_size=256, learning_rate=1e-5, weight_decay=1e-6
            ),
            448: Settings(
                epochs=10, batch_size=256, learning_rate=3e-6, weight_decay=3e-7
            ),
        },
        learning_rates=rates((6e-6,), (1e-6, 3e-6), (3e-6, 6e-6)),
        num_images=2,
        antialias=(False, False),
    ),
    Task(
        name="science_qa",
        dataset="ScienceQA",
        prompt="Question: {question}\nContext: {hint}\nOptions: {(A) x, (B) y}\n"
        "Answer:",
        response="'The answer is A.', with the options shuffled",
        text_length=512,
        metric="science_qa_accuracy",
        settings=at(
            _BOTH,
            Settings(
                epochs=20, batch_size=128, learning_rate=1e-5, freezes_vision=True
            ),
        ),
        learning_rates=rates((6e-6,), (1e-6, 3e-6), (1e-6,)),
        antialias=(False, False),
    ),
    Task(
        name="rsvqa_lr",
        dataset="RSVQA low resolution, without counting",
        prompt=_QUESTION,
        response="the answer in lower case",
        text_length=32,
        metric="rsvqa_accuracy",
        settings=at(
            _BOTH,
            Settings(epochs=3, batch_size=256, learning_rate=3e-6, label_smoothing=0.2),
        ),
        learning_rates=NOT_IN_TABLE_14,
        antialias=(True, False),
    ),
    Task(
        name="rsvqa_hr",
        dataset="RSVQA high resolution, without counting",
        prompt=_QUESTION,
        response="the answer in lower case",
        text_length=32,
        metric="rsvqa_accuracy",
        settings=at(_BOTH, Settings(1, 256, 1e-5)),
        learning_rates=NOT_IN_TABLE_14,
        antialias=(True, False),
    ),
    Task(
        name="vizwizvqa",
        dataset="VizWiz-VQA",
        prompt=_QUESTION,
        response="one of the answers, by chance",
        text_length=48,
        metric="vqa_accuracy",
        settings=at(_BOTH, Settings(10, 256, 1e-5)),
        learning_rates=rates((1e-5,), (3e-6,), (3e-6,)),
        antialias=(True, False),
    ),
    Task(
        name="tallyqa",
        dataset="TallyQA",
        prompt=_QUESTION,
        response="the number in digits",
        text_length=32,
        metric="tallyqa_accuracy",
        settings={
            224: Settings(epochs=2, batch_size=256, learning_rate=1e-5, weight_decay=0),
            448: Settings(
                epochs=2, batch_size=256, learning_rate=1e-5, weight_decay=1e-6
            ),
            896: Settings(
                epochs=2,
                batch_size=256,
                learning_rate=7e-6,
                weight_decay=7e-7,
                source="[BV] sweep_best",
            ),
        },
        learning_rates=rates((1e-5,), (3e-6,), (3e-6,)),
        antialias=(True, True),
    ),
    Task(
        name="pope",
        dataset="POPE random, popular and adversarial; evaluation only",
        prompt=_QUESTION,
        response="yes or no",
        text_length=48,
        metric="pope",
        settings={},
        learning_rates=NOT_IN_TABLE_14,
        antialias=(False, False),
        # The code's own default is the question alone.
        source="[BV]; the prompt as the text of [P1] has it",
    ),
    Task(
        name="msrvtt_qa",
        dataset="MSR-VTT questions",
        prompt=_QUESTION,
        response="the answer",
        text_length=64,
        metric="exact_match",
        settings=at(
            (224,),
            Settings(epochs=1, batch_size=128, learning_rate=1e-5, freezes_vision=True),
        ),
        learning_rates=rates((6e-6,), (3e-6,)),
        num_images=16,
        frame_stride=9,
    ),
    Task(
        name="msvd_qa",
        dataset="MSVD questions",
        prompt=_QUESTION,
        response="the answer",
        text_length=64,
        metric="exact_match",
        settings=at(
            (224,),
            Settings(epochs=1, batch_size=128, learning_rate=3e-6, weight_decay=3e-7),
        ),
        learning_rates=rates((3e-6,), (1e-6,)),
        num_images=8,
        frame_stride=26,
    ),
    Task(
        name="activitynet_qa",
        dataset="ActivityNet questions",
        prompt=_QUESTION,
        response="the answer",
        text_length=64,
        metric="exact_match",
        settings=at(
            (224,),
            Settings(epochs=1, batch_size=128, learning_rate=1e-5, weight_decay=1e-6),
        ),
        learning_rates=rates((6e-6,), (6e-6,)),
        num_images=16,
        frame_stride=70,
    ),
)
