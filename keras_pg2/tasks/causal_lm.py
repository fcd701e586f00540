"""The task: pictures and prompts in, text out.

Axes: B batch, M images of an example, I image tokens, T text length, N new
tokens, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_pg2.generation import samplers
from keras_pg2.generation.compilation import bucket_length, compile_function
from keras_pg2.generation.decoding import generate_tokens
from keras_pg2.modeling.backbone import PaliGemma2Backbone, with_image_axis
from keras_pg2.preprocessing.examples import normalize_examples
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.loading import load_parts

Tensor = Any


class KeepText(keras.layers.Layer):
    """float[B, I + T, D] hidden states, int32[B, T] ids -> float[B, T, D] of the text.

    Image positions are dropped before the projection to a vocabulary of 257k.
    """

    def call(self, hidden: Tensor, token_ids: Tensor) -> Tensor:
        return hidden[:, ops.shape(hidden)[1] - ops.shape(token_ids)[1] :]


@keras.saving.register_keras_serializable(package="keras_pg2")
class PaliGemma2CausalLM(keras_hub.models.CausalLM):
    """PaliGemma 2 (or PaliGemma 1), from pictures and prompts to text.

    Called on the backbone's inputs it gives float32[B, T, V] logits, one
    position for each text token. `generate` and `fit` take pictures and text,
    which the preprocessor makes into those inputs.

    Example:

        model = PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
        model.generate({"images": "scene.png", "prompts": "caption en"})

    Args:
        backbone: the network.
        preprocessor: pictures and text to arrays; None to work on arrays.
    """

    backbone_cls = PaliGemma2Backbone
    preprocessor_cls = PaliGemma2CausalLMPreprocessor
    generate_function: Any = None

    def __init__(
        self,
        backbone: PaliGemma2Backbone,
        preprocessor: PaliGemma2CausalLMPreprocessor | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone
        self.preprocessor = preprocessor
        inputs = backbone.input
        hidden = KeepText(dtype=backbone.dtype_policy, name="keep_text")(
            backbone(inputs), inputs["token_ids"]
        )
        logits = backbone.project_to_vocabulary(hidden)
        super().__init__(inputs=inputs, outputs=logits, **kwargs)
        # Images may come with or without their M axis; `call` sees to it.
        self.input_spec = None

    def call(self, inputs: dict[str, Tensor], **kwargs: Any) -> Tensor:
        return super().call(with_image_axis(inputs), **kwargs)

    @classmethod
    def from_preset(
        cls, preset: str, load_weights: bool = True, **kwargs: Any
    ) -> PaliGemma2CausalLM:
        """Loads a model with its preprocessor.

        Args:
            preset: name of a bundled preset, a directory written by
                `save_to_preset`, or a Hugging Face directory of PaliGemma or
                PaliGemma 2.
            load_weights: False builds the model with random weights.
            **kwargs: `dtype`, and any number of the vision encoder or text
                decoder by its name, as `final_logit_soft_cap=None`.

        Raises:
            ValueError: for an unknown preset (with near matches) or a directory
                of another model.
            FileNotFoundError: when a file of the preset is missing.
            OSError: when a weight file is truncated or not readable.
            TypeError: for a number that neither part has.
        """
        backbone, preprocessor = load_parts(preset, load_weights, **kwargs)
        return cls(backbone, preprocessor)

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        weighted_metrics: Any = "auto",
        sampler: str | samplers.Sampler | Any = "greedy",
        **kwargs: Any,
    ) -> None:
        """Configures training and generation.

        Args:
            optimizer: as in `keras.Model.compile`; "auto" is Adam(2e-5).
            loss: as in `keras.Model.compile`; "auto" is sparse categorical
                cross-entropy on response tokens.
            weighted_metrics: as in `keras.Model.compile`; "auto" is accuracy on
                response tokens.
            sampler: "greedy", "random", "top_k" or "top_p", a
                `keras_pg2.Sampler`, or a sampler of KerasHub.
            **kwargs: further arguments of `keras.Model.compile`.

        Raises:
            ValueError: for an unknown sampler.
        """
        chosen = samplers.get(sampler)
        super().compile(
            optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs
        )
        self.sampler = chosen

    def make_generate_function(self) -> Any:
        """The compiled loop over tokens; compiled anew after `compile`."""
        if self.generate_function is None:
            self.generate_function = compile_function(
                partial(generate_tokens, self.backbone, self.sampler), self
            )
        return self.generate_function

    def generate(
        self,
        inputs: Any,
        max_length: int | None = None,
        stop_token_ids: str | list[int] | tuple[int, ...] | None = "auto",
        strip_prompt: bool = False,
        *,
        max_new_tokens: int | None = None,
        seed: int | None = None,
    ) -> Any:
        """Continues prompts.

        Args:
            inputs: a dict of `images` (file paths, PIL images or arrays; a list
                in the entry of an example for several) and `prompts` (a text or
                a list of texts), also `responses` that the answers must begin
                with; a prompt or prompts alone for text without a picture; or
                an iterable of such batches (`tf.data.Dataset`). Without a
                preprocessor: the backbone's inputs, padded on the right.
            max_length: most text tokens of prompt and answer together; None for
                the preprocessor's `sequence_length`. Without a preprocessor:
                the length of the given `token_ids`.
            stop_token_ids: tokens that end an answer; "auto" is the end token,
                None is none.
            strip_prompt: whether to leave the prompt out of the result.
            max_new_tokens: most tokens of an answer.
            seed: seed of the sampler's noise for this call.

        Returns:
            A text for one prompt, a list of texts for a list. Without a
            preprocessor a dict of `token_ids` int32[B, L] and `padding_mask`
            bool[B, L], each row's tokens first.

        Raises:
            TypeError: when a prompt is not text.
            ValueError: when a prompt leaves no room for an answer, or for bad
                inputs; before anything is computed.
        """
        if hasattr(inputs, "as_numpy_iterator"):
            options = (max_length, stop_token_ids, strip_prompt)
            batches = [
                self.generate(batch, *options, max_new_tokens=max_new_tokens, seed=seed)
                for batch in inputs.as_numpy_iterator()
            ]
            return [text for batch in batches for text in batch]
        if self.preprocessor is None:
            arrays, is_batched = dict(inputs), True
        else:
            is_batched = normalize_examples(inputs).is_batched
            arrays = self.preprocessor.generate_preprocess(
                inputs, sequence_length=max_length
            )
        arrays = {name: ops.convert_to_numpy(value) for name, value in arrays.items()}
        limits = self._token_limits(arrays["padding_mask"], max_length, max_new_tokens)
        tokens, num_generated = self._generate_arrays(
            arrays, limits, self._stop_token_ids(stop_token_ids), seed
        )
        result = _join_rows(arrays, tokens, num_generated, strip_prompt)
        if self.preprocessor is None:
            return result
        texts = self.preprocessor.generate_postprocess(result)
        return texts if is_batched else texts[0]

    def _generate_arrays(
        self,
        arrays: dict[str, np.ndarray],
        token_limits: np.ndarray,
        stop_token_ids: np.ndarray,
        seed: int | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pads to the buckets and runs the compiled loop.

        Returns:
            int32[B, N] tokens and int32[B], how many each row generated.
        """
        num_rows = len(token_limits)
        length = int(arrays["padding_mask"].sum(axis=1).max())
        prompt_length = bucket_length(length)
        inputs = {"images": np.asarray(arrays["images"], np.float32)}
        for name, dtype in (
            ("token_ids", np.int32),
            ("padding_mask", bool),
            ("response_mask", bool),
        ):
            padded = np.zeros((num_rows, prompt_length), dtype)
            padded[:, :length] = arrays[name][:, :length]
            inputs[name] = padded
        uniforms = self.sampler.draw_uniforms(
            num_rows, bucket_length(int(token_limits.max())), seed
        )
        tokens, num_generated = self.make_generate_function()(
            with_image_axis(inputs), uniforms, token_limits, stop_token_ids
        )
        return ops.convert_to_numpy(tokens), ops.convert_to_numpy(num_generated)

    def _token_limits(
        self,
        padding_mask: np.ndarray,
        max_length: int | None,
        max_new_tokens: int | None,
    ) -> np.ndarray:
        """How many tokens each row may generate, int32[B]."""
        lengths = padding_mask.astype(bool).sum(axis=1)
        if max_length is None:
            if self.preprocessor is not None:
                max_length = self.preprocessor.sequence_length
            elif max_new_tokens is not None:
                max_length = int(lengths.max()) + max_new_tokens
            else:
                max_length = padding_mask.shape[1]
        limits = max_length - lengths
        if max_new_tokens is not None:
            limits = np.minimum(limits, max_new_tokens)
        if limits.min() < 1:
            row = int(limits.argmin())
            raise ValueError(
                "Expected room for at least one new token in every row. Received: row "
                f"{row} with {lengths[row]} prompt tokens, {max_length=}, "
                f"{max_new_tokens=}. Shorten the prompt or raise the limit."
            )
        return limits.astype(np.int32)

    def _stop_token_ids(self, stop_token_ids: Any) -> np.ndarray:
        """int32[number of stop tokens]."""
        if stop_token_ids == "auto":
            if self.preprocessor is None:
                raise ValueError(
                    'Expected stop_token_ids as a list or None, received "auto" and '
                    "there is no preprocessor to take the end token from."
                )
            stop_token_ids = [self.preprocessor.tokenizer.end_token_id]
        return np.asarray(stop_token_ids or [], np.int32)


def _join_rows(
    arrays: dict[str, np.ndarray],
    tokens: np.ndarray,
    num_generated: np.ndarray,
    strip_prompt: bool,
) -> dict[str, np.ndarray]:
    """Each row's prompt and answer without a gap, padded on the right."""
    rows = []
    for i, new_tokens in enumerate(tokens):
        prompt = arrays["token_ids"][i][arrays["padding_mask"][i].astype(bool)]
        answer = new_tokens[: num_generated[i]]
        rows.append(answer if strip_prompt else np.concatenate([prompt, answer]))
    length = max(len(row) for row in rows)
    token_ids = np.zeros((len(rows), length), np.int32)
    padding_mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = row
        padding_mask[i, : len(row)] = True
    return {"token_ids": token_ids, "padding_mask": padding_mask}
