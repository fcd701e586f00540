"""Pictures with a red box around what is asked about, drawn when they are read."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_pg2.preprocessing.images import load_rgb
from keras_pg2.preprocessing.resizing import stretch

_RED = (255, 0, 0)
_LINES_OF = 224
"""Side of the model's picture of which a line is one pixel, unless one is given."""


@dataclass(frozen=True)
class BoxedPicture:
    """A picture file with a red outline, read as a file object is.

    Nothing is drawn before `read`, and nothing is kept after it.

    The papers stretch the picture to the model's size first and then draw lines of one
    pixel, from floor(v * (side - 1)) as `tf.image.draw_bounding_boxes` does
    (big_vision `pp/proj/paligemma/widgetcap.py`): `image_size` does the same. Without
    it, the lines are drawn into the picture as it is, as wide as one pixel is of 224.

    Attributes:
        path: Path of the picture.
        part: What the box is around, for `name`.
        box_yxyx: Edges in parts of height and width.
        image_size: Height and width of the model's pictures; None for the picture's.
    """

    path: str
    part: str
    box_yxyx: tuple[float, float, float, float]
    image_size: int | None = None

    @property
    def name(self) -> str:
        """What messages and records call it; no other box of a picture has it."""
        return f"{self.path}#{self.part}"

    def read(self) -> bytes:
        """Return the picture with its box, as the content of a BMP file.

        Raises:
            FileNotFoundError, PermissionError, ValueError: as `load_rgb`.
        """
        levels = load_rgb(self.path)
        if self.image_size is not None:
            side = (self.image_size, self.image_size)
            levels = stretch(levels, side, "bilinear", antialias=True)
        content = io.BytesIO()
        Image.fromarray(self._draw(levels)).save(content, "BMP")
        return content.getvalue()

    def _draw(self, levels: np.ndarray) -> np.ndarray:
        """Return uint8[H, W, 3] levels with the outline."""
        drawn = levels.copy()
        height, width = levels.shape[:2]
        thick_y, thick_x = 1, 1
        if self.image_size is None:
            thick_y = max(1, round(height / _LINES_OF))
            thick_x = max(1, round(width / _LINES_OF))
        # float32, as TensorFlow's, which may end at another pixel than float64.
        y1, x1, y2, x2 = (
            int(np.float32(edge) * np.float32(side - 1))
            for edge, side in zip(self.box_yxyx, (height, width, height, width))
        )
        rows, columns = slice(max(y1, 0), y2 + 1), slice(max(x1, 0), x2 + 1)
        # An edge outside the picture has no line.
        for edge, side, thick in ((y1, height, thick_y), (y2, height, thick_y)):
            if 0 <= edge < side:
                drawn[edge : edge + thick, columns] = _RED
        for edge, side, thick in ((x1, width, thick_x), (x2, width, thick_x)):
            if 0 <= edge < side:
                drawn[rows, edge : edge + thick] = _RED
        return drawn
