"""What models there are, where their files lie, and the sizes of their layers."""

from keras_pg2.catalogue.names import locate as locate
from keras_pg2.catalogue.names import resolve as resolve
from keras_pg2.catalogue.released import PRESETS as PRESETS
