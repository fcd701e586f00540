"""The task: pictures and prompts in, text out.

Axes: B batch, M images of an example, I image tokens, T text length, N new
tokens, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.grammars import Choices, Grammar
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.conversion.from_model import write_model
from keras_pg2.conversion.keras.preset import leave_lora_out_of_count
from keras_pg2.datasets.loading import FollowEpochs, RowBatches
from keras_pg2.garbage_collection import frozen_garbage
from keras_pg2.generation import rows, samplers
from keras_pg2.generation.beams import search_beams
from keras_pg2.generation.compilation import CompiledFunctions
from keras_pg2.generation.decoding import (
    Generated,
    Plan,
    Request,
    count_tokens,
    embed_images,
    generate_tokens,
)
from keras_pg2.generation.recording.recording import recording_at_once
from keras_pg2.modeling.backbone import PaliGemma2Backbone, with_image_axis
from keras_pg2.preprocessing.image_features import ImageFeatures
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.adapters.base import short_name
from keras_pg2.tasks.adapters.layers import Targets
from keras_pg2.tasks.adapters.registry import Adapters
from keras_pg2.tasks.answering.answering import answer, choice_probabilities, stream
from keras_pg2.tasks.answering.answers import as_stop_strings
from keras_pg2.tasks.answering.detecting import Asked, DetectionFiles, find_detections
from keras_pg2.tasks.answering.detection_scores import ScoreCalibration
from keras_pg2.tasks.answering.requests import (
    EncodedImages,
    Options,
    make_request,
    prepare,
    preprocess,
)
from keras_pg2.tasks.loading.loading import load_parts
from keras_pg2.tasks.quantizing import (
    check_can_save,
    check_mode,
    choose_layers,
)
from keras_pg2.tasks.training.causal_lm import CausalLM
from keras_pg2.tasks.training.feature_caching import cache_features, hidden_of_features
from keras_pg2.tasks.training.feeding import is_loader, prepare_data
from keras_pg2.tasks.training.memory import MemoryEstimate, estimate_memory
from keras_pg2.typing import Tensor


@keras.saving.register_keras_serializable(package="keras_pg2")
class KeepText(keras.layers.Layer):
    """float[B, I + T, D] hidden states, int32[B, T] ids -> float[B, T, D] of the text.

    Image positions are dropped before the projection to a vocabulary of 257k.
    """

    def call(self, hidden: Tensor, token_ids: Tensor) -> Tensor:
        return hidden[:, ops.shape(hidden)[1] - ops.shape(token_ids)[1] :]


class VocabularyLogits(keras.layers.Layer):
    """float[B, T, D] hidden states -> float32[B, T, V] logits of a backbone.

    A layer, as the model would else keep the embedding as it was when it was made. Its
    weights are those of the backbone, and stay there.
    """

    def __init__(self, backbone: PaliGemma2Backbone, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project = backbone.project_to_vocabulary

    def call(self, hidden: Tensor) -> Tensor:
        return self.project(hidden)


@keras.saving.register_keras_serializable(package="keras_pg2")
class PaliGemma2CausalLM(CausalLM):
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
        logits = VocabularyLogits(backbone, dtype=backbone.dtype_policy, name="logits")(
            hidden
        )
        super().__init__(inputs=inputs, outputs=logits, **kwargs)
        # Images may come with or without their M axis; `call` sees to it.
        self.input_spec = None
        # Tracked here, so that files of weights go without.
        self.noise_generator = backbone.text_decoder.noise.generator
        self.functions = CompiledFunctions(self)
        self.detection_files = DetectionFiles(None)
        self.adapters = Adapters(self)

    def call(
        self, inputs: dict[str, Tensor], training: bool | None = None, **kwargs: Any
    ) -> Tensor:
        if "image_features" in inputs:
            hidden = self.compute_hidden(inputs, training)
            return (
                hidden if self.course.is_in_step else self.get_layer("logits")(hidden)
            )
        return super().call(with_image_axis(inputs), training=training, **kwargs)

    def compute_hidden(
        self, inputs: dict[str, Tensor], training: bool | None = None
    ) -> Tensor:
        if "image_features" in inputs:
            hidden = hidden_of_features(self.backbone, inputs, training)
        else:
            hidden = self.backbone(inputs, training=training)
        return self.get_layer("keep_text")(hidden, inputs["token_ids"])

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
            **kwargs: `dtype` ("auto" is bfloat16 on an accelerator and float32 on a
                CPU; None is Keras' own policy), `sequence_length`, `tokenizer` (a
                SentencePiece file for a .npz, which has none inside), and any number
                of the vision encoder or text decoder by its name, as
                `final_logit_soft_cap=None`.

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
        model = cls(backbone, preprocessor)
        model.adapters.base_name = short_name(preset)
        if load_weights:
            model.detection_files = DetectionFiles.of_preset(preset)
        return model

    def save_to_preset(self, preset_dir: str | Path, **kwargs: Any) -> None:
        """Writes a directory that `from_preset` reads; LoRA is merged into the kernels.

        Quantised kernels are saved as they are; with LoRA in them they are quantised
        anew, and outputs are near those of before: `save_adapter` keeps both exactly.

        Args:
            preset_dir: the directory.
            **kwargs: as for KerasHub, `max_shard_size` in GB.

        Raises:
            ValueError: when it is quantised by quantizers that Keras does not save.
        """
        check_can_save(self.backbone)
        super().save_to_preset(str(preset_dir), **kwargs)
        if self.adapters.names:
            leave_lora_out_of_count(Path(preset_dir))
        self.detection_files.save(Path(preset_dir))

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

    def quantize(
        self,
        mode: str = "int8",
        config: Any = None,
        filters: str | Sequence[str] | Callable[[Any], bool] | None = None,
        *,
        parts: Sequence[str] | None = None,
    ) -> None:
        """Makes the kernels and the token embedding whole numbers of 8 or 4 bits.

        Norms, biases, the patches' convolution and the position embedding stay floats.
        "int8" has one scale an output, and rounds the activations too; "int4" has a
        scale and a zero point for every 128 inputs of an output (fewer in the last
        group, as in the vision tower's width of 4,304), and float activations. LoRA
        trains on top, after this or before.

            model.quantize("int4", parts=["text_decoder"])

        Args:
            mode: "int8" or "int4".
            config: a `keras.quantizers` configuration of that mode, as in Keras; only
                models without one of their own quantizers can be saved.
            filters: regular expressions that are searched in the paths of layers, or a
                predicate of a layer; None for all.
            parts: of "vision_encoder", "projection", "text_decoder"; None for all.

        Raises:
            ValueError: for another mode, a model that is quantised already, an unknown
                part, filters that leave nothing, or while an adapter is merged.
        """
        check_mode(mode)
        self.adapters.check_can_quantize()
        wanted = choose_layers(self.backbone, parts, filters)
        with frozen_garbage():
            super().quantize(mode, config=config, filters=wanted)
        self.functions.clear()

    def enable_lora(
        self,
        rank: int,
        targets: Targets | None = None,
        *,
        alpha: float | None = None,
        parts: Sequence[str] | None = None,
        name: str = "default",
        dropout: float = 0.0,
    ) -> None:
        """Adds LoRA to dense layers and freezes everything else.

        The factors are in float32, whatever the dtype of the model. They begin by
        adding nothing. Call `compile` afterwards.

        Args:
            rank: of the factors.
            targets: a list of layers: by name ("query_dense"), by the end of a path
                ("attention/query_dense"), by a pattern of these
                ("text_decoder/block_?/*"), or by a compiled regular expression that is
                searched in the path. None is query and value.
            alpha: the product of the factors is multiplied by alpha / rank; None is
                `rank`.
            parts: of "vision_encoder", "projection" and "text_decoder", those with
                LoRA; None is all that targets are found in.
            name: of the adapter; the one in the network before is kept.
            dropout: the probability in training that an input of the factors is left
                out, as in PEFT; kept with the adapter.

        Raises:
            TypeError, ValueError: for a rank or alpha that is no number above 0, a
                dropout outside of [0, 1), an unknown part, a target that matches
                nothing (with near ones), an adapter of this name with other numbers, a
                quantised model that LoRA does not work in.
        """
        self.adapters.enable(rank, targets, alpha, parts, name, dropout)

    def save_adapter(
        self, path: str | Path, *, name: str | None = None, overwrite: bool = False
    ) -> None:
        """Writes a LoRA adapter as one small file, whole or not at all.

        Args:
            path: ends in .safetensors.
            name: of the adapter; None for the one in the network.
            overwrite: whether a file at the path is replaced.

        Raises:
            ValueError: when there is no such adapter, it is merged, or other weights
                are trainable, which the file would lose.
            FileExistsError: when there is something at the path.
        """
        self.adapters.save(path, name, overwrite)

    def load_adapter(
        self, path: str | Path, *, name: str | None = None, check_base: bool = True
    ) -> str:
        """Loads a LoRA adapter and puts it in the network; all of it or nothing.

        Args:
            path: a file of `save_adapter`, a directory of `finetune` (of which it is
                the result), or a directory of PEFT.
            name: to call it; None for that of the file or directory.
            check_base: whether the model must be the one the file was trained on (a
                directory of PEFT does not tell).

        Returns:
            The name.

        Raises:
            FileNotFoundError: when there is nothing at the path.
            ValueError: for another base, layers that are not there or of another
                shape, a damaged file, a name that is taken, DoRA and the like.
        """
        return self.adapters.load(path, name, check_base)

    def set_adapter(self, name: str | None) -> None:
        """Puts one of `adapters.names` in the network, trainable; "none" takes it out.

        Where ranks and alphas are the same, nothing is compiled again. Call `compile`
        before training another adapter.

        Raises:
            ValueError: for an unknown name, or while an adapter is merged.
        """
        self.adapters.set(name)

    def delete_adapter(self, name: str) -> None:
        """Forgets an adapter.

        Raises:
            ValueError: for an unknown name, or while an adapter is merged.
        """
        self.adapters.delete(name)

    def merge_lora(self, *, can_unmerge: bool = True) -> None:
        """Adds the adapter in the network to the kernels, which then cost no more.

        Args:
            can_unmerge: whether the kernels as they were are kept on the host, so that
                `unmerge_lora` brings them back exactly. False forgets all adapters.

        Raises:
            ValueError: when there is no adapter in the network, or it is quantised.
        """
        self.adapters.merge(can_unmerge)

    def unmerge_lora(self) -> None:
        """Undoes `merge_lora`: kernels as they were, and the adapter beside them.

        Raises:
            ValueError: when nothing is merged that can be undone.
        """
        self.adapters.unmerge()

    def export_adapter_to_peft(
        self, path: str | Path, *, name: str | None = None, base: str | None = None
    ) -> None:
        """Writes a directory that `peft.PeftModel.from_pretrained` loads.

        Args:
            path: a directory that is not there yet.
            name: of the adapter; None for the one in the network.
            base: Hugging Face id or directory of the base, to be noted in it; None for
                that of the preset.

        Raises:
            FileExistsError: when there is something at the path.
            ValueError: as `save_adapter`.
        """
        self.adapters.export(path, name, base)

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
            loss: as in `keras.Model.compile`; "auto" is `keras_pg2.ResponseLoss()`,
                cross-entropy on response tokens. That loss is computed a chunk of
                tokens at a time; another one is given float32[B, T, V] logits.
            weighted_metrics: as in `keras.Model.compile`; "auto" is accuracy on
                response tokens. Any but "accuracy", "acc" and
                "sparse_categorical_accuracy" needs all logits, as do `metrics` and
                `loss_weights`: the loss is then computed from those too.
            sampler: "greedy", "random", "top_k", "top_p" or "beam", a
                `keras_pg2.Sampler` or `BeamSearch`, or a sampler of KerasHub.
            **kwargs: further arguments of `keras.Model.compile`.

        Raises:
            ValueError: for an unknown sampler.
        """
        chosen = samplers.get(sampler)
        super().compile(
            optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs
        )
        self.sampler = chosen

    def memory_estimate(
        self, batch_size: int, text_length: int, num_images: int = 1
    ) -> MemoryEstimate:
        """The memory of a training step of this model as it is, without running it.

        Of its weights (quantised or not), what is trained, LoRA, checkpointed blocks,
        dtype, and the optimizer and loss that it was compiled with.

        Args:
            batch_size: examples of a step.
            text_length: tokens of prompt and response.
            num_images: of an example.

        Returns:
            Bytes in parts, with `total`; printed, a table.

        Raises:
            ValueError: for a size that is no whole number in range.
        """
        return estimate_memory(self, batch_size, text_length, num_images)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        validation_data: Any = None,
        validation_split: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Trains on pictures, prompts and responses.

        Args:
            x: a dict of lists `images`, `prompts` and `responses`; or batches of such
                dicts: a `tf.data` or Grain data set, a `keras.utils.PyDataset` (as
                `datasets.loading.RowBatches`, in its own order) or a
                `torch.utils.data.DataLoader`.
            y: None: the labels are made of the responses.
            batch_size: rows of a batch, where `x` has lists; 32 if None.
            sample_weight: weights of the rows, where `x` has lists.
            validation_data: as `x`.
            validation_split: as in `keras.Model.fit`, for arrays.
            **kwargs: further arguments of `keras.Model.fit`.

        Returns:
            As `keras.Model.fit`.
        """
        if not (is_loader(x) or is_loader(validation_data)):
            return super().fit(
                x,
                y,
                batch_size,
                sample_weight,
                validation_data,
                validation_split,
                **kwargs,
            )
        source, size = x, batch_size or 32
        if sample_weight is not None:
            x = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        x = prepare_data(x, self.preprocess_samples, size)
        if validation_data is not None:
            validation_data = prepare_data(
                validation_data, self.preprocess_samples, size
            )
        kwargs.setdefault("shuffle", False)
        if isinstance(source, RowBatches):
            callbacks = kwargs.get("callbacks") or []
            kwargs["callbacks"] = [*callbacks, FollowEpochs(source)]
        return keras.Model.fit(self, x, validation_data=validation_data, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Loss and metrics of `x`, which is as for `fit`; see `keras.Model.evaluate`.

        Args:
            x: as for `fit`.
            *args: as in `keras.Model.evaluate`.
            **kwargs: as in `keras.Model.evaluate`.
        """
        # Within `fit` Keras has prepared batches at hand.
        if not is_loader(x) or kwargs.get("_use_cached_eval_dataset"):
            return super().evaluate(x, *args, **kwargs)
        x = prepare_data(x, self.preprocess_samples, 32)
        return keras.Model.evaluate(self, x, *args, **kwargs)

    def make_generate_function(self, with_scores: bool = False) -> Any:
        """The compiled function of `decoding.Request` to `decoding.Generated`."""
        plan = Plan(self.sampler.structure, with_scores)
        is_search = isinstance(self.sampler, samplers.BeamSearch)
        run = search_beams if is_search else generate_tokens

        def generate(request: Request) -> Generated:
            size = count_tokens(self.backbone, request)
            return self.functions.get(run, plan, num_tokens=size)(request)

        self.generate_function = generate
        return generate

    def generate(
        self,
        inputs: Any,
        max_length: int | None = None,
        stop_token_ids: str | list[int] | tuple[int, ...] | None = "auto",
        strip_prompt: bool = False,
        *,
        max_new_tokens: int | None = None,
        seed: int | None = None,
        stop_strings: str | Sequence[str] | None = None,
        constraint: Grammar | None = None,
        return_scores: bool = False,
    ) -> Any:
        """Continues prompts.

        A picture that several prompts of a batch are about is encoded once.

        Args:
            inputs: a dict of `images` (file paths, PIL images or arrays; a list
                in the entry of an example for several; or what `encode_images`
                made of them) and `prompts` (a text or a list of texts), also
                `responses` that the answers must begin with; a prompt or prompts
                alone for text without a picture; or a `tf.data.Dataset` of such
                dicts. Without a preprocessor: the backbone's inputs, padded on
                the right (no `response_mask` means no response yet).
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
            TypeError: when a prompt is not text.
            ValueError: when a prompt leaves no room for an answer, or for bad
                inputs; before anything is computed.
        """
        options = Options(max_length, max_new_tokens, stop_token_ids, seed, constraint)
        stops = self._check_stop_strings(stop_strings)
        if not hasattr(inputs, "as_numpy_iterator"):
            prepared = prepare(self, inputs, options)
            return answer(self, prepared, stops, strip_prompt, return_scores)
        results = []
        for batch in inputs.as_numpy_iterator():
            prepared = prepare(self, batch, options)
            results.append(answer(self, prepared, stops, strip_prompt, return_scores))
        if results and not isinstance(results[0], list):
            return results
        return [result for batch in results for result in batch]

    def stream(
        self,
        inputs: Any,
        max_length: int | None = None,
        stop_token_ids: str | list[int] | tuple[int, ...] | None = "auto",
        *,
        max_new_tokens: int | None = None,
        seed: int | None = None,
        stop_strings: str | Sequence[str] | None = None,
        constraint: Grammar | None = None,
    ) -> Iterator[Any]:
        """The answers of `generate`, as they are made.

        Put together, the pieces are the text that `generate` gives with
        `strip_prompt=True`. A piece ends with a whole character.

        Args:
            inputs: as for `generate`, but no dataset.
            max_length: as for `generate`.
            stop_token_ids: as for `generate`.
            max_new_tokens: as for `generate`.
            seed: as for `generate`.
            stop_strings: as for `generate`.
            constraint: as for `generate`.

        Yields:
            The new text after each token, for a list of prompts a list of one
            text a row; "" where there is nothing new.

        Raises:
            TypeError, ValueError: as `generate`, at the call; also for a model
                without a preprocessor and for beam search, which knows its answer
                only in the end.
        """
        if self.preprocessor is None:
            raise ValueError(
                "Expected a model with a preprocessor, to make text of tokens. "
                "Received: preprocessor=None. Call `generate`."
            )
        self._check_no_beams("stream")
        options = Options(max_length, max_new_tokens, stop_token_ids, seed, constraint)
        stops = self._check_stop_strings(stop_strings)
        return stream(self, prepare(self, inputs, options), stops)

    def choose(self, inputs: Any, choices: Sequence[str]) -> Any:
        """How probable each of some answers is.

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
        """
        if self.preprocessor is None:
            raise ValueError(
                "Expected a model with a preprocessor, to make tokens of the choices. "
                "Received: preprocessor=None."
            )
        is_list = isinstance(choices, Iterable) and not isinstance(choices, str)
        grammar = Choices(tuple(choices) if is_list else choices)
        choices, tokens = grammar.texts, grammar.tokens(self.preprocessor.tokenizer)
        arrays, is_batched = preprocess(self, inputs, None)
        if arrays["response_mask"].any():
            raise ValueError("Expected no responses together with choices.")
        results = []
        for row in choice_probabilities(self, arrays, tokens):
            order = np.argsort(-row, kind="stable")
            results.append({choices[i]: float(row[i]) for i in order})
        return results if is_batched else results[0]

    @property
    def mask_codec(self) -> MaskCodec | None:
        """What `<seg...>` tokens mean: the preset's own codec, or one that was set.

        None is that of the released checkpoints, downloaded when it is first needed.
        """
        return self.detection_files.mask_codec

    @mask_codec.setter
    def mask_codec(self, codec: MaskCodec | None) -> None:
        self.detection_files.mask_codec = codec

    @property
    def score_calibration(self) -> ScoreCalibration | None:
        """Makes token probabilities the scores of detections; None where there is none.

        Without one a score is the geometric mean of the probabilities of an
        instance's location and label tokens: an order, but no probability.
        """
        return self.detection_files.score_calibration

    @score_calibration.setter
    def score_calibration(self, calibration: ScoreCalibration | None) -> None:
        self.detection_files.score_calibration = calibration

    def detect(
        self,
        images: Any,
        labels: Sequence[str] | Sequence[Sequence[str]],
        *,
        max_detections: int = 20,
        max_overlap: float | None = None,
        batch_size: int = 8,
        asked: Asked = "together",
    ) -> Any:
        """Finds named things: boxes with labels and scores.

        Every answer is held to the form of a detection, by the sampler set in
        `compile`.

        Args:
            images: a picture (a file path, PIL image or array) of any size, or a list
                of pictures.
            labels: the names to look for, in all pictures; or a list of such lists,
                one for each picture.
            max_detections: most things in a picture.
            max_overlap: of two boxes with one label that overlap by more (IoU, in
                [0, 1]) the one with the lower score is dropped; None keeps all (but
                is 0.5 for "both").
            batch_size: pictures at a time.
            asked: "together" is one prompt with all labels, "each" a prompt for each
                label, "both" is both, which takes longest and finds most.

        Returns:
            `keras_pg2.codecs.Detections` for one picture, a list of them for a list:
            boxes in pixels of the picture as it was given (upright), scores in [0, 1]
            (`score_calibration`), the tokens as written.

        Raises:
            TypeError, ValueError: for labels that are none, empty, doubled, or hold
                ";", a line break or tokens; for numbers out of range; for a model
                without a preprocessor, or beam search as its sampler.
            FileNotFoundError, ValueError: for a picture that cannot be read.
        """
        return find_detections(
            self,
            "detect",
            images,
            labels,
            max_detections,
            max_overlap,
            batch_size,
            asked,
        )

    def segment(
        self,
        images: Any,
        labels: Sequence[str] | Sequence[Sequence[str]],
        *,
        max_detections: int = 20,
        max_overlap: float | None = None,
        batch_size: int = 8,
        asked: Asked = "together",
    ) -> Any:
        """Finds named things: masks, with boxes, labels and scores.

        Args:
            images: as for `detect`.
            labels: as for `detect`.
            max_detections: as for `detect`.
            max_overlap: as for `detect`.
            batch_size: as for `detect`.
            asked: as for `detect`.

        Returns:
            As `detect`, with masks bool[N, H, W] of the size of the picture, decoded
            by `mask_codec`.

        Raises:
            TypeError, ValueError, FileNotFoundError: as `detect`.
            ConnectionError: when the codec of the released checkpoints is needed and
                cannot be downloaded.
        """
        return find_detections(
            self,
            "segment",
            images,
            labels,
            max_detections,
            max_overlap,
            batch_size,
            asked,
        )

    def encode_images(self, images: Any) -> EncodedImages:
        """Computes the image tokens of pictures, for many prompts about them.

        Args:
            images: one picture, or a list of pictures, one an example.

        Returns:
            What `generate`, `stream` and `choose` take as `images`.

        Raises:
            ValueError, OSError: for a bad picture.
        """
        inputs: dict[str, Any] = {"images": images, "prompts": ""}
        if isinstance(images, list | tuple):
            inputs = {"images": list(images), "prompts": [""] * len(images)}
        if self.preprocessor is not None:
            images = self.preprocessor.generate_preprocess(inputs)["images"]
        arrays = with_image_axis({"images": ops.convert_to_numpy(images)})
        count = len(arrays["images"])
        padded = rows.pad_rows(arrays["images"].astype(np.float32))
        run = self.functions.get(embed_images)
        # A copy, as PyTorch could not train on what it has computed without gradients.
        return EncodedImages(ops.copy(run(padded)[:count]))

    def cache_image_features(
        self,
        rows: Iterable[Mapping[str, Any]],
        directory: str | Path,
        *,
        dtype: str = "float16",
        batch_size: int = 8,
    ) -> ImageFeatures:
        """Runs the frozen vision tower once over pictures, for `fit` without it.

        From here on `fit` and `evaluate` take features from the files in place of
        pixels, wherever pictures are given as paths; `generate` goes on with pixels,
        and so does training after `model.preprocessor.image_features = None`. Files
        that are there already are kept, so that a run goes on where it stopped.

            model.backbone.trainable_parts = ("projection", "text_decoder")
            model.cache_image_features(rows, "features")
            model.fit(columns(rows))

        Args:
            rows: dicts of images (paths), prompts and responses.
            directory: for the files, num_image_tokens * hidden_dim numbers of the
                vision encoder a picture (590 KB in float16 at 224 pixels).
            dtype: of the files; "float16", to which a bfloat16 model loses nothing
                but what is below 6e-5, or "float32".
            batch_size: pictures at a time.

        Returns:
            The features, now `preprocessor.image_features`.

        Raises:
            ValueError: when weights of the vision tower are trainable (also later, in
                `fit`), it has LoRA, pictures are no paths (also after augmentations, in
                `fit`), or features are too large for float16.
            FileNotFoundError: when there is no such picture.
        """
        return cache_features(self, rows, directory, dtype, batch_size)

    def warmup(
        self,
        batch_size: int = 1,
        prompt_length: int = 16,
        max_new_tokens: int | None = None,
        num_images: int = 1,
    ) -> None:
        """Compiles what a call of `generate` will need, and runs it once.

        Lengths are rounded up to buckets (8, 16 or multiples of 64 for prompts, powers
        of two for answers, 1, 2, 4, 8 or a multiple of 8 for batches): one call is
        enough for all of a bucket. Compiled functions of JAX are kept on disk. On
        PyTorch, which compiles nothing, the operations of pictures, prompts and tokens
        are recorded.

        Args:
            batch_size: number of prompts.
            prompt_length: tokens of the longest prompt.
            max_new_tokens: as it will be given to `generate`; None for calls
                without a limit.
            num_images: pictures of each prompt.

        Raises:
            ValueError: for a number that is no whole number >= 1.
        """
        for name, number in (
            ("batch_size", batch_size),
            ("prompt_length", prompt_length),
            ("num_images", num_images),
        ):
            check_at_least_one(name, number)
        size = self.backbone.image_size
        shape = (batch_size, num_images, size, size, 3)
        # Different pictures, as they will be.
        place = np.arange(batch_size, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
        is_prompt = np.ones((batch_size, prompt_length), bool)
        arrays = {
            "images": np.broadcast_to(place, shape),
            "token_ids": is_prompt.astype(np.int32),
            "padding_mask": is_prompt,
            "response_mask": ~is_prompt,
        }
        stops = None if self.preprocessor is None else "auto"
        options = Options(max_new_tokens=max_new_tokens, stop_token_ids=stops)
        request = make_request(self, arrays, options)
        # Two tokens, as the second is the first that has only the cache.
        request = request._replace(
            token_limits=np.minimum(request.token_limits, 2),
            stop_token_ids=np.full_like(request.stop_token_ids, -1),
        )
        with recording_at_once():
            self.make_generate_function()(request)

    def _check_no_beams(self, name: str) -> None:
        if isinstance(self.sampler, samplers.BeamSearch):
            raise ValueError(
                f"Expected a sampler without beams for {name}: beam search knows its "
                f"answer only in the end. Received: {self.sampler}. Call "
                'compile(sampler="greedy") first.'
            )

    def _check_stop_strings(self, stop_strings: Any) -> tuple[str, ...]:
        stops = as_stop_strings(stop_strings)
        if stops:
            self._check_no_beams("stop_strings")
            if self.preprocessor is None:
                raise ValueError(
                    "Expected a model with a preprocessor together with stop_strings, "
                    "to make text of tokens. Received: preprocessor=None. Pass "
                    "stop_token_ids."
                )
        return stops
