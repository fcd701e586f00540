"""Checkpoints of every format: opened, converted, written.

`convert` goes file to file, `open_checkpoint` looks into one, `write_model` writes a
model in memory, `upload` sends what was written to a hub. The formats are described in
`formats`.
"""

from keras_pg2.conversion.convert import convert as convert
from keras_pg2.conversion.formats import open_checkpoint as open_checkpoint
from keras_pg2.conversion.upload import upload as upload


def __getattr__(name: str) -> object:
    # It needs Keras, which file to file nobody waits for.
    if name == "write_model":
        from keras_pg2.conversion.from_model import write_model

        return write_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
