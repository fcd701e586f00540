"""From what a user passes to `generate` to what the compiled functions take.

Axes: B batch, M images of an example, I image tokens, T text length, N new tokens,
D hidden_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import (
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    Protocol,
    TypeAlias,
    TypedDict,
)

import numpy as np
from keras import ops

from keras_pg2.checks.numbers import check_at_least_one, check_seed
from keras_pg2.codecs import grammars
from keras_pg2.codecs.grammars import Grammar, TokenAutomaton
from keras_pg2.generation import rows
from keras_pg2.generation.compilation import bucket_length
from keras_pg2.generation.decoding import Generated, Request
from keras_pg2.generation.samplers import BeamSearch, Sampler
from keras_pg2.modeling.backbone import PaliGemma2Backbone, with_image_axis
from keras_pg2.preprocessing.examples import normalize_examples
from keras_pg2.preprocessing.images import ImageInput
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.typing import Tensor

Pictures: TypeAlias = Sequence[ImageInput]
Texts: TypeAlias = list[str] | tuple[str, ...]
Images: TypeAlias = Any
"""A picture, or `Pictures`; everything else is refused."""
Inputs: TypeAlias = Any
"""An `Example`, a `Batch`, its prompts alone, or arrays; all else is refused."""
StopTokenIds: TypeAlias = Literal["auto"] | Sequence[int] | None
"""Tokens that end an answer; "auto" is the end token."""


class AnsweringModel(Protocol):
    """What answering knows of a `PaliGemma2CausalLM`."""

    backbone: PaliGemma2Backbone
    preprocessor: PaliGemma2CausalLMPreprocessor | None
    sampler: Sampler | BeamSearch

    def make_generate_function(
        self, with_scores: bool = False
    ) -> Callable[[Request], Generated]:
        """Return the compiled function of requests to answers."""


@dataclass(frozen=True)
class EncodedImages:
    """What `encode_images` makes of pictures; `generate` takes it in their place.

    Attributes:
        embeddings: float[B, M * I, D], in the decoder's own space.
    """

    embeddings: Tensor


class Example(TypedDict):
    """One prompt, with its picture or pictures."""

    prompts: str
    images: NotRequired[ImageInput | Pictures | EncodedImages]
    responses: NotRequired[str]


class Batch(TypedDict):
    """Prompts, with a picture for all of them or an entry for each."""

    prompts: Texts
    images: NotRequired[ImageInput | Sequence[ImageInput | Pictures] | EncodedImages]
    responses: NotRequired[Texts]


class Dataset(Protocol):
    """A `tf.data.Dataset` of batches."""

    def as_numpy_iterator(self) -> Iterator[Any]:
        """Return an iterator of its elements, as arrays of NumPy."""


class Limits(TypedDict, total=False):
    """Options of `generate` that do not change the type of what it returns."""

    max_new_tokens: int | None
    seed: int | None
    stop_strings: str | Sequence[str] | None
    constraint: Grammar | None


@dataclass(frozen=True)
class Options:
    """The arguments of `PaliGemma2CausalLM.generate` that make a request.

    Raises:
        ValueError: for a limit that is no whole number >= 1, or a seed below 0.
    """

    max_length: int | None = None
    max_new_tokens: int | None = None
    stop_token_ids: StopTokenIds = "auto"
    seed: int | None = None
    constraint: Grammar | None = None

    def __post_init__(self) -> None:
        for name in ("max_length", "max_new_tokens"):
            if getattr(self, name) is not None:
                check_at_least_one(name, getattr(self, name))
        check_seed(self.seed)


class Prepared(NamedTuple):
    """A request, and what is needed to read its answers.

    Attributes:
        arrays: `token_ids` and `padding_mask` [B, T], as preprocessed.
        request: padded to its buckets.
        is_batched: whether a list of answers is due.
    """

    arrays: dict[str, np.ndarray]
    request: Request
    is_batched: bool


def prepare(model: AnsweringModel, inputs: Inputs, options: Options) -> Prepared:
    """Check and preprocess inputs of `generate`, except a dataset, and its options.

    Nothing is computed by the network.

    Raises:
        TypeError, ValueError, OSError: as `PaliGemma2CausalLM.generate`.
    """
    arrays, is_batched = preprocess(model, inputs, options.max_length)
    return Prepared(arrays, make_request(model, arrays, options), is_batched)


def make_request(
    model: AnsweringModel, arrays: dict[str, np.ndarray], options: Options
) -> Request:
    """Pad prompts of `preprocess` to their buckets and add the rest of a request.

    Raises:
        ValueError: as `PaliGemma2CausalLM.generate`.
    """
    preprocessor = model.preprocessor
    max_length = options.max_length
    if max_length is None and options.max_new_tokens is None:
        max_length = (
            arrays["padding_mask"].shape[1]
            if preprocessor is None
            else preprocessor.sequence_length
        )
    lengths = arrays["padding_mask"].astype(bool).sum(axis=1)
    limits = rows.token_limits(lengths, max_length, options.max_new_tokens)
    # Of the longest answer that may be asked for, so that the length of a prompt
    # alone compiles nothing new.
    longest = bucket_length(int(options.max_new_tokens or max_length or 1))
    automaton, states = _constrain(model, options.constraint, arrays, limits)
    padded = rows.pad_to_bucket(arrays)
    num_rows = len(padded["token_ids"])
    # Rows that only fill the batch have a limit of 0.
    extra = (0, num_rows - len(limits))
    return Request(
        inputs=padded,
        uniforms=model.sampler.draw_uniforms(num_rows, longest, options.seed),
        token_limits=np.pad(limits, extra),
        stop_token_ids=rows.as_token_ids(
            _stop_tokens(preprocessor, options.stop_token_ids)
        ),
        parameters=model.sampler.parameters,
        automaton=automaton,
        states=np.pad(states, extra),
    )


def preprocess(
    model: AnsweringModel, inputs: Inputs, max_length: int | None
) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays of prompts and pictures, and whether a list of answers is due."""
    features = None
    images = inputs.get("images") if isinstance(inputs, Mapping) else None
    if isinstance(images, EncodedImages):
        features = images.embeddings
        inputs = {key: value for key, value in inputs.items() if key != "images"}
    elif isinstance(images, list | tuple) and any(
        isinstance(image, EncodedImages) for image in images
    ):
        raise TypeError(
            "Expected encoded images as one, of all pictures. Received: a list with "
            "some in it. Pass all pictures to one call of `encode_images`."
        )
    preprocessor = model.preprocessor
    if preprocessor is None:
        is_batched = True
        if features is not None:
            inputs = {**inputs, "images": features}
        arrays = rows.check_arrays(inputs)
    else:
        is_batched = normalize_examples(inputs).is_batched
        length = max_length or preprocessor.sequence_length
        arrays = preprocessor.prepare_prompts(inputs, length)
    if features is not None:
        arrays = {**arrays, "image_embeddings": _check_features(features, arrays)}
        del arrays["images"]
    arrays = {
        name: value if name == "image_embeddings" else ops.convert_to_numpy(value)
        for name, value in arrays.items()
    }
    return with_image_axis(arrays) if "images" in arrays else arrays, is_batched


