"""The projections of every block: Keras' `Dense`, with a cheaper form of its LoRA.

Axes: D inputs, F outputs, R rank.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_pg2.modeling.cpu.products import multiply_by_kernel
from keras_pg2.modeling.dropout import Dropout
from keras_pg2.typing import Tensor


@keras.saving.register_keras_serializable(package="keras_pg2")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` that computes LoRA beside its kernel, not inside it.

    Keras adds `scale * a @ b`, [D, F], to the kernel before it multiplies, so that
    the gradient of a whole kernel is computed for the two small factors, and a
    bfloat16 kernel rounds the sum. Here it is `x @ kernel + scale * (x @ a) @ b`:
    a training step of a layer takes about half the time. The class is called as
    Keras' is, since files of weights name layers by their classes.
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
