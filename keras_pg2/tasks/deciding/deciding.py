"""Many questions about a picture: it is encoded once, and all answers in one batch.

Axes: B batch, A answers to a question, I image tokens, D hidden_dim, T text length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.grammars import Choices
from keras_pg2.generation.compilation import CompiledFunctions
from keras_pg2.generation.decoding import Plan, generate_tokens
from keras_pg2.generation.samplers import Sampler
from keras_pg2.preprocessing.examples import unpack_axes
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.answering.answering import (
    answer_log_probabilities,
    encode_images,
)
from keras_pg2.tasks.answering.finite_check import check_finite
from keras_pg2.tasks.answering.requests import (
    AnsweringModel,
    EncodedImages,
    Images,
    Options,
    make_request,
)
from keras_pg2.tasks.deciding.calibration import DecisionCalibration
from keras_pg2.tasks.deciding.decisions import Decision, log_of_rest
from keras_pg2.tasks.deciding.numbers import (
    MOST_DIGITS,
    DigitSteps,
    NumberGrammar,
    read_number,
)
from keras_pg2.tasks.deciding.questions import Question, Value, read_questions
from keras_pg2.typing import Tensor

PROMPT = "answer en {question}"
"""What PaliGemma was trained on; see `preprocessing.prompts`."""


class _Row(NamedTuple):
    """One question about one picture.

    Attributes:
        picture: Index of the picture.
        question: The question.
        token_ids: int[T] of its prompt.
    """

    picture: int
    question: Question
    token_ids: np.ndarray


class _Tree(NamedTuple):
    """The answers to a question, in tokens.

    Attributes:
        values: What they stand for.
        answers: Tokens of each, the end token included; of `steps` those.
        steps: How a number without a range is made; None for other questions.
    """

    values: tuple[Value, ...]
    answers: list[list[int]]
    steps: DigitSteps | None = None

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.answers))


def decide(
    decider: Decider, images: Images, questions: Any
) -> (
    list[Decision]
    | dict[str, Decision]
    | list[list[Decision]]
    | list[dict[str, Decision]]
):
    """Return decisions about pictures; see `PaliGemma2CausalLM.decide`."""
    pictures: Sequence[Any] | EncodedImages
    if isinstance(images, EncodedImages):
        pictures, is_list = check_one(images), False
    else:
        entries = unpack_axes(images)
        is_list = isinstance(entries, list)
        pictures = entries if is_list else [entries]
    count = 1 if isinstance(pictures, EncodedImages) else len(pictures)
    if not count:
        raise ValueError("Expected at least one picture. Received: none.")
    is_of_each = (
        is_list
        and isinstance(questions, Sequence)
        and any(isinstance(each, list | tuple) for each in questions)
    )
    if is_of_each and len(questions) != count:
        raise ValueError(
            f"Expected a list of questions for each of {count} pictures, or questions "
            f"about all. Received: {len(questions)} lists."
        )
    names, own = [], []
    for given in questions if is_of_each else [questions]:
        found = read_questions(given)
        names.append(found[0])
        own.append(found[1])
    if not is_of_each:
        names, own = names * count, own * count
    decided = iter(decider.run(pictures, own))
    results: list[Any] = []
    for keys, asked in zip(names, own):
        made = [next(decided) for _ in asked]
        results.append(made if keys is None else dict(zip(keys, made)))
    return results if is_list else results[0]


def check_one(images: EncodedImages) -> EncodedImages:
    """Return encoded images; raise ValueError if they are not of one picture."""
    if len(images.embeddings) != 1:
        raise ValueError(
            "Expected encoded images of one picture. Received: "
            f"{len(images.embeddings)}. Pass the pictures."
        )
    return images


@dataclass(frozen=True)
class Decider:
    """Asks a model.

    Attributes:
        model: The model.
        functions: Its compiled functions.
        calibration: What makes probabilities those of being right; None for those
            of the network.
        prompt: With "{question}" in it.
        batch_size: Questions that go through the decoder together.

    Raises:
        ValueError: if the model has no preprocessor, the prompt has no question, or
            the batch size is not at least 1.
    """

    model: AnsweringModel
    functions: CompiledFunctions
    calibration: DecisionCalibration | None
    prompt: str
    batch_size: int

    def __post_init__(self) -> None:
        check_at_least_one("batch_size", self.batch_size)
        preprocessor = self.model.preprocessor
        if preprocessor is None or preprocessor.image_converter is None:
            raise ValueError(
                "Expected a model with a preprocessor and an image converter to decide "
                "about pictures. Received one without."
            )
        if not isinstance(self.prompt, str) or "{question}" not in self.prompt:
            raise ValueError(
                f"Expected prompt as a text with {{question}} in it, such as "
                f"{PROMPT!r}. Received: {self.prompt!r}."
            )

    @property
    def _preprocessor(self) -> PaliGemma2CausalLMPreprocessor:
        assert self.model.preprocessor is not None
        return self.model.preprocessor

    def run(
        self, pictures: Sequence[Any] | EncodedImages, questions: list[list[Question]]
    ) -> Iterator[Decision]:
        """Yield the decisions, picture by picture; some pictures are in memory.

        Args:
            pictures: At least one.
            questions: About each.

        Raises:
            ValueError: if a prompt is too long; before anything is computed.
        """
        rows = iter(self._prepare(questions))
        encoded = pictures if isinstance(pictures, EncodedImages) else None
        for start in range(0, len(questions), self.batch_size):
            part = questions[start : start + self.batch_size]
            if not isinstance(pictures, EncodedImages):
                some = list(pictures[start : start + self.batch_size])
                encoded = encode_images(self.model, self.functions, some)
            assert encoded is not None
            own = [
                next(rows)._replace(picture=picture)
                for picture, asked in enumerate(part)
                for _ in asked
            ]
            yield from self._decide(encoded.embeddings, own)

    def _prepare(self, questions: list[list[Question]]) -> list[_Row]:
        """Return all questions with their prompts, checked, each text once."""
        flat = [question for asked in questions for question in asked]
        texts = list(dict.fromkeys(question.text for question in flat))
        prompts = [self.prompt.replace("{question}", text) for text in texts]
        length = self._preprocessor.sequence_length
        arrays = self._preprocessor.prepare_prompts(prompts, length)
        masks = arrays["padding_mask"].astype(bool)
        tokens = dict(
            zip(texts, (row[mask] for row, mask in zip(arrays["token_ids"], masks)))
        )
        for question in flat:
            self._tokens(question)  # Choices that have the same tokens are an error.
        return [_Row(0, question, tokens[question.text]) for question in flat]

    def _tokens(self, question: Question) -> list[list[int]]:
        if not question.values:
            return []
        return Choices(question.answers).tokens(self._preprocessor.tokenizer)

    def _decide(self, features: Tensor, rows: list[_Row]) -> list[Decision]:
        """Return decisions about some pictures, float[U, I, D]."""
        trees = self._trees(features, rows)
        # Trees of like size go together, so that little is filled up.
        order = sorted(range(len(rows)), key=lambda i: trees[i].num_tokens)
        found: dict[int, Decision] = {}
        for start in range(0, len(order), self.batch_size):
            part = order[start : start + self.batch_size]
            asked = [rows[i] for i in part]
            totals = answer_log_probabilities(
                self.functions,
                _arrays(asked, features),
                [trees[i].answers for i in part],
                np.array([row.picture for row in asked], np.int32),
            )
            for i, scores in zip(part, totals):
                found[i] = self._decision(rows[i].question, trees[i], scores)
        return [found[i] for i in range(len(rows))]

    def _trees(self, features: Tensor, rows: list[_Row]) -> list[_Tree]:
        free = [row for row in rows if not row.question.values]
        numbers = iter(self._write_numbers(features, free))
        tokenizer = self._preprocessor.tokenizer
        trees = []
        for row in rows:
            values = row.question.values
            if values:
                trees.append(_Tree(values, self._tokens(row.question)))
                continue
            tokens = next(numbers)
            steps = DigitSteps.of(tokens, tokenizer)
            number = read_number(tokens, tokenizer)
            trees.append(_Tree((number,), steps.answers, steps))
        return trees

    def _write_numbers(self, features: Tensor, rows: list[_Row]) -> list[list[int]]:
        """Return the tokens of the likeliest number, digit by digit, for each row."""
        found: list[list[int]] = []
        options = Options(max_new_tokens=MOST_DIGITS + 1, constraint=NumberGrammar())
        run = self.functions.get(generate_tokens, Plan(Sampler()))
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            pictures = np.array([row.picture for row in part], np.int32)
            arrays = _arrays(part, ops.take(features, pictures, axis=0))
            request = make_request(self.model, arrays, options)
            greedy = request._replace(
                uniforms=np.zeros_like(request.uniforms),
                parameters=Sampler().parameters,
            )
            answers = run(greedy)
            tokens, counts, is_finite = (
                ops.convert_to_numpy(each)[: len(part)]
                for each in (answers.tokens, answers.num_generated, answers.is_finite)
            )
            check_finite(self.functions.backbone, arrays, is_finite)
            found += [row[:count].tolist() for row, count in zip(tokens, counts)]
        return found

    def _decision(
        self, question: Question, tree: _Tree, totals: np.ndarray
    ) -> Decision:
        calibration = self.calibration or DecisionCalibration()
        if tree.steps is not None:
            own = tree.steps.log_probability(totals)
            totals = np.array([own])
            both = np.array([own, log_of_rest(own)])
            probabilities = calibration(question.kind, both)[:1]
        else:
            probabilities = calibration(question.kind, totals)
        order = np.argsort(-probabilities, kind="stable")
        return Decision(
            question=question,
            value=tree.values[order[0]],
            probabilities={tree.values[i]: float(probabilities[i]) for i in order},
            log_probabilities={tree.values[i]: float(totals[i]) for i in order},
        )


def _arrays(rows: list[_Row], features: Tensor) -> dict[str, Any]:
    """Return the prompts of rows as `preprocess` does, with image tokens."""
    lengths = np.array([len(row.token_ids) for row in rows])
    token_ids = np.zeros((len(rows), int(lengths.max())), np.int32)
    for i, row in enumerate(rows):
        token_ids[i, : len(row.token_ids)] = row.token_ids
    mask = np.arange(token_ids.shape[1]) < lengths[:, None]
    return {
        "token_ids": token_ids,
        "padding_mask": mask,
        "response_mask": np.zeros_like(mask),
        "image_embeddings": features,
    }
