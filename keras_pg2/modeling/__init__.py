"""The network: Keras layers only, no tokens, files or sizes of released models."""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
