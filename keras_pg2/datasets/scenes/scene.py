"""A scene of coloured shapes and a short text as a value, and how one is drawn by lot.

See `keras_pg2.datasets.scenes` for the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CANVAS_SIZE = 84
SHAPES = ("circle", "square", "triangle", "star")
COLORS = {
    "red": (220, 30, 30),
    "green": (30, 160, 60),
    "blue": (40, 70, 220),
    "yellow": (245, 210, 20),
    "purple": (150, 40, 180),
    "orange": (245, 130, 20),
}
POSITIONS = (
    ("top left", "top", "top right"),
    ("left", "center", "right"),
    ("bottom left", "bottom", "bottom right"),
)
SIDES = {"small": (16, 20), "large": (27, 33)}
CHARACTERS = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"  # I, O and Q look like 1 and 0
CHARACTER_CELL = 14
MAX_OBJECTS = 3
MAX_CHARACTERS = 4

_MARGIN = 2  # canvas units kept free between things and at the border
_CELL = CANVAS_SIZE // 3
_MIN_CELL_DISTANCE = 4  # of a centre from the lines between the nine positions
_MIN_CENTER_GAP = 8  # in x, between two objects: left to right is never a close call


@dataclass(frozen=True)
class SceneObject:
    """One shape.

    Attributes:
        shape: one of `SHAPES`.
        color: one of `COLORS`, the word; `rgb` is the colour drawn, a little off it.
        rgb: three integers in [0, 255].
        box_xyxy: `(x0, y0, x1, y1)` in canvas units, tight, integers, `x1` and `y1`
            exclusive edges. Always as wide as high.
    """

    shape: str
    color: str
    rgb: tuple[int, int, int]
    box_xyxy: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        """Colour and shape, such as "red circle"; unique within a scene."""
        return f"{self.color} {self.shape}"

    @property
    def size_word(self) -> str:
        """ "small" or "large", by the side of the box (see `SIDES`)."""
        side = self.box_xyxy[2] - self.box_xyxy[0]
        return "small" if side <= SIDES["small"][1] else "large"

    @property
    def center(self) -> tuple[float, float]:
        """`(x, y)` of the centre of the box in canvas units."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x0 + x1) / 2, (y0 + y1) / 2

    @property
    def position(self) -> str:
        """The word for the ninth of the picture that holds the centre."""
        x, y = self.center
        return POSITIONS[int(y // _CELL)][int(x // _CELL)]


@dataclass(frozen=True)
class Scene:
    """A picture as a value.

    Attributes:
        objects: one to three shapes from left to right; they do not overlap.
        text: "" or up to four of `CHARACTERS`.
        text_box_xyxy: the box of the text in canvas units, one cell of
            `CHARACTER_CELL` units per character; None where there is no text.
        background: two RGB colours, blended from one side to the opposite one.
        is_gradient_vertical: the blend runs from top to bottom, else left to right.
    """

    objects: tuple[SceneObject, ...]
    text: str
    text_box_xyxy: tuple[int, int, int, int] | None
    background: tuple[tuple[int, ...], ...]
    is_gradient_vertical: bool


def scene_generator(seed: int, index: int) -> np.random.Generator:
    """Random generator of scene `index` in the endless series named by `seed`.

    `sample_scene(scene_generator(seed, index))` is the same scene everywhere.
    """
    return np.random.default_rng([seed, index])


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draws a scene at random: 1-3 objects, and in seven of ten scenes a text."""
    num_objects = int(rng.integers(1, MAX_OBJECTS + 1))
    has_text = rng.random() < 0.7
    while True:
        text, text_box = _sample_text(rng) if has_text else ("", None)
        objects: list[SceneObject] = []
        for _ in range(60):
            if len(objects) == num_objects:
                break
            candidate = _sample_object(rng)
            if _is_placeable(candidate, objects, text_box):
                objects.append(candidate)
        if len(objects) == num_objects:
            break
    base = rng.integers(205, 256, 3)
    background = tuple(
        tuple(int(c) for c in np.clip(base + rng.integers(-25, 26, 3), 190, 255))
        for _ in range(2)
    )
    if rng.random() < 0.5:
        background = (background[0], background[0])
    ordered = tuple(sorted(objects, key=lambda o: o.center))
    return Scene(
        objects=ordered,
        text=text,
        text_box_xyxy=text_box,
        background=background,
        is_gradient_vertical=bool(rng.random() < 0.5),
    )


def _sample_text(rng: np.random.Generator) -> tuple[str, tuple[int, int, int, int]]:
    length = int(rng.integers(1, MAX_CHARACTERS + 1))
    text = "".join(rng.choice(list(CHARACTERS), length))
    width, height = length * CHARACTER_CELL, CHARACTER_CELL
    # Near a grid of cells, so that a patch of the model holds most of one character.
    column = rng.integers(0, CANVAS_SIZE // CHARACTER_CELL - length + 1)
    row = rng.integers(0, CANVAS_SIZE // CHARACTER_CELL)
    x, y = np.array([column, row]) * CHARACTER_CELL + rng.integers(-2, 3, 2)
    x = int(np.clip(x, 0, CANVAS_SIZE - width))
    y = int(np.clip(y, 0, CANVAS_SIZE - height))
    return text, (x, y, x + width, y + height)


def _sample_object(rng: np.random.Generator) -> SceneObject:
    color = str(rng.choice(list(COLORS)))
    rgb = np.clip(np.array(COLORS[color]) + rng.integers(-12, 13, 3), 0, 255)
    low, high = SIDES[str(rng.choice(list(SIDES)))]
    side = int(rng.integers(low, high + 1))
    x, y = rng.integers(_MARGIN, CANVAS_SIZE - _MARGIN - side + 1, 2).tolist()
    return SceneObject(
        shape=str(rng.choice(SHAPES)),
        color=color,
        rgb=tuple(rgb.tolist()),
        box_xyxy=(x, y, x + side, y + side),
    )


def _is_placeable(
    candidate: SceneObject,
    objects: list[SceneObject],
    text_box: tuple[int, int, int, int] | None,
) -> bool:
    for coordinate in candidate.center:
        distance = min(abs(coordinate - _CELL), abs(coordinate - 2 * _CELL))
        if distance < _MIN_CELL_DISTANCE:
            return False
    boxes = [o.box_xyxy for o in objects] + ([text_box] if text_box else [])
    if any(_is_touching(candidate.box_xyxy, box) for box in boxes):
        return False
    return all(
        o.name != candidate.name
        and abs(o.center[0] - candidate.center[0]) >= _MIN_CENTER_GAP
        for o in objects
    )


def _is_touching(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return (
        a[0] < b[2] + _MARGIN
        and b[0] < a[2] + _MARGIN
        and a[1] < b[3] + _MARGIN
        and b[1] < a[3] + _MARGIN
    )
