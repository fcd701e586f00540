"""Exported files run without Keras; each runtime is imported when a model is opened."""

from keras_pg2.deploy.runners.litert import LiteRTModel as LiteRTModel
from keras_pg2.deploy.runners.onnx import ONNXModel as ONNXModel
