"""The network: Keras layers only, no tokens, files or sizes of released models."""

from keras_pg2.modeling.backbone import PaliGemma2Backbone as PaliGemma2Backbone
from keras_pg2.modeling.gemma2 import Gemma2Decoder as Gemma2Decoder
from keras_pg2.modeling.siglip import SigLIPEncoder as SigLIPEncoder
