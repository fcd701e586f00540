"""Models as files for other runtimes.

Names are imported when they are first used, so that a device that runs exported files
needs no Keras.
"""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
