"""PaliGemma 2 for Keras 3, on JAX, TensorFlow and PyTorch.

Importing the package registers its classes, so that
`keras_hub.models.CausalLM.from_preset(directory)` finds them. The command
`keras-pg2` alone goes without: it answers `--help` at once, and Keras must not be
imported before a command has chosen the backend. So does a device that only runs
exported files (`keras_pg2.deploy.runners.litert`), where Keras is not installed.
"""

import sys as _sys
from pathlib import Path as _Path

from keras_pg2.garbage_collection import paused_collection as _paused_collection

if _Path(_sys.argv[0]).stem != "keras-pg2":
    try:
        with _paused_collection():
            from keras_pg2.generation import BeamSearch as BeamSearch
            from keras_pg2.generation import Choices as Choices
            from keras_pg2.generation import LocationGrammar as LocationGrammar
            from keras_pg2.generation import Sampler as Sampler
            from keras_pg2.modeling import PaliGemma2Backbone as PaliGemma2Backbone
            from keras_pg2.preprocessing import prompts as prompts
            from keras_pg2.preprocessing.image_converter import (
                PaliGemma2ImageConverter as PaliGemma2ImageConverter,
            )
            from keras_pg2.preprocessing.preprocessor import (
                PaliGemma2CausalLMPreprocessor as PaliGemma2CausalLMPreprocessor,
            )
            from keras_pg2.preprocessing.tokenizer import (
                PaliGemma2Tokenizer as PaliGemma2Tokenizer,
            )
            from keras_pg2.tasks import PaliGemma2CausalLM as PaliGemma2CausalLM
            from keras_pg2.tasks.answering.predictions import predict as predict
            from keras_pg2.tasks.training.feature_caching import (
                cache_image_features as cache_image_features,
            )
            from keras_pg2.tasks.training.loss import ResponseLoss as ResponseLoss
            from keras_pg2.tasks.training.memory import (
                estimate_memory as estimate_memory,
            )
    except ModuleNotFoundError as _error:
        if _error.name not in ("keras", "keras_hub"):
            raise

__version__ = "0.1.0"