def _check_features(features: Tensor, arrays: dict[str, np.ndarray]) -> Tensor:
    num_rows, num_pictures = len(arrays["token_ids"]), len(features)
    if num_pictures not in (1, num_rows):
        raise ValueError(
            "Expected encoded images of one example, or of as many as there are "
            f"prompts. Received: {num_pictures} for {num_rows} prompts."
        )
    return features


def _constrain(
    model: AnsweringModel,
    constraint: Grammar | None,
    arrays: dict[str, np.ndarray],
    limits: np.ndarray,
) -> tuple[TokenAutomaton | None, np.ndarray]:
    """The grammar as arrays, and its state after each given beginning."""
    if constraint is None:
        return None, np.zeros(len(limits), np.int32)
    if model.preprocessor is None:
        raise ValueError(
            "Expected a model with a preprocessor together with constraint, to make "
            "tokens of its texts. Received: preprocessor=None."
        )
    grammars.check_grammar(constraint)
    automaton = constraint.automaton(
        model.preprocessor.tokenizer, model.backbone.vocabulary_size
    )
    given = arrays["response_mask"].astype(bool)
    beginnings = [row[mask] for row, mask in zip(arrays["token_ids"], given)]
    states = grammars.start_states(automaton, beginnings)
    grammars.check_room(automaton, states, limits)
    return automaton, states


def _stop_tokens(
    preprocessor: PaliGemma2CausalLMPreprocessor | None, stop_token_ids: StopTokenIds
) -> StopTokenIds:
    """The end token for "auto", otherwise what was given."""
    if not isinstance(stop_token_ids, str) or stop_token_ids != "auto":
        return stop_token_ids
    if preprocessor is None:
        raise ValueError(
            'Expected stop_token_ids as a list or None, received "auto" and there '
            "is no preprocessor to take the end token from."
        )
    return [preprocessor.tokenizer.end_token_id]
