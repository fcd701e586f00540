from .comparison import verify_litert as verify_litert
from .comparison import verify_onnx as verify_onnx
from .litert.export import export_litert as export_litert
from .litert.lm import export_litertlm as export_litertlm
from .onnx.export import export_onnx as export_onnx
from .runners import LiteRTModel as LiteRTModel
from .runners import ONNXModel as ONNXModel
from .saved_model.export import export_saved_model as export_saved_model
