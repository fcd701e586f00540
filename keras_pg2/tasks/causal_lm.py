"""The task: pictures and prompts in, text out.

Axes: B batch, M images of an example, I image tokens, T text length, N new
tokens, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
from keras import ops

from keras_pg2.catalogue.names import short_name
from keras_pg2.checks.numbers import check_flag
from keras_pg2.conversion.adapters.archive import FILE, read_kept, write_kept
from keras_pg2.conversion.adapters.opening import adapter_name
from keras_pg2.conversion.adapters.runs import trained_length
from keras_pg2.conversion.found_models import FoundModel
from keras_pg2.conversion.from_model import write_model
from keras_pg2.files.whole_files import updated
from keras_pg2.generation.compilation import CompiledFunctions
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.saving import (
    PRESET_WEIGHTS,
    SafeFiles,
    is_saving_preset,
    saving_preset,
)
from keras_pg2.modeling.torch_module import TorchModule
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.preset_files import OWN_FILES, PresetFiles
from keras_pg2.start.preset_loading import PresetNames
from keras_pg2.tasks.adapters.layers import Targets
from keras_pg2.tasks.adapters.registry import Adapters
from keras_pg2.tasks.answering import causal_lm as answering
from keras_pg2.tasks.deciding.deciding_model import DecidingModel
from keras_pg2.tasks.deciding.model_files import ModelFiles
from keras_pg2.tasks.loading import registration as registration
from keras_pg2.tasks.loading.loading import find_with_weights, load_parts
from keras_pg2.tasks.quantizing import (
    check_can_save,
    check_mode,
    choose_layers,
    frozen_garbage,
    without_report,
)
from keras_pg2.tasks.training import causal_lm as training
from keras_pg2.tasks.training.feature_caching import hidden_of_features
from keras_pg2.typing import DTypePolicy, Tensor

_EXPORTERS = {
    "tf_saved_model": "export_saved_model",
    "onnx": "export_onnx",
    "litert": "export_litert",
}
"""Functions of `keras_pg2.deploy` by the names that Keras has for formats."""
_BASE_NAME_FILE = "base_name.txt"
"""In the assets of an archive: the name of the checkpoint that adapters belong to."""

_SAMPLER = "sampler"
"""Key of a configuration that is no argument of the class."""
_HAS_STATES = "optimizer_has_states"
"""Another one: whether the optimizer of an archive has trained."""


@keras.saving.register_keras_serializable(package="keras_pg2")
class KeepText(keras.layers.Layer):
    """float[B, I + T, D] hidden states, int32[B, T] ids -> float[B, T, D] of the text.

    Image positions are dropped before the projection to a vocabulary of 257k.
    """

    def call(self, hidden: Tensor, token_ids: Tensor) -> Tensor:
        return hidden[:, ops.shape(hidden)[1] - ops.shape(token_ids)[1] :]

    def get_config(self) -> dict[str, Any]:
        """Keras' own; without this method Keras refuses a dtype that is no name."""
        return super().get_config()


