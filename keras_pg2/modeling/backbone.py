"""Image encoder, projection and decoder as one KerasHub backbone.

Axes: B batch, M images of an example, I image tokens per image, T text length,
D hidden_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_hub
from keras import ops

from keras_pg2.files.whole_files import updated
from keras_pg2.modeling.dense import Dense
from keras_pg2.modeling.gemma2 import Gemma2Decoder
from keras_pg2.modeling.lora import enable_lora, lora_layers
from keras_pg2.modeling.lora_files import load_lora_weights, save_lora_weights
from keras_pg2.modeling.network_state import get_state, set_state
from keras_pg2.modeling.parts import PARTS, WITH_BLOCKS, check_arguments, check_parts
from keras_pg2.modeling.quantized_layers import split_policies, with_float_policy
from keras_pg2.modeling.saving import (
    PRESET_WEIGHTS,
    SafeFiles,
    is_saving_preset,
    saving_preset,
)
from keras_pg2.modeling.siglip import SigLIPEncoder
from keras_pg2.modeling.torch_module import TorchModule
from keras_pg2.start.preset_loading import PresetNames, preset_loading
from keras_pg2.typing import DTypePolicy, Tensor

_STATE = "state"
"""Key of a configuration that is no argument of the class."""


def with_image_axis(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives `images` of one picture an example, [B, h, w, 3], their M axis."""
    images = inputs["images"]
    if len(images.shape) == 4:
        return {**inputs, "images": images[:, None]}
    return inputs


