"""From prompts to tokens: sampling, prefill and the decoding loop."""

from keras_pg2.codecs.grammars import Choices as Choices
from keras_pg2.codecs.grammars import LocationGrammar as LocationGrammar
from keras_pg2.generation.samplers import BeamSearch as BeamSearch
from keras_pg2.generation.samplers import Sampler as Sampler
