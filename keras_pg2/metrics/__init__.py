"""How good answers are: scores of things found, of masks and boxes referred to."""

from keras_pg2.metrics.coco_results import (
    coco_file_average_precision as coco_file_average_precision,
)
from keras_pg2.metrics.detection import AveragePrecision as AveragePrecision
from keras_pg2.metrics.detection import coco_average_precision as coco_average_precision
from keras_pg2.metrics.segmentation import ReferringScores as ReferringScores
from keras_pg2.metrics.segmentation import (
    read_referring_answers as read_referring_answers,
)
from keras_pg2.metrics.segmentation import referring_scores as referring_scores
