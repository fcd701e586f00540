"""What a model is asked: `generate` and everything that is made of it.

Axes: B batch, N new tokens, L tokens of prompt and answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Unpack, overload

import numpy as np

from keras_pg2.codecs.grammars import Grammar
from keras_pg2.generation.beams import search_beams
from keras_pg2.generation.compilation import CompiledFunctions
from keras_pg2.generation.decoding import (
    Generated,
    Plan,
    Request,
    count_tokens,
    generate_tokens,
)
from keras_pg2.generation.recording.recording import recording_at_once
from keras_pg2.generation.samplers import BeamSearch, Sampler
from keras_pg2.generation.session import Session
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.preprocessing.images import ImageInput
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.answering.answering import (
    check_no_beams,
    check_stop_strings,
    choose,
    encode_images,
    generate_until,
    read_answers,
    stream,
)
from keras_pg2.tasks.answering.answers import Answers, Arrays, ScoredAnswer
from keras_pg2.tasks.answering.detecting_model import DetectingModel
from keras_pg2.tasks.answering.given_answers import score_given
from keras_pg2.tasks.answering.requests import (
    Batch,
    Dataset,
    EncodedImages,
    Example,
    Inputs,
    Limits,
    Options,
    Pictures,
    StopTokenIds,
    Texts,
    prepare,
)
from keras_pg2.tasks.answering.warming import warming_request


class CausalLM(DetectingModel):
    """What a causal model answers; it goes before the class that trains.

    A plain class, as Keras changes the bases of a functional model's classes, and
    fails if two of them meet again. Named as KerasHub's class is: KerasHub writes the
    name of a task's first base into presets.
    """

    backbone: PaliGemma2Backbone
    preprocessor: PaliGemma2CausalLMPreprocessor | None
    sampler: Sampler | BeamSearch
    _functions: CompiledFunctions

    def make_generate_function(
        self, with_scores: bool = False
    ) -> Callable[[Request], Generated]:
        """Return the compiled function from `Request` to `Generated`."""
        plan = Plan(self.sampler.structure, with_scores)
        run = search_beams if isinstance(self.sampler, BeamSearch) else generate_tokens

        def generate(request: Request) -> Generated:
            size = count_tokens(self.backbone, request)
            return self._functions.get(run, plan, num_tokens=size)(request)

        return generate

    @overload
    def generate(
        self,
        inputs: str | Example,
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        strip_prompt: bool = False,
        *,
        return_scores: Literal[False] = False,
        **limits: Unpack[Limits],
    ) -> str: ...

    @overload
    def generate(
        self,
        inputs: Texts | Batch | Dataset,
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        strip_prompt: bool = False,
        *,
        return_scores: Literal[False] = False,
        **limits: Unpack[Limits],
    ) -> list[str]: ...

    @overload
    def generate(
        self,
        inputs: str | Example,
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        strip_prompt: bool = False,
        *,
        return_scores: Literal[True],
        **limits: Unpack[Limits],
    ) -> ScoredAnswer: ...

    @overload
    def generate(
        self,
        inputs: Texts | Batch | Dataset,
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        strip_prompt: bool = False,
        *,
        return_scores: Literal[True],
        **limits: Unpack[Limits],
    ) -> list[ScoredAnswer]: ...

    @overload
    def generate(
        self,
        inputs: Mapping[str, np.ndarray],
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        strip_prompt: bool = False,
        *,
        return_scores: bool = False,
        **limits: Unpack[Limits],
    ) -> Arrays: ...

    @overload
    def generate(
        self,
        inputs: Mapping[str, Any],
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        strip_prompt: bool = False,
        *,
        return_scores: Literal[False] = False,
        **limits: Unpack[Limits],
    ) -> str | list[str]: ...

    @overload
    def generate(
        self,
        inputs: Mapping[str, Any],
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        strip_prompt: bool = False,
        *,
        return_scores: Literal[True],
        **limits: Unpack[Limits],
    ) -> ScoredAnswer | list[ScoredAnswer]: ...

    def generate(
        self,
        inputs: Inputs,
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        strip_prompt: bool = False,
        *,
        max_new_tokens: int | None = None,
        seed: int | None = None,
        stop_strings: str | Sequence[str] | None = None,
        constraint: Grammar | None = None,
        return_scores: bool = False,
    ) -> Answers:
        """Continue prompts.

        A picture that several prompts of a batch are about is encoded once. One prompt
        as text is one example, whose answer is about all pictures given with it: for
        an answer about each picture repeat the prompt, `["caption en"] * 2`.

        Args:
            inputs: a dict of `images` (paths, PIL images, arrays or what else
                `preprocessing.images.load_rgb` takes; a list in the entry of an
                example for several; or what `encode_images` made of them) and
                `prompts` (a text or a list of texts), also `responses` that the
                answers must begin with; a prompt or prompts alone for text without
                a picture; or a `tf.data.Dataset` of such dicts. Without a
                preprocessor: the backbone's inputs, padded on the right (no
                `response_mask` means no response yet).
            max_length: most text tokens of prompt and answer together; None for
                the preprocessor's `sequence_length` (without a preprocessor:
                the length of the given `token_ids`), which an answer may
                outgrow, a prompt not, where `max_new_tokens` is given.
            stop_token_ids: tokens that end an answer; "auto" is the end token,
                None is none.
            strip_prompt: whether to leave the prompt out of the result.
            max_new_tokens: most tokens of an answer.
            seed: seed of the sampler's noise for this call.
            stop_strings: texts before which an answer ends.
            constraint: the form that answers must have: a `LocationGrammar`,
                `Choices`, or another `codecs.grammars.Grammar`.
            return_scores: whether to return `ScoredAnswer`s, which have the
                log-probability of each token, instead of texts; the prompt is left
                out of their text.

        Returns:
            A text (or `ScoredAnswer`) for one prompt, a list for a list or a
            dataset. Without a preprocessor a dict of `token_ids` int32[B, L] and
            `padding_mask` bool[B, L], each row's tokens first, with
            `return_scores` also `log_probabilities` float32[B, L], 0 at the
            prompt (for a dataset a list of such dicts, one a batch).

        Raises:
            TypeError: if a prompt is not text.
            ValueError: if a prompt leaves no room for an answer, or inputs are bad;
                before anything is computed.
            FloatingPointError: if the network computes NaN or infinity; says why.
        """
        options = Options(
            max_length=max_length,
            max_new_tokens=max_new_tokens,
            stop_token_ids=stop_token_ids,
            seed=seed,
            constraint=constraint,
        )
        stops = check_stop_strings(self, stop_strings)
        arguments = options, stops, strip_prompt, return_scores
        if not hasattr(inputs, "as_numpy_iterator"):
            return self._answer(inputs, *arguments)
        batches = inputs.as_numpy_iterator()
        results = [self._answer(batch, *arguments) for batch in batches]
        if results and not isinstance(results[0], list):
            return results
        return [result for batch in results for result in batch]

    def _answer(
        self,
        inputs: Inputs,
        options: Options,
        stops: tuple[str, ...],
        strip_prompt: bool,
        return_scores: bool,
    ) -> Answers:
        prepared = prepare(self, inputs, options)
        if stops and self.preprocessor is not None:
            plan = Plan(self.sampler.structure, return_scores)
            session = Session(self._functions, plan, prepared.request)
            answers = generate_until(session, self.preprocessor, stops)
        else:
            answers = self.make_generate_function(return_scores)(prepared.request)
        return read_answers(self, prepared, answers, stops, strip_prompt, return_scores)

    @overload
    def stream(
        self,
        inputs: str | Example,
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        **limits: Unpack[Limits],
    ) -> Iterator[str]: ...

    @overload
    def stream(
        self,
        inputs: Texts | Batch,
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        **limits: Unpack[Limits],
    ) -> Iterator[list[str]]: ...

    @overload
    def stream(
        self,
        inputs: Mapping[str, Any],
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        **limits: Unpack[Limits],
    ) -> Iterator[str] | Iterator[list[str]]: ...

    def stream(
        self,
        inputs: Inputs,
        max_length: int | None = None,
        stop_token_ids: StopTokenIds = "auto",
        *,
        max_new_tokens: int | None = None,
        seed: int | None = None,
        stop_strings: str | Sequence[str] | None = None,
        constraint: Grammar | None = None,
    ) -> Iterator[Any]:
        """Yield the answers of `generate` as they are made, piece by piece.

        Put together, the pieces are the text that `generate` gives with
        `strip_prompt=True`. A piece ends with a complete character.

        The arguments are those of `generate`, except that there is no dataset.

        Yields:
            The new text after each token, for a list of prompts a list of one
            text a row; "" if there is nothing new.

        Raises:
            TypeError, ValueError: as `generate`, at the call; also for a model
                without a preprocessor and for beam search, which knows its answer
                only in the end.
            FloatingPointError: as `generate`, at the token where it happens.
        """
        if self.preprocessor is None:
            raise ValueError(
                "Expected a model with a preprocessor, to make text of tokens. "
                "Received: preprocessor=None. Call `generate`."
            )
        check_no_beams(self.sampler, "stream")
        options = Options(
            max_length=max_length,
            max_new_tokens=max_new_tokens,
            stop_token_ids=stop_token_ids,
            seed=seed,
            constraint=constraint,
        )
        stops = check_stop_strings(self, stop_strings)
        plan, prepared = Plan(self.sampler.structure), prepare(self, inputs, options)
        return stream(self._functions, plan, prepared, self.preprocessor, stops)

    @overload
    def choose(
        self, inputs: str | Example, choices: Sequence[str]
    ) -> dict[str, float]: ...

    @overload
    def choose(
        self, inputs: Texts | Batch, choices: Sequence[str]
    ) -> list[dict[str, float]]: ...

    @overload
    def choose(
        self, inputs: Mapping[str, Any], choices: Sequence[str]
    ) -> dict[str, float] | list[dict[str, float]]: ...

    def choose(
        self, inputs: Inputs, choices: Sequence[str]
    ) -> dict[str, float] | list[dict[str, float]]:
        """Return how probable each of some answers is.

        The prompt is computed once, and each choice with its end token after it.

        Args:
            inputs: pictures and prompts as for `generate`, without `responses`.
            choices: the answers to choose from.

        Returns:
            A dict of each choice and its probability among them (they add up to 1),
            likeliest first; for a list of prompts a list of dicts.

        Raises:
            TypeError, ValueError: for bad inputs, or a model without a
                preprocessor.
            FloatingPointError: as `generate`.
        """
        return choose(self, self._functions, inputs, choices)

    def score(self, inputs: Inputs, answers: Sequence[str]) -> list[ScoredAnswer]:
        """Return how probable given answers are, one to each prompt.

        Args:
            inputs: pictures and prompts as for `generate`, without `responses`.
            answers: an answer to each prompt, without the end token.

        Returns:
            What `generate(..., return_scores=True)` would return for these answers,
            their end tokens included.

        Raises:
            TypeError, ValueError: for bad inputs, another number of answers than of
                prompts, or a model without a preprocessor.
            FloatingPointError: as `generate`.
        """
        return score_given(self, self._functions, inputs, answers)

    def encode_images(self, images: ImageInput | Pictures) -> EncodedImages:
        """Compute the image tokens of pictures, for many prompts about them.

        Args:
            images: one picture, or a list of pictures, one an example.

        Returns:
            What `generate`, `stream` and `choose` take as `images`.

        Raises:
            ValueError, OSError: if a picture is bad.
        """
        return encode_images(self, self._functions, images)

    def warmup(
        self,
        batch_size: int = 1,
        prompt_length: int = 16,
        max_new_tokens: int | None = None,
        num_images: int = 1,
    ) -> None:
        """Compile what a call of `generate` will need, and run it once.

        Lengths are rounded up to buckets (8, 16 or multiples of 64 for prompts, powers
        of two for answers, 1, 2, 4, 8 or a multiple of 8 for batches): one call is
        enough for all of a bucket. Compiled functions of JAX are kept on disk. On
        PyTorch, which compiles nothing, the operations of pictures, prompts and tokens
        are recorded.

        Args:
            batch_size: Number of prompts.
            prompt_length: Number of tokens of the longest prompt.
            max_new_tokens: as it will be given to `generate`; None for calls
                without a limit.
            num_images: Number of pictures of each prompt.

        Raises:
            ValueError: if a number is no integer >= 1.
        """
        request = warming_request(
            self, batch_size, prompt_length, max_new_tokens, num_images
        )
        with recording_at_once():
            self.make_generate_function()(request)
