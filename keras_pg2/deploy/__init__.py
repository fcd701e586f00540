"""Models as files for other runtimes.

Names are imported when they are first used, so that a device that runs exported files
needs no Keras.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_pg2.deploy.comparison import verify_litert as verify_litert
    from keras_pg2.deploy.comparison import verify_onnx as verify_onnx
    from keras_pg2.deploy.litert.export import export_litert as export_litert
    from keras_pg2.deploy.litert.lm import export_litertlm as export_litertlm
    from keras_pg2.deploy.onnx.export import export_onnx as export_onnx
    from keras_pg2.deploy.runners import LiteRTModel as LiteRTModel
    from keras_pg2.deploy.runners import ONNXModel as ONNXModel
    from keras_pg2.deploy.saved_model.export import (
        export_saved_model as export_saved_model,
    )

_MODULES = {
    "LiteRTModel": "keras_pg2.deploy.runners",
    "ONNXModel": "keras_pg2.deploy.runners",
    "export_litert": "keras_pg2.deploy.litert.export",
    "export_litertlm": "keras_pg2.deploy.litert.lm",
    "export_onnx": "keras_pg2.deploy.onnx.export",
    "export_saved_model": "keras_pg2.deploy.saved_model.export",
    "verify_litert": "keras_pg2.deploy.comparison",
    "verify_onnx": "keras_pg2.deploy.comparison",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
