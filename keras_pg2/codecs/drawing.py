"""Drawing detections on a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.drawing_fonts import FontChoice, choose_font
from keras_pg2.codecs.drawing_masks import RIM_COLOR, paint_masks
from keras_pg2.codecs.drawing_plates import draw_plate, place_plates, plate_texts
from keras_pg2.preprocessing.images import ImageInput, open_image

# Far apart on the colour circle and told apart by lightness too.
PALETTE = (
    (230, 57, 70),
    (67, 170, 255),
    (255, 200, 30),
    (60, 180, 90),
    (190, 90, 230),
    (255, 130, 40),
    (40, 210, 210),
    (250, 120, 190),
    (160, 110, 60),
    (150, 200, 60),
)


def draw_detections(
    image: ImageInput,
    detections: Detections,
    font: FontChoice = None,
    labels: Sequence[str] = (),
) -> Image.Image:
    """A copy of the picture with all that was found drawn into it.

    Each label has its own colour. Masks are translucent with a crisp outline, boxes
    have a dark rim, and names (with the score, where there are scores) stand on filled
    plates that stay within the picture: all can be read on any background. Plates
    keep apart from each other where a place near their box allows it.

    Args:
        image: a path, a PIL image, an array `uint8[H, W, 3]` or another picture that
            `preprocessing.images.load_rgb` takes. A photograph that is stored turned
            (EXIF orientation) is drawn upright, as the model sees it.
        detections: of this picture, upright: boxes in its pixels, masks of its size.
        font: for the names: a font of Pillow's, or the path of a font file, which is
            scaled to the picture. None takes Pillow's own, which has ASCII alone, or
            for other letters one of this machine's that has them. What no font has is
            warned of.
        labels: take the first colours, in this order, so that a label has the same
            colour in several pictures.

    Returns:
        An RGB picture of the upright picture's size, transparency over white.

    Raises:
        TypeError: if `image` is no kind of picture.
        ValueError: if the array is of another shape or range, or the masks are not of
            the picture's size.
    """
    picture = open_image(image)
    scale = min(picture.size)
    line_width = max(1, round(scale / 200))
    colors_of_labels = label_colors((*labels, *detections.labels))
    colors = [colors_of_labels[label] for label in detections.labels]
    if detections.masks is not None:
        paint_masks(picture, detections.masks, colors, line_width)
    draw = ImageDraw.Draw(picture)
    boxes = detections.boxes_xyxy.tolist()
    for i in _largest_first(detections.boxes_xyxy):
        _draw_frame(draw, boxes[i], colors[i], line_width, picture.size)
    # Names last, so that no frame runs through one.
    scores = None if detections.scores is None else detections.scores.tolist()
    texts = plate_texts(detections.labels, scores)
    letters = choose_font(font, texts, max(12, round(scale / 28)))
    plates = place_plates(draw, texts, boxes, letters, picture.size)
    for plate, color in zip(plates, (c for c, text in zip(colors, texts) if text)):
        draw_plate(draw, plate, color, letters)
    return picture


def _largest_first(boxes_xyxy: np.ndarray) -> list[int]:
    """Rows of boxes, so that a small box is drawn over a large one."""
    areas = np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=1)
    return np.argsort(-areas, kind="stable").tolist()


def label_colors(labels: tuple[str, ...] | list[str]) -> dict[str, tuple[int, ...]]:
    """One RGB colour per different label, in the order of first appearance."""
    colors: dict[str, tuple[int, ...]] = {}
    for label in labels:
        if label not in colors:
            i = len(colors)
            colors[label] = PALETTE[i] if i < len(PALETTE) else _further_color(i)
    return colors


def _further_color(i: int) -> tuple[int, ...]:
    """Steps of the golden angle never come close to each other soon."""
    rgb = colorsys.hsv_to_rgb((i * 0.618034) % 1, 0.65, 0.95)
    return tuple(round(255 * level) for level in rgb)


def _draw_frame(
    draw: ImageDraw.ImageDraw,
    box: list[float],
    color: tuple[int, ...],
    line_width: int,
    size: tuple[int, int],
) -> None:
    rim = max(1, line_width // 2)
    x1, y1, x2, y2 = (round(v) for v in box)
    x2, y2 = min(x2, size[0] - 1), min(y2, size[1] - 1)
    x1, y1 = min(max(x1, 0), x2), min(max(y1, 0), y2)
    outer = (x1 - rim, y1 - rim, x2 + rim, y2 + rim)
    draw.rectangle(outer, outline=RIM_COLOR, width=line_width + 2 * rim)
    draw.rectangle((x1, y1, x2, y2), outline=color, width=line_width)
