from . import prompts as prompts
from .image_converter import PaliGemma2ImageConverter as PaliGemma2ImageConverter
from .images import open_image as open_image
from .preprocessor import (
    PaliGemma2CausalLMPreprocessor as PaliGemma2CausalLMPreprocessor,
)
from .tokenizer import PaliGemma2Tokenizer as PaliGemma2Tokenizer
