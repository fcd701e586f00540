"""Transfers to texts in pictures, charts and documents; the generic ones."""

from __future__ import annotations

from keras_pg2.recipes.record import NOT_IN_TABLE_14, Settings, Task, at, rates

_BOTH = (224, 448)
_ALL = (224, 448, 896)
_QUESTION = "answer en {question}"

DOCUMENTS = (
    Task(
        "chartqa",
        "ChartQA, 7398 human and 20901 augmented questions",
        "{question}",
        "the answer",
        48,
        "relaxed_accuracy",
        at(_BOTH, Settings(30, 256, 1e-5, 1e-6, dropout=0.1, label_smoothing=0.2)),
        # Augmented, then human.
        rates((3e-6, 3e-6), (1e-6, 3e-7), (3e-7, 3e-7)),
        antialias=(True, True),
    ),
    Task(
        "docvqa",
        "DocVQA",
        "{question}",
        "one of the answers, by chance",
        32,
        "anls",
        at(_ALL, Settings(10, 256, 1e-5, 1e-6)),
        rates((6e-6,), (3e-6,), (3e-6,)),
        antialias=(True, True),
    ),
    Task(
        "infovqa",
        "InfographicVQA",
        _QUESTION,
        "the answer in lower case",
        48,
        "anls",
        {
            224: Settings(3, 256, 1e-5, 1e-6, label_smoothing=0.4),
            448: Settings(3, 128, 1e-5, 1e-6, label_smoothing=0.4),
            896: Settings(3, 32, 3e-6, 3e-7, label_smoothing=0.4),
        },
        rates((3e-6,), (6e-7,), (3e-7,)),
        antialias=(True, True),
    ),
    Task(
        "stvqa",
        "ST-VQA",
        _QUESTION,
        "the answer in lower case",
        48,
        "anls",
        {
            224: Settings(3, 256, 1e-5, 1e-6, label_smoothing=0.1),
            448: Settings(3, 128, 1e-5, 1e-6, label_smoothing=0.1),
            896: Settings(3, 32, 3e-6, 3e-7, label_smoothing=0.1),
        },
        rates((6e-6,), (3e-6,), (3e-6,)),
        antialias=(True, True),
    ),
    Task(
        "textvqa",
        "TextVQA",
        _QUESTION,
        "one of the ten answers, by chance",
        32,
        "vqav2_accuracy",
        {
            224: Settings(5, 256, 3e-6, 0),
            448: Settings(10, 256, 3e-6, 3e-7),
            896: Settings(10, 256, 3e-6, 0),
        },
        rates((3e-6,), (6e-7,), (1e-6,)),
        antialias=(True, True),
    ),
    Task(
        "ocrvqa",
        "OCR-VQA",
        _QUESTION,
        "the answer",
        32,
        "exact_match",
        {
            224: Settings(3, 128, 3e-6),
            448: Settings(3, 128, 3e-6),
            896: Settings(3, 128, 1e-5),
        },
        rates((1e-6, 3e-6), (3e-7,), (3e-7, 6e-7)),
        antialias=(True, True),
    ),
    Task(
        "refcoco_seg",
        "RefCOCO, RefCOCO+ and RefCOCOg together",
        "{expression}",
        "four location and sixteen mask tokens, no label",
        48,
        "mask_iou",
        {
            224: Settings(100, 256, 3e-5, dropout=0.1, label_smoothing=0.3),
            448: Settings(100, 256, 1e-5, label_smoothing=0.3),
            896: Settings(100, 64, 1e-5, label_smoothing=0.3),
        },
        # RefCOCO, RefCOCO+, RefCOCOg; for the last "6e-7 to 3e-6" at 10B.
        rates((1e-5,) * 3, (3e-6, 3e-6, 6e-7, 3e-6), (1e-6, 6e-6, 6e-7)),
        antialias=(False, False),
    ),
    Task(
        "forkme",
        "JSON lines of one's own (LongCap100)",
        "caption en",
        "the suffix of the line",
        128,
        "perplexity",
        at((224,), Settings(15, 32, 1e-5, 3e-7, source="[BV] forkme.py")),
        NOT_IN_TABLE_14,
        antialias=(True, True),
        # PaliGemma 2's own configuration, for no size in particular.
        source="[BV]; the final soft cap is off: final_logit_soft_cap=None",
        settings_are_of_any_model=True,
    ),
    Task(
        "vertexai_l4",
        "JSON lines of one's own, on one L4",
        "caption en",
        "the suffix of the line",
        128,
        "perplexity",
        at((224,), Settings(1, 4, 0.1, source="[BV] vertexai_l4.py")),
        NOT_IN_TABLE_14,
        antialias=(True, True),
        source="[BV]; plain SGD, so its rate is no measure for Adam",
        settings_are_of_any_model=True,
    ),
)
