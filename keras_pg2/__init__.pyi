from . import codecs as codecs
from . import conversion as conversion
from . import datasets as datasets
from . import deploy as deploy
from . import evaluation as evaluation
from . import finetuning as finetuning
from . import metrics as metrics
from . import recipes as recipes
from .codecs import Choices as Choices
from .codecs import Detections as Detections
from .codecs import Grammar as Grammar
from .codecs import LocationGrammar as LocationGrammar
from .codecs import MaskCodec as MaskCodec
from .codecs import ScoreCalibration as ScoreCalibration
from .codecs import draw_detections as draw_detections
from .conversion import convert as convert
from .conversion import open_checkpoint as open_checkpoint
from .conversion import upload as upload
from .conversion import write_model as write_model
from .datasets import RowBatches as RowBatches
from .datasets import read_coco as read_coco
from .datasets import read_jsonl as read_jsonl
from .datasets import read_table as read_table
from .generation import BeamSearch as BeamSearch
from .generation import Sampler as Sampler
from .modeling import PaliGemma2Backbone as PaliGemma2Backbone
from .preprocessing import (
    PaliGemma2CausalLMPreprocessor as PaliGemma2CausalLMPreprocessor,
)
from .preprocessing import PaliGemma2ImageConverter as PaliGemma2ImageConverter
from .preprocessing import PaliGemma2Tokenizer as PaliGemma2Tokenizer
from .preprocessing import open_image as open_image
from .preprocessing import prompts as prompts
from .tasks import CheckedCaption as CheckedCaption
from .tasks import Decision as Decision
from .tasks import DecisionCalibration as DecisionCalibration
from .tasks import EncodedImages as EncodedImages
from .tasks import MemoryEstimate as MemoryEstimate
from .tasks import PaliGemma2CausalLM as PaliGemma2CausalLM
from .tasks import Question as Question
from .tasks import ResponseLoss as ResponseLoss
from .tasks import ScoredAnswer as ScoredAnswer
from .tasks import cache_image_features as cache_image_features
from .tasks import estimate_memory as estimate_memory
from .tasks import predict as predict

__version__: str
