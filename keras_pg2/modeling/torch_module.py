"""A KerasHub model as the `torch.nn.Module` that it is on PyTorch.

KerasHub's models set their attributes past PyTorch, which then sees no parameter of
theirs. Keras gives a functional model one dictionary of parameters by path; here it is
made anew whenever PyTorch asks, as LoRA and quantization exchange weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from keras_pg2.typing import Tensor

if keras.config.backend() == "torch":

    class TorchModule:
        """Parameters for PyTorch: each weight of a model once, by its path."""

        weights: list[keras.Variable]
        _torch_params: Any

        def named_parameters(
            self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
        ) -> Iterator[tuple[str, Tensor]]:
            """Yield names and parameters; see `torch.nn.Module`."""
            self._list_parameters()
            return super().named_parameters(prefix, recurse, remove_duplicate)  # type: ignore[misc]

        def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
            """Return tensors by name; see `torch.nn.Module`."""
            self._list_parameters()
            return super().state_dict(*args, **kwargs)  # type: ignore[misc]

        def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
            """Take tensors of `state_dict`; see `torch.nn.Module`."""
            self._list_parameters()
            result = super().load_state_dict(*args, **kwargs)  # type: ignore[misc]
            for weight in self.weights:
                loaded = self._torch_params[weight.path]
                # With assign=True PyTorch puts new parameters in place of the old.
                if loaded is not weight.value:
                    weight.assign(loaded)
            return result

        def _apply(self, *args: Any, **kwargs: Any) -> Any:
            """`to`, `cuda`, `half` and the like all go through this."""
            self._list_parameters()
            return super()._apply(*args, **kwargs)  # type: ignore[misc]

        def _list_parameters(self) -> None:
            import torch

            by_path = {weight.path: weight.value for weight in self.weights}
            # Keras' own name for it, so that nothing is listed twice.
            self._torch_params = torch.nn.ParameterDict(by_path)

else:

    class TorchModule:  # type: ignore[no-redef]
        """Nothing, as only PyTorch has modules."""
