from .backbone import PaliGemma2Backbone as PaliGemma2Backbone
from .gemma2 import Gemma2Decoder as Gemma2Decoder
from .siglip import SigLIPEncoder as SigLIPEncoder
