"""What users hold in their hands: a model that takes pictures and text."""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
