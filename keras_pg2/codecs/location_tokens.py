"""Boxes to `<loc....>` tokens and back; see `preprocessing.location_tokens`."""

from keras_pg2.preprocessing.location_tokens import NUM_BINS as NUM_BINS
from keras_pg2.preprocessing.location_tokens import bins_to_text as bins_to_text
from keras_pg2.preprocessing.location_tokens import (
    boxes_yxyx_to_text as boxes_yxyx_to_text,
)
from keras_pg2.preprocessing.location_tokens import (
    decode_boxes_yxyx as decode_boxes_yxyx,
)
from keras_pg2.preprocessing.location_tokens import (
    encode_boxes_yxyx as encode_boxes_yxyx,
)
from keras_pg2.preprocessing.location_tokens import (
    normalize_boxes_xyxy as normalize_boxes_xyxy,
)
from keras_pg2.preprocessing.location_tokens import to_pixels_xyxy as to_pixels_xyxy