@keras.saving.register_keras_serializable(package="keras_pg2")
class PaliGemma2Backbone(SafeFiles, TorchModule, keras_hub.models.Backbone):
    """PaliGemma 2, and PaliGemma 1 by its numbers, without the output projection.

    Inputs, as a dictionary:

    - `images`: float32[B, image_size, image_size, 3] or float32[B, M,
      image_size, image_size, 3] in [-1, 1]; the tokens of M images follow one
      another, M may be 0;
    - `token_ids`: int32[B, T];
    - `padding_mask`: bool[B, T], True at real tokens;
    - `response_mask`: bool[B, T], True at response tokens (all after the prompt).

    Output: float[B, M * I + T, D], hidden states after the final norm.

    Args:
        vision_encoder: the numbers of a `SigLIPEncoder`, by name.
        text_decoder: the numbers of a `Gemma2Decoder`, by name.
        dtype: dtype policy of all layers; with a `keras.dtype_policies.DTypePolicyMap`
            of paths, as `get_config` gives, layers are quantised from the start.

    Raises:
        TypeError: when a number is missing or unknown; names a similar one.
        ValueError: as `SigLIPEncoder` and `Gemma2Decoder`.
    """

    presets = PresetNames()

    def __init__(
        self,
        vision_encoder: dict[str, Any],
        text_decoder: dict[str, Any],
        dtype: DTypePolicy = None,
        **kwargs: Any,
    ) -> None:
        check_arguments("vision_encoder", SigLIPEncoder, vision_encoder)
        check_arguments("text_decoder", Gemma2Decoder, text_decoder)
        dtype, quantized = split_policies(dtype)
        self.vision_encoder = SigLIPEncoder(
            **vision_encoder, dtype=dtype, name="vision_encoder"
        )
        decoder = Gemma2Decoder(**text_decoder, dtype=dtype, name="text_decoder")
        # In the order of the graph, so that copies of the graph list weights alike.
        self.vision_projection = Dense(
            decoder.hidden_dim, dtype=dtype, name="vision_projection"
        )
        self.text_decoder = decoder
        # Before KerasHub's own setup, after which PyTorch would list it a second time.
        self.token_embedding = self.text_decoder.token_embedding
        for path, quantized_policy in quantized.items():
            # Before it is built, and makes its weights.
            self.find(path).dtype_policy = quantized_policy
        size = self.vision_encoder.image_size
        images = keras.Input((None, size, size, 3), dtype="float32", name="images")
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        padding_mask = keras.Input((None,), dtype="bool", name="padding_mask")
        response_mask = keras.Input((None,), dtype="bool", name="response_mask")
        hidden = self.text_decoder(
            self.encode_images(images), token_ids, padding_mask, response_mask
        )
        super().__init__(
            inputs={
                "images": images,
                "token_ids": token_ids,
                "padding_mask": padding_mask,
                "response_mask": response_mask,
            },
            outputs=hidden,
            dtype=dtype,
            **kwargs,
        )
        # Images may come with or without their M axis; `call` sees to it.
        self.input_spec = None

    @classmethod
    def from_preset(
        cls, preset: str | Path, load_weights: bool = True, **kwargs: Any
    ) -> PaliGemma2Backbone:
        """Load a network of any format.

            PaliGemma2Backbone.from_preset("pali_gemma2_nano", dtype="bfloat16")

        Args:
            preset: Name, URI, directory or file, as for
                `PaliGemma2CausalLM.from_preset`.
            load_weights: False builds the network with random weights.
            **kwargs: `dtype`, `trainable` and `name` of the network, and arguments of
                its parts by name, such as `final_logit_soft_cap=None`.

        Raises:
            ValueError, OSError, TypeError: as `PaliGemma2CausalLM.from_preset`.
        """
        loaded: PaliGemma2Backbone = preset_loading().load_backbone(
            cls, preset, load_weights, **kwargs
        )
        return loaded

    @property
    def architecture(self) -> dict[str, dict[str, Any]]:
        """Arguments of both parts: {"vision_encoder": {...}, "text_decoder": {...}}."""
        return {
            "vision_encoder": _arguments(self.vision_encoder),
            "text_decoder": _arguments(self.text_decoder),
        }

    def find(self, path: str) -> keras.layers.Layer | keras.Variable:
        """Return the layer or variable at a path, such as "text_decoder/block_0/mlp".

        Raises:
            ValueError: if there is none.
        """
        found: Any = self
        try:
            for name in path.split("/"):
                is_block = name.startswith("block_")
                found = (
                    found.blocks[int(name[6:])] if is_block else getattr(found, name)
                )
            is_part = isinstance(found, keras.layers.Layer | keras.Variable)
            # LoRA gives a tensor for a kernel.
            if not is_part and not ops.is_tensor(found):
                raise AttributeError(name)
        except (AttributeError, IndexError, ValueError) as error:
            raise ValueError(
                "Expected the path of a layer or variable, such as "
                f"text_decoder/block_0/mlp. Received: {path!r}, without {name!r}."
            ) from error
        return found

    @property
    def image_size(self) -> int:
        """Height and width of the square input images in pixels."""
        return self.vision_encoder.image_size

    @property
    def num_image_tokens(self) -> int:
        """Number of decoder tokens one image becomes."""
        return self.vision_encoder.num_image_tokens

    @property
    def vocabulary_size(self) -> int:
        """Number of rows of the token embedding."""
        return self.text_decoder.vocabulary_size

    @property
    def checkpoint_activations(self) -> tuple[str, ...]:
        """Parts whose blocks are computed again in backward, to spare memory.

        Names among "vision_encoder" and "text_decoder"; () at first. Results and
        gradients stay the same. Set it before `compile`, as a compiled step keeps what
        it was compiled with. Presets do not keep it.

            model.backbone.checkpoint_activations = ("text_decoder",)

        Raises:
            ValueError: when it is set to anything but a collection of those names.
        """
        return tuple(
            name for name in WITH_BLOCKS if getattr(self, name).checkpoints_blocks
        )

    @checkpoint_activations.setter
    def checkpoint_activations(self, names: Iterable[str]) -> None:
        names = check_parts(
            names, "checkpoint_activations", WITH_BLOCKS, may_be_empty=True
        )
        for name in WITH_BLOCKS:
            getattr(self, name).checkpoints_blocks = name in names

    @property
    def trainable_parts(self) -> tuple[str, ...]:
        """Parts that train: "vision_encoder", "projection", "text_decoder" at first.

        A frozen part gets no gradients and has no optimizer states; the vision tower
        then keeps nothing for backward either, as nothing trains before it. Set it
        before `compile`; presets do not keep it.

            model.backbone.trainable_parts = ("projection", "text_decoder")

        Raises:
            ValueError: when it is set to anything but a list of those names, or with
                LoRA in the network, beside which everything is frozen.
        """
        layers = {part: getattr(self, name) for part, name in PARTS.items()}
        return tuple(part for part in layers if layers[part].trainable_variables)

    @trainable_parts.setter
    def trainable_parts(self, names: Sequence[str]) -> None:
        names = check_parts(names, "trainable_parts")
        if any("/lora_" in variable.path for variable in self.variables):
            raise ValueError(
                "Expected a network without LoRA, whose factors alone train. Pass "
                f"parts={list(names)} to enable_lora, which freezes the rest."
            )
        for part, name in PARTS.items():
            getattr(self, name).trainable = part in names

    def call(
        self,
        inputs: dict[str, Tensor] | Tensor,
        training: bool | None = None,
        mask: Tensor | None = None,
        reverse: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        """Return hidden states, or with `reverse` the logits of hidden states.

        As a call, not as a method alone, the latter is seen by what copies the graph
        of a task: `keras.models.clone_model`, and models made of its outputs.
        """
        if reverse:
            return self.project_to_vocabulary(inputs)
        inputs = with_image_axis(inputs)
        if training:
            self.text_decoder.noise.advance()
        return super().call(inputs, training=training, mask=mask, **kwargs)

    def compute_output_spec(
        self,
        inputs: Any,
        training: bool | None = None,
        mask: keras.KerasTensor | None = None,
        reverse: bool = False,
    ) -> keras.KerasTensor:
        if not reverse:
            return super().compute_output_spec(inputs, training, mask)
        return keras.KerasTensor((*inputs.shape[:-1], self.vocabulary_size), "float32")

    def encode_images(self, images: Tensor) -> Tensor:
        """float32[B, M, h, w, 3] in [-1, 1] -> float[B, M * I, D] for the decoder.

        [B, h, w, 3] is one image an example.
        """
        return self.vision_projection(self.vision_encoder(images))

    def project_to_vocabulary(self, hidden: Tensor) -> Tensor:
        """float[..., D] -> float32[..., V] logits, soft cap applied."""
        return self.text_decoder.project_to_vocabulary(hidden)

    def export_to_transformers(self, path: str | Path) -> None:
        """Write the network, without a preprocessor, as transformers reads it.

        Args:
            path: A directory that does not exist yet.

        Raises:
            FileExistsError, ValueError, OSError: as the task's.
        """
        preset_loading().export_backbone(self, path)

    def default_lora_layer_names(self) -> list[str]:
        return ["query_dense", "value_dense"]

    def enable_lora(
        self, rank: int, target_layer_names: Sequence[str] | None = None
    ) -> None:
        """Add LoRA to dense layers by name and freeze everything else.

        Call `compile` afterwards. `PaliGemma2CausalLM.enable_lora` takes paths and
        patterns too, and keeps adapters by name.

        Args:
            rank: Rank of the factors.
            target_layer_names: Names of layers; None is query and value.

        Raises:
            TypeError: if the rank is no integer.
            ValueError: if it is not above 0, a name is that of no dense layer, layers
                are quantized in a way without LoRA, or there is LoRA already.
        """
        enable_lora(self, rank, target_layer_names)

    def save_lora_weights(self, filepath: str | Path) -> None:
        """Write the factors of LoRA, with the path of each layer and its alpha.

        `PaliGemma2CausalLM.adapters.save` writes what the base was, too.

        Args:
            filepath: A file that ends in `.lora.h5`, as in KerasHub; one that is there
                is replaced.

        Raises:
            ValueError: if there is no LoRA, it has several ranks, or other weights are
                trainable, which the file would lose.
        """
        save_lora_weights(self, filepath)

    def load_lora_weights(self, filepath: str | Path) -> None:
        """Read a file of `save_lora_weights`; LoRA is added where there is none.

        Args:
            filepath: The file, of this network or of KerasHub's method.

        Raises:
            FileNotFoundError: if there is no file.
            ValueError: if it has other layers, shapes, ranks or alphas than the
                network; nothing is changed.
        """
        load_lora_weights(self, filepath)

    def save_to_preset(
        self, preset_dir: str | Path, max_shard_size: float | None = 10
    ) -> None:
        """Write the network as a preset; LoRA is merged into the kernels.

        Args:
            preset_dir: Directory to write.
            max_shard_size: Largest file in GB; None is one file.
        """
        with saving_preset(), updated(Path(preset_dir), PRESET_WEIGHTS) as part:
            super().save_to_preset(str(part), max_shard_size)

    def count_params(self) -> int:
        """Return the number of weights; without LoRA while a preset is saved."""
        count: int = super().count_params()
        if is_saving_preset():
            layers = lora_layers(self).values()
            count -= sum(
                layer.lora_rank * (layer.input_spec.axes[-1] + layer.units)
                for layer in layers
            )
        return count

    def get_config(self) -> dict[str, Any]:
        """Return arguments and, but for presets, what `network_state` keeps."""
        config = super().get_config()
        if "Map" in config["dtype"]["class_name"]:
            config["dtype"] = with_float_policy(config["dtype"], self.dtype_policy.name)
        state = {} if is_saving_preset() else get_state(self)
        kept = {_STATE: state} if state else {}
        return {**config, **self.architecture, **kept}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PaliGemma2Backbone:
        """Build a network as it was when `get_config` was called; see there."""
        arguments = {name: value for name, value in config.items() if name != _STATE}
        backbone: PaliGemma2Backbone = super().from_config(arguments)
        if _STATE in config:
            set_state(backbone, config[_STATE])
        return backbone


def _arguments(layer: keras.layers.Layer) -> dict[str, Any]:
    """Return a layer's own arguments, without those that every Keras layer has."""
    common = keras.layers.Layer.get_config(layer)
    return {k: v for k, v in layer.get_config().items() if k not in common}
