"""The records of transfers.toml: what its keys, metrics and sources are.

Sources, as the records name them:

- [P1] PaliGemma, arXiv:2407.07726v2: appendix J (settings of each transfer), section
  6.2 (what to try first).
- [P2] PaliGemma 2, arXiv:2412.03555v1: table 14 (learning rates by size, all at 224 px,
  the other settings as in [P1]), appendices B and C.
- [BV] big_vision at 0127fb6b, `configs/proj/paligemma/transfers/<task>.py`: prompts,
  lengths, filters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SIZES = ("3b", "10b", "28b")
RESOLUTIONS = (224, 448, 896)

METRICS: Mapping[str, str] = {
    "anls": "mean over questions of the best 1 - edit distance / longer length, "
    "0 where half of the letters are wrong; lower case",
    "cider": "CIDEr of the captions, after PTB tokenisation",
    "exact_match": "share of answers that equal the truth",
    "exact_match_lower": "share of answers that equal the truth in lower case",
    "mask_iou": "mean IoU of masks at the picture's own size, 0 for no valid mask",
    "perplexity": "mean negative log-likelihood of response tokens, lower is better",
    "pope": "share of yes and no that equal the truth, lower case",
    "relaxed_accuracy": "numbers within 5 %, other answers equal; lower case; mean of "
    "human and augmented questions",
    "rsvqa_accuracy": "mean over question types of the share of equal answers, lower "
    "case",
    "science_qa_accuracy": "share of 'The answer is X.' with the right letter",
    "tallyqa_accuracy": "share of equal numbers, number words as digits; simple and "
    "complex questions apart",
    "vqa_accuracy": "min(1, answers that are equal / 3), or 1 for the only one",
    "vqav2_accuracy": "the official VQAv2 score: over 10 answers, each left out once, "
    "min(1, equal answers / 3), after the official clean-up",
}
"""Every metric a recipe names, and what it is."""


@dataclass(frozen=True)
class Settings:
    """Training of a task at one resolution.

    Attributes:
        epochs: passes over the training rows.
        batch_size: rows of a step.
        learning_rate: PaliGemma 1's, peak of a cosine to 0 after 5 % linear warm-up.
        weight_decay: what is taken off a weight at the peak, as a share of it. It
            follows the schedule, but is not multiplied by the learning rate, by which
            it is to be divided for `keras.optimizers.AdamW`.
        dropout: in the language model, in [0, 1).
        label_smoothing: in [0, 1).
        freezes_vision: whether the image encoder stays as it is.
        source: where the numbers are from.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    dropout: float = 0.0
    label_smoothing: float = 0.0
    freezes_vision: bool = False
    source: str = "[P1] appendix J"


@dataclass(frozen=True)
class Task:
    """A transfer task of the papers.

    Attributes:
        name: what `recipes.get` calls it; [BV]'s name where there is one.
        dataset: what it is trained on.
        prompt: the prompt, with names of fields in braces.
        response: what the answer is.
        text_length: most tokens of prompt and answer together.
        metric: one of `METRICS`.
        settings: by resolution; empty where nothing is trained.
        learning_rates: of PaliGemma 2 by size; of several rates that [P2] finds
            equally good, or that differ between its metrics, all of them, once for
            each row of the table that has it.
        num_images: pictures (frames) of an example.
        frame_stride: frames from one taken to the next, for videos.
        num_beams: beams at evaluation; 1 is greedy.
        antialias: whether pictures are resized with antialias in training and at
            evaluation, bilinear; None where the source does not say.
        source: where prompt, response and length are from.
        settings_are_of_any_model: whether the learning rate of `settings` is not
            PaliGemma 1's alone.
    """

    name: str
    dataset: str
    prompt: str
    response: str
    text_length: int
    metric: str
    settings: Mapping[int, Settings]
    learning_rates: Mapping[str, tuple[float, ...]]
    num_images: int = 1
    frame_stride: int | None = None
    num_beams: int = 1
    antialias: tuple[bool, bool] | None = None
    source: str = "[BV]"
    settings_are_of_any_model: bool = False
