from .record import METRICS as METRICS
from .record import RESOLUTIONS as RESOLUTIONS
from .record import SIZES as SIZES
from .selection import Recipe as Recipe
from .selection import default as default
from .selection import get as get
from .selection import names as names
