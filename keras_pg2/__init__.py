"""PaliGemma 2 for Keras 3, on JAX, TensorFlow and PyTorch.

Importing the package registers its classes, so that
`keras_hub.models.CausalLM.from_preset(directory)` finds them.
"""

from keras_pg2.generation import Sampler as Sampler
from keras_pg2.modeling import PaliGemma2Backbone as PaliGemma2Backbone
from keras_pg2.preprocessing import (
    PaliGemma2CausalLMPreprocessor as PaliGemma2CausalLMPreprocessor,
)
from keras_pg2.preprocessing import (
    PaliGemma2ImageConverter as PaliGemma2ImageConverter,
)
from keras_pg2.preprocessing import PaliGemma2Tokenizer as PaliGemma2Tokenizer
from keras_pg2.preprocessing import prompts as prompts
from keras_pg2.tasks import PaliGemma2CausalLM as PaliGemma2CausalLM

__version__ = "0.1.0"
