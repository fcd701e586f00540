"""Training rows for PaliGemma: annotation files read in, pictures drawn on demand."""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
