"""Random changes of a picture, which the answer follows.

Each is a pure function of a row and a random generator: `(row, rng) -> row`. The
row's picture (a path, PIL image or array) becomes uint8[H, W, 3]; the row that was
given is left as it is.

| augmentation   | big_vision                                                        |
|----------------|-------------------------------------------------------------------|
| `ResizeJitter` | `resize_r` (`pp/proj/paligemma/robustness.py`)                    |
| `JpegJitter`   | `random_jpeg` (ibid.): quality 75 to 95                           |
| `LightCrop`    | `inception_box` of `crop='zic_mild'` (`transfers/refcoco_seg.py`) |

The transfers of the papers train on whole, stretched pictures without any of these;
they help where there are few pictures.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image

from keras_pg2.datasets.moving_boxes import Crop, has_boxes, move_answer, move_prompt
from keras_pg2.datasets.rows import Row
from keras_pg2.preprocessing.examples import KEYS
from keras_pg2.preprocessing.images import ImageInput, load_rgb
from keras_pg2.preprocessing.resizing import stretch

# (row, rng) -> row
Augmentation: TypeAlias = Callable[[Row, np.random.Generator], Row]

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
# Pillow has no filter of Mitchell and Netravali; lanczos3 and area without antialias
# are no use to anyone.
RESIZE_VARIANTS = (
    *((name, True) for name in _FILTERS),
    ("bilinear", False),
    ("bicubic", False),
)


@dataclass(frozen=True)
class ResizeJitter:
    """Stretches to the model's size by a filter drawn at random.

    Args:
        image_size: height and width in pixels, the model's.

    Raises:
        ValueError: for a size below 1.
    """

    image_size: int

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ValueError(
                f"Expected an image_size >= 1, received {self.image_size}."
            )

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """The row with pictures uint8[image_size, image_size, 3]."""
        filter_, antialias = RESIZE_VARIANTS[rng.integers(len(RESIZE_VARIANTS))]
        side = self.image_size

        def resize(image: np.ndarray) -> np.ndarray:
            if antialias:
                resized = Image.fromarray(image).resize((side, side), _FILTERS[filter_])
                return np.asarray(resized)
            return stretch(image, (side, side), filter_, antialias=False)

        return {**row, "images": _each_picture(row["images"], resize)}


@dataclass(frozen=True)
class JpegJitter:
    """Writes the picture as JPEG of a random quality and reads it again.

    Args:
        probability: how often, in [0, 1].
        quality: lowest and highest quality, whole numbers in 1..100.

    Raises:
        ValueError: for numbers out of range.
    """

    probability: float = 0.5
    quality: tuple[int, int] = (75, 95)

    def __post_init__(self) -> None:
        _check_range("probability", (self.probability, self.probability), 0, 1)
        _check_range("quality", self.quality, 1, 100)

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """The row with pictures uint8[H, W, 3] of the size they had."""
        is_chosen = rng.random() < self.probability
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))

        def compress(image: np.ndarray) -> np.ndarray:
            if not is_chosen:
                return image
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=quality)
            return np.asarray(Image.open(file))

        return {**row, "images": _each_picture(row["images"], compress)}


@dataclass(frozen=True)
class LightCrop:
    """Cuts a random part out of the picture; boxes in the texts follow.

    Boxes outside are dropped from the answer. A crop that would take the last instance
    of a label, cut a box that has a mask, or cut a box of the prompt is drawn anew;
    after `num_tries` the row stays whole. Texts without location tokens stay as they
    are, also those that say where things are.

    Args:
        area: the part of the picture that stays, lowest and highest, in (0, 1].
        aspect: how much wider than high the crop is made, lowest and highest,
            relative to the picture.
        min_visible: a box stays, cut at the border, when at least this part of its
            area is inside, in (0, 1].
        num_tries: draws before giving up.

    Raises:
        ValueError: for numbers out of range.
    """

    area: tuple[float, float] = (0.8, 1.0)
    aspect: tuple[float, float] = (0.9, 1.1)
    min_visible: float = 0.5
    num_tries: int = 10

    def __post_init__(self) -> None:
        _check_range("area", self.area, 1e-3, 1)
        _check_range("aspect", self.aspect, 1e-2, 1e2)
        _check_range("min_visible", (self.min_visible, self.min_visible), 1e-6, 1)
        if self.num_tries < 1:
            raise ValueError(f"Expected num_tries >= 1, received {self.num_tries}.")

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """The row with the picture uint8[h, w, 3] and texts that fit it.

        Raises:
            ValueError: when a text has location tokens in another form than a
                detection's, or there are boxes and several pictures.
        """
        if set(row) != set(KEYS):
            raise ValueError(
                f"Expected a row of {', '.join(KEYS)}, received {', '.join(row)}: a "
                "crop would not fit the rest."
            )
        images, texts = row["images"], (row["prompts"], row["responses"])
        if isinstance(images, list | tuple):
            if any(map(has_boxes, texts)):
                raise ValueError(
                    f"Expected one picture in a row with boxes, received {len(images)}:"
                    " nothing says which one they are of. Leave the crop out."
                )
            parts = [self._crop(_levels(image), texts, rng)[0] for image in images]
            return {**row, "images": parts}
        image, (prompt, response) = self._crop(_levels(images), texts, rng)
        return {"images": image, "prompts": prompt, "responses": response}

    def _crop(
        self, image: np.ndarray, texts: tuple[str, str], rng: np.random.Generator
    ) -> tuple[np.ndarray, tuple[str, str]]:
        height, width = image.shape[:2]
        for _ in range(self.num_tries):
            y1, x1, y2, x2 = self._draw(height, width, rng)
            crop = Crop(y1=y1 / height, x1=x1 / width, y2=y2 / height, x2=x2 / width)
            prompt = move_prompt(texts[0], crop)
            response = move_answer(texts[1], crop, self.min_visible)
            if prompt is not None and response is not None:
                return np.ascontiguousarray(image[y1:y2, x1:x2]), (prompt, response)
        return image, texts

    def _draw(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Corners y1 x1 y2 x2 in pixels, at least one pixel apart."""
        area = rng.uniform(*self.area)
        stretch_ = np.sqrt(np.exp(rng.uniform(*np.log(self.aspect))))
        rows = int(np.clip(round(height * np.sqrt(area) / stretch_), 1, height))
        columns = int(np.clip(round(width * np.sqrt(area) * stretch_), 1, width))
        y1 = int(rng.integers(height - rows + 1))
        x1 = int(rng.integers(width - columns + 1))
        return y1, x1, y1 + rows, x1 + columns


def augment(
    row: Row, augmentations: Sequence[Augmentation], rng: np.random.Generator
) -> Row:
    """The row after all augmentations, one after the other."""
    for augmentation in augmentations:
        row = augmentation(row, rng)
    return row


def _levels(image: ImageInput) -> np.ndarray:
    """uint8[H, W, 3]; float arrays are rounded to whole levels."""
    return np.round(load_rgb(image)).astype(np.uint8)


def _each_picture(
    images: ImageInput | list[ImageInput] | tuple[ImageInput, ...],
    change: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray | list[np.ndarray]:
    if isinstance(images, list | tuple):
        return [change(_levels(image)) for image in images]
    return change(_levels(images))


def _check_range(name: str, ends: Sequence[float], low: float, high: float) -> None:
    if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high:
        raise ValueError(
            f"Expected {name} within {low:g}..{high:g}, the lower one first; received "
            f"{tuple(ends)}."
        )
