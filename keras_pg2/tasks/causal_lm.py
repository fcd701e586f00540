"""The task: pictures and prompts in, text out.

Axes: B batch, M images of an example, I image tokens, T text length, N new
tokens, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_hub
from keras import ops

from keras_pg2.conversion.from_model import write_model
from keras_pg2.generation import rows, samplers
from keras_pg2.generation.compilation import bucket_length, compile_function
from keras_pg2.generation.decoding import generate_tokens
from keras_pg2.modeling.backbone import PaliGemma2Backbone, with_image_axis
from keras_pg2.preprocessing.examples import normalize_examples
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.loading import load_parts

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_pg2")
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
    _traced_variables: Any = None

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
            preset: name of a preset (ours, KerasHub's, or a Hugging Face id), a URI
                (`hf://organisation/model[@revision]`, `kaggle://...`), a
                directory (written by `save_to_preset`, of KerasHub or of Hugging
                Face), or a file (.npz of big_vision, .sbs of gemma.cpp). What is
                not on this machine is downloaded.
            load_weights: False builds the model with random weights; for a
                released name offline, without a preprocessor.
            **kwargs: `dtype`, `sequence_length`, `tokenizer` (a SentencePiece file
                for a .npz, which has none inside), and any number of the vision
                encoder or text decoder by its name, as `final_logit_soft_cap=None`.

        Raises:
            ValueError: for an unknown preset (with near matches), another model,
                numbers that do not fit the weights, NaN among the weights.
            FileNotFoundError: when a file of the preset is missing.
            OSError: when a weight file is truncated or not readable.
            PermissionError, ConnectionError: when a download is not allowed (says
                how to get access) or not possible.
            TypeError: for a number that neither part has.
        """
        backbone, preprocessor = load_parts(preset, load_weights, **kwargs)
        return cls(backbone, preprocessor)

    def export_to_transformers(
        self, path: str | Path, dtype: str | None = None
    ) -> Path:
        """Writes a Hugging Face directory that transformers, vLLM and MLX read.

        LoRA is merged into the kernels. The other formats: `conversion.write_model`.

        Args:
            path: a directory that is not there yet.
            dtype: "float32", "bfloat16" or "float16"; None for that of the weights.

        Raises:
            FileExistsError: when there is something at the path.
            ValueError: when the model is quantised, or no network of transformers.
            OSError: when the disk is full; nothing is left behind.
        """
        return write_model(self, path, "hf", dtype)

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
        """The compiled loop over tokens; compiled anew after `compile`.

        And after `enable_lora` or `quantize`: a compiled function of TensorFlow would
        go on with the variables it was traced with.
        """
        variables = tuple(id(variable) for variable in self.backbone.variables)
        if self.generate_function is None or variables != self._traced_variables:
            self._traced_variables = variables
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
                a `tf.data.Dataset` of such dicts. Without a preprocessor: the
                backbone's inputs, padded on the right (no `response_mask` means
                no response yet).
            max_length: most text tokens of prompt and answer together; None for
                the preprocessor's `sequence_length` (without a preprocessor:
                the length of the given `token_ids`), which an answer may
                outgrow, a prompt not, where `max_new_tokens` is given.
            stop_token_ids: tokens that end an answer; "auto" is the end token,
                None is none.
            strip_prompt: whether to leave the prompt out of the result.
            max_new_tokens: most tokens of an answer.
            seed: seed of the sampler's noise for this call.

        Returns:
            A text for one prompt, a list of texts for a list or a dataset.
            Without a preprocessor a dict of `token_ids` int32[B, L] and
            `padding_mask` bool[B, L], each row's tokens first (for a dataset a
            list of such dicts, one a batch).

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
            if batches and not isinstance(batches[0], list):
                return batches
            return [text for batch in batches for text in batch]
        if self.preprocessor is None:
            arrays, is_batched = rows.check_arrays(inputs), True
        else:
            is_batched = normalize_examples(inputs).is_batched
            arrays = self.preprocessor.generate_preprocess(
                inputs,
                sequence_length=max_length or self.preprocessor.sequence_length,
            )
        arrays = {name: ops.convert_to_numpy(value) for name, value in arrays.items()}
        if max_length is None and max_new_tokens is None:
            max_length = self._default_length(arrays)
        lengths = arrays["padding_mask"].astype(bool).sum(axis=1)
        limits = rows.token_limits(lengths, max_length, max_new_tokens)
        uniforms = self.sampler.draw_uniforms(
            len(limits), bucket_length(int(limits.max())), seed
        )
        tokens, num_generated = self.make_generate_function()(
            with_image_axis(rows.pad_to_bucket(arrays)),
            uniforms,
            limits,
            rows.as_token_ids(self._resolve_stop_tokens(stop_token_ids)),
        )
        result = rows.join_rows(
            arrays,
            ops.convert_to_numpy(tokens),
            ops.convert_to_numpy(num_generated),
            strip_prompt,
        )
        if self.preprocessor is None:
            return result
        texts = self.preprocessor.generate_postprocess(result)
        return texts if is_batched else texts[0]

    def _default_length(self, arrays: dict[str, Any]) -> int:
        """Most text tokens where the caller says nothing."""
        if self.preprocessor is None:
            return arrays["padding_mask"].shape[1]
        return self.preprocessor.sequence_length

    def _resolve_stop_tokens(self, stop_token_ids: Any) -> Any:
        """The end token for "auto", else what was given."""
        if not isinstance(stop_token_ids, str) or stop_token_ids != "auto":
            return stop_token_ids
        if self.preprocessor is None:
            raise ValueError(
                'Expected stop_token_ids as a list or None, received "auto" and there '
                "is no preprocessor to take the end token from."
            )
        return [self.preprocessor.tokenizer.end_token_id]
