"""What models there are, where their files lie, and the sizes of their layers."""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
