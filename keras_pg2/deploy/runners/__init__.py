"""Exported files run without Keras.

Names are imported when they are first used, each with its own runtime's module.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_pg2.deploy.runners.litert import LiteRTModel as LiteRTModel
    from keras_pg2.deploy.runners.onnx import ONNXModel as ONNXModel

_MODULES = {
    "LiteRTModel": "keras_pg2.deploy.runners.litert",
    "ONNXModel": "keras_pg2.deploy.runners.onnx",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
