"""Transfers to texts in pictures, charts and documents; the generic ones."""

from __future__ import annotations

from keras_pg2.recipes.record import NOT_IN_TABLE_14, Settings, Task, at, rates

_BOTH = (224, 448)
_ALL = (224, 448, 896)
_QUESTION = "answer en {question}"

DOCUMENTS = (
    Task(
        name="chartqa",
        dataset="ChartQA, 7398 human and 20901 augmented questions",
        prompt="{question}",
        response="the answer",
        text_length=48,
        metric="relaxed_accuracy",
        settings=at(
            _BOTH,
            Settings(
                epochs=30,
                batch_size=256,
                learning_rate=1e-5,
                weight_decay=1e-6,
                dropout=0.1,
                label_smoothing=0.2,
            ),
        ),
        # Augmented, then human.
        learning_rates=rates((3e-6, 3e-6), (1e-6, 3e-7), (3e-7, 3e-7)),
        antialias=(True, True),
    ),
    Task(
        name="docvqa",
        dataset="DocVQA",
        prompt="{question}",
        response="one of the answers, by chance",
        text_length=32,
        metric="anls",
        settings=at(
            _ALL,
            Settings(epochs=10, batch_size=256, learning_rate=1e-5, weight_decay=1e-6),
        ),
        learning_rates=rates((6e-6,), (3e-6,), (3e-6,)),
        antialias=(True, True),
    ),
    Task(
        name="infovqa",
        dataset="InfographicVQA",
        prompt=_QUESTION,
        response="the answer in lower case",
        text_length=48,
        metric="anls",
        settings={
            224: Settings(
                epochs=3,
                batch_size=256,
                learning_rate=1e-5,
                weight_decay=1e-6,
                label_smoothing=0.4,
            ),
            448: Settings(
                epochs=3,
                batch_size=128,
                learning_rate=1e-5,
                weight_decay=1e-6,
                label_smoothing=0.4,
            ),
            896: Settings(
                epochs=3,
                batch_size=32,
                learning_rate=3e-6,
                weight_decay=3e-7,
                label_smoothing=0.4,
            ),
        },
        learning_rates=rates((3e-6,), (6e-7,), (3e-7,)),
        antialias=(True, True),
    ),
    Task(
        name="stvqa",
        dataset="ST-VQA",
        prompt=_QUESTION,
        response="the answer in lower case",
        text_length=48,
        metric="anls",
        settings={
            224: Settings(
                epochs=3,
                batch_size=256,
                learning_rate=1e-5,
                weight_decay=1e-6,
                label_smoothing=0.1,
            ),
            448: Settings(
                epochs=3,
                batch_size=128,
                learning_rate=1e-5,
                weight_decay=1e-6,
                label_smoothing=0.1,
            ),
            896: Settings(
                epochs=3,
                batch_size=32,
                learning_rate=3e-6,
                weight_decay=3e-7,
                label_smoothing=0.1,
            ),
        },
        learning_rates=rates((6e-6,), (3e-6,), (3e-6,)),
        antialias=(True, True),
    ),
    Task(
        name="textvqa",
        dataset="TextVQA",
        prompt=_QUESTION,
        response="one of the ten answers, by chance",
        text_length=32,
        metric="vqav2_accuracy",
        settings={
            224: Settings(epochs=5, batch_size=256, learning_rate=3e-6, weight_decay=0),
            448: Settings(
                epochs=10, batch_size=256, learning_rate=3e-6, weight_decay=3e-7
            ),
            896: Settings(
                epochs=10, batch_size=256, learning_rate=3e-6, weight_decay=0
            ),
        },
        learning_rates=rates((3e-6,), (6e-7,), (1e-6,)),
        antialias=(True, True),
    ),
    Task(
        name="ocrvqa",
        dataset="OCR-VQA",
        prompt=_QUESTION,
        response="the answer",
        text_length=32,
        metric="exact_match",
        settings={
            224: Settings(3, 128, 3e-6),
            448: Settings(3, 128, 3e-6),
            896: Settings(3, 128, 1e-5),
        },
        learning_rates=rates((1e-6, 3e-6), (3e-7,), (3e-7, 6e-7)),
        antialias=(True, True),
    ),
    Task(
        name="refcoco_seg",
        dataset="RefCOCO, RefCOCO+ and RefCOCOg together",
        prompt="{expression}",
        response="four location and sixteen mask tokens, no label",
        text_length=48,
        metric="mask_iou",
        settings={
            224: Settings(
                epochs=100,
                batch_size=256,
                learning_rate=3e-5,
                dropout=0.1,
                label_smoothing=0.3,
            ),
            448: Settings(
                epochs=100, batch_size=256, learning_rate=1e-5, label_smoothing=0.3
            ),
            896: Settings(
                epochs=100, batch_size=64, learning_rate=1e-5, label_smoothing=0.3
            ),
        },
        # RefCOCO, RefCOCO+, RefCOCOg; for the last "6e-7 to 3e-6" at 10B.
        learning_rates=rates((1e-5,) * 3, (3e-6, 3e-6, 6e-7, 3e-6), (1e-6, 6e-6, 6e-7)),
        antialias=(False, False),
    ),
    Task(
        name="forkme",
        dataset="JSON lines of one's own (LongCap100)",
        prompt="caption en",
        response="the suffix of the line",
        text_length=128,
        metric="perplexity",
        settings=at(
            (224,),
            Settings(
                epochs=15,
                batch_size=32,
                learning_rate=1e-5,
                weight_decay=3e-7,
                source="[BV] forkme.py",
            ),
        ),
        learning_rates=NOT_IN_TABLE_14,
        antialias=(True, True),
        # PaliGemma 2's own configuration, for no size in particular.
        source="[BV]; the final soft cap is off: final_logit_soft_cap=None",
        settings_are_of_any_model=True,
    ),
    Task(
        name="vertexai_l4",
        dataset="JSON lines of one's own, on one L4",
        prompt="caption en",
        response="the suffix of the line",
        text_length=128,
        metric="perplexity",
        settings=at(
            (224,),
            Settings(
                epochs=1, batch_size=4, learning_rate=0.1, source="[BV] vertexai_l4.py"
            ),
        ),
        learning_rates=NOT_IN_TABLE_14,
        antialias=(True, True),
        source="[BV]; plain SGD, so its rate is no measure for Adam",
        settings_are_of_any_model=True,
    ),
)
