"""Pictures and texts to arrays, and token ids back to text.

Nothing is imported here, so that pictures and prompts are checked without Keras.
"""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
