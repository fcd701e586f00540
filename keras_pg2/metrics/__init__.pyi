from .coco_results import coco_file_average_precision as coco_file_average_precision
from .detection import AveragePrecision as AveragePrecision
from .detection import coco_average_precision as coco_average_precision
from .segmentation import ReferringScores as ReferringScores
from .segmentation import read_referring_answers as read_referring_answers
from .segmentation import referring_scores as referring_scores
