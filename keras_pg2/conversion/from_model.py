"""A model in memory as a checkpoint, so that it can be written in any format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.conversion.convert import write_checkpoint
from keras_pg2.conversion.tables.checkpoint import Checkpoint, Preprocessing
from keras_pg2.conversion.tables.number_types import DTYPES
from keras_pg2.conversion.tables.transforms import Shape
from keras_pg2.conversion.tables.weight_table import Part, Row
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.typing import Advance, Architecture, Tensor

if TYPE_CHECKING:
    from keras_pg2.modeling.backbone import PaliGemma2Backbone


class ModelSource:
    """The weights of a backbone by their paths; LoRA is merged into the kernels.

    Raises:
        ValueError: when it is quantised, so that its weights are no floats.
    """

    def __init__(
        self, backbone: PaliGemma2Backbone, architecture: Architecture
    ) -> None:
        layers = backbone._flatten_layers()  # noqa: SLF001
        quantized = [v.path for v in layers if getattr(v, "quantization_mode", None)]
        if quantized:
            raise ValueError(
                "Expected a model of float weights. Received: a quantised one "
                f"({', '.join(quantized[:3])}, ...). Write the model before "
                "`quantize`."
            )
        self._backbone = backbone
        self._shapes = variable_shapes(**architecture)

    def keys(self) -> Iterable[str]:
        return self._shapes.keys()

    def shape(self, key: str) -> Shape:
        return self._shapes[key]

    def dtype(self, key: str) -> np.dtype:
        return DTYPES[keras.backend.standardize_dtype(self._value(key).dtype)]

    def stored_type(self, key: str) -> str:
        return str(self.dtype(key))

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        value = ops.convert_to_numpy(self._value(key))
        return value if part is None else part.take(value)

    def _value(self, key: str) -> Tensor:
        """A variable, or the kernel that LoRA makes of three."""
        return self._backbone.find(key)


def from_model(
    backbone: PaliGemma2Backbone,
    preprocessor: PaliGemma2CausalLMPreprocessor | None = None,
) -> Checkpoint:
    """Open a model in memory as a checkpoint, with a tokenizer if it has one.

    Raises:
        ValueError: when the backbone is quantised.
    """
    architecture = backbone.architecture
    source = ModelSource(backbone, architecture)
    preprocessing = Preprocessing(tokenizer=None, sequence_length=512)
    if preprocessor is not None:
        converter = preprocessor.image_converter
        pictures = (
            {}
            if converter is None
            else {
                "interpolation": converter.interpolation,
                "antialias": converter.antialias,
            }
        )
        preprocessing = Preprocessing(
            tokenizer=preprocessor.tokenizer.proto,
            sequence_length=preprocessor.sequence_length,
            preset_files=preprocessor.preset_files,
            **pictures,
        )
    return Checkpoint(
        format="model",
        path=Path(backbone.name),
        architecture=architecture,
        preprocessing=preprocessing,
        rows=[Row(path, path) for path in variable_shapes(**architecture)],
        source=source,
    )


def write_model(
    task: keras_hub.models.CausalLM,
    target: str | Path,
    to: str,
    dtype: str | None = None,
    *,
    overwrite: bool = False,
    advance: Advance = lambda num_bytes: None,
) -> Path:
    """Writes a `PaliGemma2CausalLM` in any format; LoRA is merged into the kernels.

    The arguments after `task` are those of `convert`.

    Raises:
        ValueError: when the model is quantised, or the format cannot hold it.
        FileExistsError, OSError: as `convert`.
    """
    checkpoint = from_model(task.backbone, task.preprocessor)
    return write_checkpoint(
        checkpoint, target, to, dtype, overwrite=overwrite, advance=advance
    )
