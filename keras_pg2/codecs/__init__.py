"""Between the model's answers and structure: boxes, labels, drawings."""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
