"""Between the model's answers and structure: boxes, labels, drawings."""

from keras_pg2.codecs.annotations import mask_from_coco as mask_from_coco
from keras_pg2.codecs.annotations import mask_to_rle as mask_to_rle
from keras_pg2.codecs.detections import Detections as Detections
from keras_pg2.codecs.detections import box_iou as box_iou
from keras_pg2.codecs.drawing import draw_detections as draw_detections
from keras_pg2.codecs.exchange import AnnotatedPicture as AnnotatedPicture
from keras_pg2.codecs.exchange import from_coco_dataset as from_coco_dataset
from keras_pg2.codecs.exchange import from_coco_results as from_coco_results
from keras_pg2.codecs.exchange import from_labelme as from_labelme
from keras_pg2.codecs.exchange import from_supervision as from_supervision
from keras_pg2.codecs.exchange import from_yolo as from_yolo
from keras_pg2.codecs.exchange import to_coco_annotations as to_coco_annotations
from keras_pg2.codecs.exchange import to_coco_dataset as to_coco_dataset
from keras_pg2.codecs.exchange import to_coco_results as to_coco_results
from keras_pg2.codecs.exchange import to_labelme as to_labelme
from keras_pg2.codecs.exchange import to_supervision as to_supervision
from keras_pg2.codecs.exchange import to_yolo as to_yolo
from keras_pg2.codecs.exchange import write_json as write_json
from keras_pg2.codecs.exchange import write_text as write_text
from keras_pg2.codecs.location_tokens import NUM_BINS as NUM_BINS
from keras_pg2.codecs.location_tokens import boxes_yxyx_to_text as boxes_yxyx_to_text
from keras_pg2.codecs.location_tokens import decode_boxes_yxyx as decode_boxes_yxyx
from keras_pg2.codecs.location_tokens import encode_boxes_yxyx as encode_boxes_yxyx
from keras_pg2.codecs.location_tokens import (
    normalize_boxes_xyxy as normalize_boxes_xyxy,
)
from keras_pg2.codecs.location_tokens import to_pixels_xyxy as to_pixels_xyxy
from keras_pg2.codecs.parsing import parse_detections as parse_detections