@keras.saving.register_keras_serializable(package="keras_pg2")
class PaliGemma2CausalLM(
    answering.CausalLM, DecidingModel, SafeFiles, TorchModule, training.CausalLM
):
    """PaliGemma 2 (or PaliGemma 1), from pictures and prompts to text.

    Called on the backbone's inputs it gives float32[B, T, V] logits, one
    position for each text token. `generate` and `fit` take pictures and text,
    which the preprocessor makes into those inputs.

    Example:

        model = PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
        model.generate({"images": "scene.png", "prompts": "caption en"})

    Args:
        backbone: The network.
        preprocessor: From pictures and text to arrays; None to work on arrays. Both
            may be given in KerasHub's order too, the preprocessor first.
        **kwargs: `name`, `trainable`, and `compile`: False leaves `compile` to you.

    Raises:
        TypeError: if the backbone is of another class.

    Attributes:
        adapters: The LoRA adapters by name: saved, loaded, switched, merged.
        mask_codec: Meaning of `<seg...>` tokens.
        score_calibration: What makes token probabilities the scores of detections.
        decision_calibration: What makes them those of decisions to be right.
    """

    backbone_cls = PaliGemma2Backbone
    preprocessor_cls = PaliGemma2CausalLMPreprocessor
    _is_from_config = False
    presets = PresetNames()

    def __init__(
        self,
        backbone: PaliGemma2Backbone | PaliGemma2CausalLMPreprocessor | None,
        preprocessor: Any = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(preprocessor, PaliGemma2Backbone):
            backbone, preprocessor = preprocessor, backbone
        if not isinstance(backbone, PaliGemma2Backbone):
            raise TypeError(
                "Expected a PaliGemma2Backbone and a preprocessor. Received: backbone="
                f"{type(backbone).__name__}, preprocessor="
                f"{type(preprocessor).__name__}. Load both by "
                "PaliGemma2CausalLM.from_preset."
            )
        self.backbone = backbone
        self.preprocessor = preprocessor
        inputs = backbone.input
        hidden = KeepText(dtype=backbone.dtype_policy, name="keep_text")(
            backbone(inputs), inputs["token_ids"]
        )
        logits = backbone(hidden, reverse=True)
        super().__init__(inputs=inputs, outputs=logits, **kwargs)
        # Images may come with or without their M axis; the backbone sees to it.
        self.input_spec = None
        # Tracked here, so that files of weights go without.
        self._noise_generator = backbone.text_decoder.noise.generator
        self._functions = CompiledFunctions(self)
        self.adapters = Adapters(backbone, self._forget_compiled, self._preset_name)

    def _compute_hidden(
        self, inputs: dict[str, Tensor], training: bool | None = None
    ) -> Tensor:
        if "image_features" in inputs:
            hidden = hidden_of_features(self.backbone, inputs, training)
        else:
            hidden = self.backbone(inputs, training=training)
        return self.get_layer("keep_text")(hidden, inputs["token_ids"])

    @property
    def preprocessor(self) -> PaliGemma2CausalLMPreprocessor | None:
        """From pictures and text to arrays; None to work on arrays."""
        return getattr(self, "_preprocessor", None)

    @preprocessor.setter
    def preprocessor(self, preprocessor: PaliGemma2CausalLMPreprocessor | None) -> None:
        if getattr(self.preprocessor, "preset_files", None) is not None:
            # What the preset had stays with the model.
            self._keep_files()
            self.adapters.base_name = self.adapters.base_name
        self._preprocessor = preprocessor

    def _preset_name(self) -> str:
        """Name of the preset that network and preprocessor were loaded from; or ""."""
        files = getattr(self.preprocessor, "preset_files", None)
        return short_name(files.preset) if files and self._is_from_config else ""

    def get_config(self) -> dict[str, Any]:
        """Return network, preprocessor and name; except for presets, what trained it.

        That is the sampler, and whether the optimizer has states.
        """
        config = super().get_config()
        if is_saving_preset():
            return config
        if self.sampler != type(self).sampler:
            config[_SAMPLER] = keras.saving.serialize_keras_object(self.sampler)
        if self.optimizer is not None and self.optimizer.built:
            config[_HAS_STATES] = True
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PaliGemma2CausalLM:
        """Build a task with a network and a preprocessor of its own, as KerasHub."""
        own = (_SAMPLER, _HAS_STATES)
        task = super().from_config({k: v for k, v in config.items() if k not in own})
        task._is_from_config = True  # noqa: SLF001
        task._has_optimizer_states = config.get(_HAS_STATES, False)  # noqa: SLF001
        if _SAMPLER in config:
            task.sampler = keras.saving.deserialize_keras_object(config[_SAMPLER])
        return task

    def save_assets(self, dir_path: str) -> None:
        """Write what an archive has besides its configuration and weights.

        Copies and pickles are archives, too.

        Raises:
            ValueError: if it is quantized by quantizers that Keras does not save.
        """
        check_can_save(self.backbone)
        directory = Path(dir_path)
        self._model_files.save(directory)
        (directory / _BASE_NAME_FILE).write_text(self.adapters.base_name, "utf-8")
        write_kept(self.adapters._keep(), directory)  # noqa: SLF001

    def load_assets(self, dir_path: str) -> None:
        """Read what `save_assets` wrote."""
        self._own_files = ModelFiles(PresetFiles.read(dir_path))
        name_file = Path(dir_path) / _BASE_NAME_FILE
        if name_file.is_file():
            self.adapters.base_name = name_file.read_text("utf-8", errors="replace")
        kept = read_kept(Path(dir_path))
        if kept is not None:
            self.adapters._restore(kept, Path(dir_path) / FILE)  # noqa: SLF001

    def _active_adapter(self) -> str | None:
        return self.adapters.active

    def _how_to_train(self) -> str:
        return self.adapters._how_to_train()  # noqa: SLF001

    def _forget_compiled(self, everything: bool) -> None:
        """Forget steps, to which what trains is fixed, and LoRA's scale to the rest."""
        self.train_function = self.test_function = self.predict_function = None
        if everything:
            self._functions.clear()

    def _build_optimizer(self) -> None:
        # One of what trained before would be left at the next `fit`, states and all.
        self._renew_optimizer()
        super()._build_optimizer()

    @classmethod
    def from_preset(
        cls,
        preset: str | Path | FoundModel,
        load_weights: bool = True,
        *,
        dtype: DTypePolicy = "auto",
        sequence_length: int | None = None,
        tokenizer: str | Path | None = None,
        preprocessor: PaliGemma2CausalLMPreprocessor | Literal["auto"] | None = "auto",
        trainable: bool = True,
        name: str | None = None,
        compile: bool = True,
        **overrides: Any,
    ) -> PaliGemma2CausalLM:
        """Load a model with its preprocessor.

        Args:
            preset: name of a preset (ours, KerasHub's, or a Hugging Face id), a URI
                (`hf://organisation/model[@revision]`, `kaggle://...`), a
                directory (written by `save_to_preset`, of KerasHub or of Hugging
                Face), or a file (.npz of big_vision, .sbs of gemma.cpp). What is
                not on this machine is downloaded. Also the folder of a run of
                `finetune`, or an adapter that knows its base: the adapter is in the
                network then, as by `adapters.load`.
            load_weights: False builds the model with random weights; for a
                released name offline, without a preprocessor; not for an adapter.
            dtype: Dtype policy; "auto" is the policy that was set in Keras
                (`keras.config.set_dtype_policy`), otherwise bfloat16 on an accelerator
                and float32 on a CPU; None is always Keras' own. Quantized weights
                keep the floats of their preset where a CPU runs them.
            sequence_length: Text tokens of a training example; None is that of the
                preset.
            tokenizer: SentencePiece file to take in place of the preset's own; a .npz
                has none inside.
            preprocessor: Preprocessor to use; None loads the network alone, "auto"
                loads that of the preset, if it has one.
            trainable: Whether weights are trainable.
            name: Name of the model.
            compile: Whether to compile the model with an optimizer, loss and metrics;
                `generate` works without.
            **overrides: Arguments of the vision encoder or text decoder by name, such
                as `final_logit_soft_cap=None`.

        Raises:
            ValueError: for an unknown preset (with near matches), another model,
                numbers that do not fit the weights, NaN among the weights, a run that
                has not ended, an adapter whose base is not found or is another one,
                exported files.
            FileNotFoundError: when a file of the preset is missing.
            OSError: when a weight file is truncated or not readable.
            PermissionError, ConnectionError: when a download is not allowed (says
                how to get access) or not possible.
            TypeError: for an unknown option (with a near match).
        """
        check_flag("trainable", trainable)
        check_flag("compile", compile)
        found = find_with_weights(preset, load_weights)
        base, adapter = found.apart()
        is_length_free = preprocessor == "auto" and sequence_length is None
        backbone, preprocessor = load_parts(
            base,
            load_weights,
            dtype=dtype,
            sequence_length=sequence_length,
            tokenizer=tokenizer,
            preprocessor=preprocessor,
            **overrides,
        )
        model = cls(backbone, preprocessor, name=name, compile=compile)
        model.adapters.origin, model.adapters.base_name = base, base.name
        model._own_files = ModelFiles.of_preset(base.base)
        if adapter is not None:
            model.adapters.load(adapter, name=adapter_name(adapter))
            if is_length_free and preprocessor is not None:
                # It may have learnt longer answers than the base gives.
                length = max(preprocessor.sequence_length, trained_length(adapter))
                preprocessor.sequence_length = length
        if not trainable:
            model.trainable = False
        return model

    def save_to_preset(self, preset_dir: str | Path, **kwargs: Any) -> None:
        """Write a directory that `from_preset` reads; LoRA is merged into the kernels.

        Quantised kernels are saved as they are; with LoRA in them they are quantised
        anew, and outputs are near those of before: `adapters.save` keeps both exactly.
        `save` (an archive, `.keras`) keeps adapters, what is frozen, the optimizer and
        the sampler, too.

        Args:
            preset_dir: Directory to write.
            **kwargs: as for KerasHub, `max_shard_size` in GB.

        Raises:
            ValueError: if it is quantised by quantizers that Keras does not save.
        """
        check_can_save(self.backbone)
        stale = (*PRESET_WEIGHTS, *OWN_FILES)
        with saving_preset(), updated(Path(preset_dir), stale) as part:
            super().save_to_preset(str(part), **kwargs)
            self._model_files.save(part)

    def export(
        self,
        filepath: str | Path,
        format: str = "tf_saved_model",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Raise an error that says which exporter of `keras_pg2.deploy` to call.

        Args:
            filepath: Path to write.
            format: Format that Keras would write.
            *args: as in `keras.Model.export`.
            **kwargs: as in `keras.Model.export`.

        Raises:
            NotImplementedError: if there is an exporter for the format.
            ValueError: if the format has no exporter.
        """
        why = (
            "Keras' exporter writes one pass through the network, without cache, "
            "tokenizer and generate."
        )
        if format not in _EXPORTERS:
            raise ValueError(
                f"Expected a format of: {', '.join(_EXPORTERS)}. Received: {format!r}. "
                f"{why} keras_pg2.deploy has exporters for these formats, and "
                "keras_pg2.conversion.write_model writes checkpoints."
            )
        name = f"keras_pg2.deploy.{_EXPORTERS[format]}"
        raise NotImplementedError(
            f"Expected a call of {name}(model, {str(filepath)!r}). Received: "
            f"model.export({str(filepath)!r}, format={format!r}). {why} Call {name}."
        )

    def export_to_transformers(
        self, path: str | Path, dtype: str | None = None
    ) -> Path:
        """Write a Hugging Face directory that transformers, vLLM and MLX read.

        LoRA is merged into the kernels. The other formats: `conversion.write_model`.

        Args:
            path: A directory that does not exist yet.
            dtype: "float32", "bfloat16" or "float16"; None for that of the weights.

        Raises:
            FileExistsError: if there is something at the path.
            ValueError: if the model is quantised, or transformers has no such network.
            OSError: if the disk is full; nothing is left behind.
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
        """Quantize the kernels and the token embedding to integers of 8 or 4 bits.

        Norms, biases, the patches' convolution and the position embedding stay floats.
        "int8" has one scale an output, and rounds the activations too; "int4" has a
        scale and a zero point for every 128 inputs of an output (fewer in the last
        group, as in the vision tower's width of 4,304), and float activations. LoRA
        trains on top, after this or before.

            model.quantize("int4", parts=["text_decoder"])

        Args:
            mode: "int8" or "int4", spelt so, as Keras looks at it first.
            config: a `keras.quantizers` configuration of that mode, as in Keras; only
                models without one of their own quantizers can be saved.
            filters: regular expressions that are searched in the paths of layers, or a
                predicate of a layer; None for all.
            parts: of "vision_encoder", "projection", "text_decoder"; None for all.

        Raises:
            ValueError: if mode or part is unknown, the model is quantised already,
                filters leave nothing, or an adapter is merged.
        """
        mode = check_mode(mode)
        self.adapters.check_can_quantize()
        wanted = choose_layers(self.backbone, parts, filters)
        options = without_report(keras.Model.quantize)
        with frozen_garbage():
            super().quantize(mode, config=config, filters=wanted, **options)
        self._functions.clear()

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
        """Add LoRA to dense layers and freeze everything else.

        The factors are in float32, whatever the dtype of the model. They begin by
        adding nothing. Call `compile` afterwards for an optimizer of other settings
        than the one there is, of which `fit` takes a fresh copy.

        Args:
            rank: Rank of the factors.
            targets: a list of layers: by name ("query_dense"), by the end of a path
                ("attention/query_dense"), by a pattern of these
                ("text_decoder/block_?/*"), or by a compiled regular expression that is
                searched in the path. None is query and value.
            alpha: the product of the factors is multiplied by alpha / rank; None is
                `rank`.
            parts: of "vision_encoder", "projection" and "text_decoder", those with
                LoRA; None is all that targets are found in.
            name: Name of the adapter; the one in the network before is kept.
            dropout: the probability in training that an input of the factors is left
                out, as in PEFT; kept with the adapter.

        Raises:
            TypeError, ValueError: for a rank or alpha that is no number above 0, a
                dropout outside of [0, 1), an unknown part, a target that matches
                nothing (with near ones), an adapter of this name with other numbers, a
                quantised model that LoRA does not work in.
        """
        # The adapters have no public name for it: this is the one.
        self.adapters._enable(  # noqa: SLF001
            rank, targets, alpha, parts, name, dropout
        )
