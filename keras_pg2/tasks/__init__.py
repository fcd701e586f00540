"""What users hold in their hands: a model that takes pictures and text."""

from keras_pg2.tasks.causal_lm import PaliGemma2CausalLM as PaliGemma2CausalLM
