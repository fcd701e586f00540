"""Detections to the forms of other tools and back.

What each keeps:

| form        | labels, boxes | scores | masks                                        |
|-------------|---------------|--------|----------------------------------------------|
| supervision | yes           | yes    | yes; also tokens and unread pieces           |
| COCO        | yes           | yes    | yes (RLE), or polygons without holes         |
| LabelMe     | yes           | yes    | polygons without holes, or yes (mask shapes) |
| YOLO        | yes           | yes    | one polygon each, without holes              |

Beside a mask LabelMe and YOLO keep no box: it is read as what the mask covers. COCO and
LabelMe keep scores as a key of their own in files to train on, which tools pass over.
"""

from keras_pg2.codecs.exchange.coco import from_coco_results as from_coco_results
from keras_pg2.codecs.exchange.coco import to_coco_annotations as to_coco_annotations
from keras_pg2.codecs.exchange.coco import to_coco_results as to_coco_results
from keras_pg2.codecs.exchange.coco_dataset import AnnotatedPicture as AnnotatedPicture
from keras_pg2.codecs.exchange.coco_dataset import (
    from_coco_dataset as from_coco_dataset,
)
from keras_pg2.codecs.exchange.coco_dataset import to_coco_dataset as to_coco_dataset
from keras_pg2.codecs.exchange.labelme import from_labelme as from_labelme
from keras_pg2.codecs.exchange.labelme import to_labelme as to_labelme
from keras_pg2.codecs.exchange.supervision import from_supervision as from_supervision
from keras_pg2.codecs.exchange.supervision import to_supervision as to_supervision
from keras_pg2.codecs.exchange.yolo import from_yolo as from_yolo
from keras_pg2.codecs.exchange.yolo import to_yolo as to_yolo
from keras_pg2.files.json_files import write_json as write_json
from keras_pg2.files.whole_files import write_text as write_text
