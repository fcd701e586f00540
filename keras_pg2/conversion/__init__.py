"""Checkpoints of every format: opened, converted, written.

`convert` goes file to file, `open_checkpoint` looks into one, `write_model` writes a
model in memory, `upload` sends what was written to a hub. The formats are described in
`formats`.
"""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
