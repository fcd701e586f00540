"""The projections of every block: Keras' `Dense`, with a cheaper form of its LoRA.

Axes: D inputs, F outputs, R rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_pg2.modeling.cpu.products import multiply_by_kernel
from keras_pg2.modeling.dropout import Dropout
from keras_pg2.modeling.saving import is_saving_preset
from keras_pg2.typing import Tensor

FACTORS = ("lora_kernel_a", "lora_kernel_b")
"""Names of LoRA's variables, also in files."""
_ALPHA = "lora_alpha"


@keras.saving.register_keras_serializable(package="keras_pg2")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` that computes LoRA beside its kernel, not inside it.

    Keras adds `scale * a @ b`, [D, F], to the kernel before it multiplies, so that
    the gradient of a whole kernel is computed for the two small factors, and a
    bfloat16 kernel rounds the sum. Here it is `x @ kernel + scale * (x @ a) @ b`:
    a training step of a layer takes about half the time. The class is called as
    Keras' is, since files of weights name layers by their classes.

    Files hold the kernel as it is, and LoRA beside it: `lora_kernel_a`,
    `lora_kernel_b` and `lora_alpha`, float numbers. Without LoRA, and in presets, they
    are those of Keras' layer.
    """

    lora_enabled: bool
    lora_rank: Any
    lora_alpha: Any
    lora_kernel_a: keras.Variable
    lora_kernel_b: keras.Variable
    lora_dropout: Dropout | None = None
    """Of the input of the factors, as in PEFT; None for none."""

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        x = multiply_by_kernel(inputs, ops.convert_to_tensor(self._kernel))
        if self.lora_enabled:
            a = ops.cast(self.lora_kernel_a, x.dtype)
            b = ops.cast(self.lora_kernel_b, x.dtype)
            scale = ops.cast(self.lora_alpha / self.lora_rank, x.dtype)
            dropped = self._drop(inputs, training)
            # Not by ops.add, which on TensorFlow takes what 0 rows add for a bias.
            x = x + scale * ops.matmul(ops.matmul(dropped, a), b)
        x = x if self.bias is None else ops.add(x, self.bias)
        return x if self.activation is None else self.activation(x)

    def _drop(self, inputs: Tensor, training: bool | None) -> Tensor:
        drop = self.lora_dropout
        return inputs if drop is None else drop(inputs, training)

    def quantized_call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """As Keras', whose LoRA has no dropout: what it changes is added."""
        x = super().quantized_call(inputs, training=training)
        if not self.lora_enabled or self.lora_dropout is None or not training:
            return x
        a = ops.cast(self.lora_kernel_a, x.dtype)
        b = ops.cast(self.lora_kernel_b, x.dtype)
        scale = ops.cast(self.lora_alpha / self.lora_rank, x.dtype)
        change = self._drop(inputs, training) - inputs
        return ops.add(x, scale * ops.matmul(ops.matmul(change, a), b))

    @property
    def base_kernel(self) -> keras.Variable:
        """The kernel [D, F] without LoRA, where `kernel` is with it."""
        return self._kernel

    @property
    def kernel(self) -> Tensor:
        """The kernel [D, F] with LoRA, in the dtype of the weights.

        Keras' is in the compute dtype, and so would lose numbers of a mixed policy.
        """
        if not self.lora_enabled or self.quantization_mode is not None:
            return super().kernel
        scale = self.lora_alpha / self.lora_rank
        delta = scale * ops.matmul(self.lora_kernel_a, self.lora_kernel_b)
        return ops.cast(ops.add(self._kernel, delta), self._kernel.dtype)

    def enable_lora(
        self,
        rank: int,
        lora_alpha: float | None = None,
        a_initializer: Any = "he_uniform",
        b_initializer: Any = "zeros",
    ) -> None:
        """Add factors, as Keras does; alpha is that of the layer's configuration.

        Keras forgets it in a layer that is built with LoRA.
        """
        alpha = self.lora_alpha if lora_alpha is None else lora_alpha
        super().enable_lora(rank, alpha, a_initializer, b_initializer)

    def disable_lora(self) -> None:
        """Takes the factors of `enable_lora` away; the kernel stays as it was."""
        if not self.lora_enabled:
            return
        # `del` would collect garbage after each variable, for minutes in a large model.
        for variable in (self.lora_kernel_a, self.lora_kernel_b):
            self._untrack_variable(variable)
        self.lora_kernel_a = self.lora_kernel_b = None
        self.lora_enabled = False
        self.lora_rank = self.lora_alpha = self.lora_dropout = None

    def quantize(
        self,
        mode: str | None = None,
        type_check: bool = True,
        config: keras.quantizers.QuantizationConfig | None = None,
    ) -> None:
        # Keras quantises no subclasses of its layer, which could compute otherwise.
        super().quantize(mode, type_check=False, config=config)

    def save_own_variables(self, store: Any) -> None:
        """Write the variables to an entry of a file; see the class."""
        if not self.lora_enabled or is_saving_preset():
            super().save_own_variables(store)
            return
        for key, variable in self._base_variables().items():
            store[key] = variable
        for name in FACTORS:
            store[name] = getattr(self, name)
        store[_ALPHA] = float(self.lora_alpha)

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote, or Keras' layer.

        A file without LoRA makes the factors add nothing, ready to be trained; a file
        with LoRA is merged into the kernel of a layer without.

        Raises:
            ValueError: if the file has other variables, or another rank or alpha.
        """
        keys = set(store.keys())
        has_lora = not keys.isdisjoint(FACTORS)
        if not self.built or not (has_lora or self.lora_enabled):
            super().load_own_variables(store)
            return
        base = self._base_variables()
        expected = {*base, *FACTORS, _ALPHA} if has_lora else {*base}
        if keys != expected:
            raise ValueError(
                f"Expected the variables {', '.join(sorted(expected))} of {self.path}. "
                f"Received: {', '.join(sorted(keys)) or 'none'}."
            )
        if has_lora and not self.lora_enabled:
            self._load_merged(store)
            return
        if has_lora:
            self._load_factors(store)
        else:
            self.lora_kernel_b.assign(ops.zeros(self.lora_kernel_b.shape))
        for key, variable in base.items():
            variable.assign(store[key])

    def _base_variables(self) -> dict[str, keras.Variable]:
        """Variables but LoRA's, by their keys in files."""
        names = self.variable_serialization_spec[self.quantization_mode]
        attributes = ["_kernel" if name == "kernel" else name for name in names]
        found = [getattr(self, attribute, None) for attribute in attributes]
        present = [variable for variable in found if variable is not None]
        return {str(i): variable for i, variable in enumerate(present)}

    def _load_factors(self, store: Mapping[str, Any]) -> None:
        a, b = (store[name] for name in FACTORS)
        rank, alpha = a.shape[-1], float(store[_ALPHA])
        if (rank, alpha) != (self.lora_rank, float(self.lora_alpha)):
            raise ValueError(
                f"Expected LoRA of rank {self.lora_rank} and alpha {self.lora_alpha:g} "
                f"in {self.path}. Received: a file with rank {rank} and alpha "
                f"{alpha:g}. Enable LoRA with these on a new model, then load the file."
            )
        self.lora_kernel_a.assign(a)
        self.lora_kernel_b.assign(b)

    def _load_merged(self, store: Mapping[str, Any]) -> None:
        """Read a file with LoRA into a layer without, by what Keras does on saving."""
        a, b = (ops.convert_to_tensor(store[name]) for name in FACTORS)
        shape = (self.input_spec.axes[-1], self.units)
        if (a.shape[0], b.shape[-1]) != shape or a.shape[-1] != b.shape[0]:
            raise ValueError(
                f"Expected factors of a kernel of shape {shape} in {self.path}. "
                f"Received: shapes {tuple(a.shape)} and {tuple(b.shape)}."
            )
        is_trainable = self._kernel.trainable
        self.enable_lora(a.shape[-1], float(store[_ALPHA]), a_initializer="zeros")
        try:
            self.load_own_variables(store)
            merged: dict[str, Any] = {}
            super().save_own_variables(merged)
            # What was quantized and gets nothing added is not rounded again.
            changes = bool(ops.any(ops.matmul(a, b) != 0))
        finally:
            self.disable_lora()
            self._kernel.trainable = is_trainable
        if changes:
            super().load_own_variables(merged)
