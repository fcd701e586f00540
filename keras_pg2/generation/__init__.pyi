from .samplers import BeamSearch as BeamSearch
from .samplers import Sampler as Sampler
