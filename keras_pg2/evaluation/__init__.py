"""How good a model is on a data set: answers, figures, intervals, reports."""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
