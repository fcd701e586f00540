"""A SavedModel held to the model it came from."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from keras import ops
from PIL import Image

from keras_pg2.deploy.preparation import checked_parts
from keras_pg2.generation.compilation import CompiledFunctions
from keras_pg2.generation.decoding import Plan, generate_tokens
from keras_pg2.generation.samplers import Sampler
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.answering.answering import answer_log_probabilities
from keras_pg2.tasks.answering.requests import Options, make_request, preprocess

PROMPTS = ("caption en", "", "answer en what is in the picture?", "detect cat ; dog")
"""Of several lengths; those that do not fit are left out."""
ANSWERS = ("a red circle and a dog", "", "no", "cat <loc0010><loc0020>")
"""To be scored, one a prompt; those that do not fit are "", the end token alone."""
SCORE_TOLERANCE, HALF_PRECISION_SCORE_TOLERANCE = 1e-4, 0.05
"""Of a log-probability, and as a share of it where it is above 1; the second where the
model computes in 16 bits."""


@dataclass(frozen=True)
class SavedModelComparison:
    """Sample answers of a SavedModel, all of which are the model's.

    Attributes:
        num_answers: how many, of random pictures and prompts of several lengths.
        num_tokens: of all of them together.
        num_bytes: of the directory.
        score_difference: the largest between log-probabilities of given answers and
            the model's.
    """

    num_answers: int
    num_tokens: int
    num_bytes: int
    score_difference: float

    def __str__(self) -> str:
        return (
            f"{self.num_answers} of {self.num_answers} sample answers "
            f"({self.num_tokens} tokens) are the model's, as ids and as text; scores "
            f"differ by at most {self.score_difference:.1g}; "
            f"{self.num_bytes / 1e6:.1f} MB"
        )


def verify_saved_model(
    tf: ModuleType,
    model: PaliGemma2CausalLM,
    directory: Path,
    max_new_tokens: int,
    prompt_length: int,
    seed: int = 0,
) -> SavedModelComparison:
    """Answers of `generate_ids` and `serve`, and scores, beside the model's own.

    Args:
        tf: the module `tensorflow`; `tensorflow_text` is imported already.
        model: the `PaliGemma2CausalLM` that was exported.
        directory: the SavedModel.
        max_new_tokens: N.
        prompt_length: T.
        seed: of the pictures.

    Raises:
        ValueError: when an id, a text or a score is another.
    """
    backbone, preprocessor = checked_parts(model)
    size = backbone.image_size
    prompts = [
        prompt
        for prompt in PROMPTS
        if len(preprocessor.generate_preprocess(prompt)["token_ids"][0])
        <= prompt_length
    ]
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (len(prompts), size, size, 3)).astype(np.uint8)
    arrays, _ = preprocess(model, {"images": list(pictures), "prompts": prompts}, None)
    ids = model_ids(model, arrays, max_new_tokens)
    texts = preprocessor.generate_postprocess(
        {"token_ids": ids, "padding_mask": np.ones_like(ids, bool)}
    )
    signatures = tf.saved_model.load(str(directory)).signatures
    padding = [(0, 0), (0, prompt_length - arrays["token_ids"].shape[1])]
    found_ids = signatures["generate_ids"](
        pixels=tf.constant(arrays["images"][:, 0]),
        token_ids=tf.constant(np.pad(arrays["token_ids"], padding)),
        padding_mask=tf.constant(np.pad(arrays["padding_mask"], padding)),
    )["token_ids"].numpy()
    questions = {
        "image_bytes": tf.constant([_as_png(picture) for picture in pictures]),
        "prompt": tf.constant(prompts),
    }
    served = signatures["serve"](**questions)
    found_texts = [text.decode() for text in served["text"].numpy()]
    if not np.array_equal(found_ids, ids) or found_texts != texts:
        same = int((found_ids == ids).all(axis=1).sum())
        raise ValueError(
            "Expected the answers of the SavedModel to be the model's. Received: "
            f"{same} of {len(ids)} with the same ids, texts {found_texts} where the "
            f"model says {texts}. Where the model computes in 16 bits, near ties may "
            "be decided otherwise: load it with dtype='float32'."
        )
    answers, scores = model_scores(model, arrays, max_new_tokens)
    found_scores = signatures["score"](**questions, answer=tf.constant(answers))
    difference = _check_scores(
        found_scores["log_probability"].numpy(), scores, backbone.compute_dtype
    )
    sizes = [file.stat().st_size for file in directory.rglob("*") if file.is_file()]
    return SavedModelComparison(
        num_answers=len(ids),
        num_tokens=int((ids != 0).sum()),
        num_bytes=sum(sizes),
        score_difference=difference,
    )


def model_ids(
    model: PaliGemma2CausalLM, arrays: dict[str, np.ndarray], max_new_tokens: int
) -> np.ndarray:
    """int32[B, N], the model's greedy answers to preprocessed prompts."""
    options = Options(max_new_tokens=max_new_tokens)
    request = make_request(model, arrays, options)
    greedy = request._replace(
        uniforms=np.zeros_like(request.uniforms), parameters=Sampler().parameters
    )
    answers = CompiledFunctions(model).get(generate_tokens, Plan(Sampler()))(greedy)
    tokens = ops.convert_to_numpy(answers.tokens)
    return tokens[: len(arrays["token_ids"]), :max_new_tokens]


def model_scores(
    model: PaliGemma2CausalLM, arrays: dict[str, np.ndarray], max_new_tokens: int
) -> tuple[list[str], np.ndarray]:
    """An answer to each preprocessed prompt, and the model's float64[B] of them."""
    tokenizer = checked_parts(model)[1].tokenizer
    answers = list(ANSWERS[: len(arrays["token_ids"])])
    tokens = [[*ids, tokenizer.end_token_id] for ids in tokenizer.tokenize(answers)]
    for row, ids in enumerate(tokens):
        if len(ids) > max_new_tokens:
            answers[row], tokens[row] = "", [tokenizer.end_token_id]
    functions, trees = CompiledFunctions(model), [[ids] for ids in tokens]
    return answers, np.concatenate(answer_log_probabilities(functions, arrays, trees))


def _check_scores(found: np.ndarray, expected: np.ndarray, dtype: str) -> float:
    is_half = dtype != "float32"
    tolerance = HALF_PRECISION_SCORE_TOLERANCE if is_half else SCORE_TOLERANCE
    differences = np.abs(found - expected)
    if not (differences <= tolerance * np.maximum(np.abs(expected), 1)).all():
        raise ValueError(
            "Expected the scores of the SavedModel to be the model's. Received: "
            f"{found.tolist()} where the model says {expected.tolist()}."
        )
    return float(differences.max())


def _as_png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
