"""From prompts to tokens: sampling, prefill and the decoding loop."""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
