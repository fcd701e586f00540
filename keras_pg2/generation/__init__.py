"""From prompts to tokens: sampling, prefill and the decoding loop."""

from keras_pg2.generation.samplers import Sampler as Sampler
