"""PaliGemma 2 for Keras 3, on JAX, TensorFlow and PyTorch.

What the package gives is listed in `__init__.pyi`, here and in each room, and imported
when it is first used. Its classes are registered as soon as Keras is imported, so that
`keras_hub.models.CausalLM.from_preset(directory)` finds them.
"""

from keras_pg2.start import backends as _backends
from keras_pg2.start import lazy_names as _lazy_names
from keras_pg2.start import registration as _registration

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy_names.attach(__name__, __file__)

_backends.set_default_backend()
_registration.register_when_keras_is_imported()
