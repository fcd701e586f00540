"""Pictures and texts to arrays, and token ids back to text."""

from keras_pg2.preprocessing.examples import Examples as Examples
from keras_pg2.preprocessing.examples import normalize_examples as normalize_examples
from keras_pg2.preprocessing.image_converter import (
    PaliGemma2ImageConverter as PaliGemma2ImageConverter,
)
from keras_pg2.preprocessing.preprocessor import (
    PaliGemma2CausalLMPreprocessor as PaliGemma2CausalLMPreprocessor,
)
from keras_pg2.preprocessing.tokenizer import (
    PaliGemma2Tokenizer as PaliGemma2Tokenizer,
)
