from .names import locate as locate
from .names import resolve as resolve
from .released import PRESETS as PRESETS
