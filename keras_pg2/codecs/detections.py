"""Things found in one picture, as a value."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_pg2.files.whole_files import replaced

if TYPE_CHECKING:
    from PIL import Image

    from keras_pg2.codecs.drawing_fonts import FontChoice
    from keras_pg2.preprocessing.images import ImageInput

MOST_SHOWN = 20
"""Instances in what is shown of a value."""


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Things found in one picture, in the order the model named them.

        for thing in found:  # each is a value of one instance
            print(thing.labels[0], thing.boxes_xyxy[0])
        found[found.scores > 0.8].plot("scene.png")

    Attributes:
        labels: N names; "" where the model gave none.
        boxes_xyxy: float32[N, 4], pixels of the caller's picture, upright; x1 <= x2,
            y1 <= y2.
        masks: bool[N, H, W], True where the thing is, of the picture's size and never
            outside the box; None where nobody asked for masks. All False for an
            instance without a mask.
        scores: float32[N] in [0, 1]; None where there are none.
        tokens: N times the `<loc....>` and `<seg...>` tokens as written; () where
            these are no model's.
        unread: the pieces of the text that are no instance.

    Raises:
        ValueError: when the parts do not have N rows, a score is outside [0, 1], or a
            coordinate is not finite.
    """

    labels: tuple[str, ...]
    boxes_xyxy: np.ndarray
    masks: np.ndarray | None = None
    scores: np.ndarray | None = None
    tokens: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.labels)
        parts = {"boxes_xyxy": (self.boxes_xyxy, (4,)), "scores": (self.scores, ())}
        for name, (part, row) in parts.items():
            if part is not None and part.shape != (count, *row):
                raise ValueError(
                    f"Expected {name} of shape {(count, *row)} for {count} labels, "
                    f"received {part.shape}."
                )
        # A comparison with NaN is False.
        if (
            self.scores is not None
            and not ((self.scores >= 0) & (self.scores <= 1)).all()
        ):
            raise ValueError(f"Expected scores in [0, 1], received {self.scores}.")
        if not np.isfinite(self.boxes_xyxy).all():
            raise ValueError(
                "Expected finite box coordinates, received NaN or infinity."
            )
        if self.masks is not None and (
            self.masks.ndim != 3
            or len(self.masks) != count
            or self.masks.dtype != np.bool_
        ):
            raise ValueError(
                f"Expected masks as bool[{count}, height, width] for {count} labels, "
                f"received {self.masks.dtype}{list(self.masks.shape)}."
            )
        if self.tokens and len(self.tokens) != count:
            raise ValueError(
                f"Expected tokens of {count} instances, received {len(self.tokens)}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Detections]:
        """Each instance, as a value of its own."""
        return (self.take([row]) for row in range(len(self)))

    def __getitem__(self, rows: int | slice | Sequence[int] | np.ndarray) -> Detections:
        """Some of the instances: an index, a slice, or what `take` takes."""
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        return self.take(np.asarray(rows))

    def __repr__(self) -> str:
        rows = [" ".join(cells) for cells in self._cells()]
        more = [f"and {len(self) - MOST_SHOWN} more"] * (len(self) > MOST_SHOWN)
        return f"Detections({', '.join([f'{len(self)} found', *rows, *more])})"

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        titles = ["label", "score", "x1, y1, x2, y2", "mask"]
        has = [True, self.scores is not None, True, self.masks is not None]
        rows = [[title for title, shown in zip(titles, has) if shown], *self._cells()]
        lines = []
        for kind, row in zip(["th", *["td"] * len(rows)], rows):
            cells = (f"<{kind}>{html.escape(cell)}</{kind}>" for cell in row)
            lines.append(f"<tr>{''.join(cells)}</tr>")
        if len(self) > MOST_SHOWN:
            lines.append(f"<tr><td>... {len(self)} in all</td></tr>")
        return f"<table>{''.join(lines)}</table>"

    def _cells(self) -> list[list[str]]:
        """Label, score, box and size of the mask of the first instances."""
        shown = []
        for row, label in enumerate(self.labels[:MOST_SHOWN]):
            cells = [repr(label)]
            if self.scores is not None:
                cells.append(f"{self.scores[row]:.2f}")
            corners = (f"{v:.1f}" for v in self.boxes_xyxy[row])
            cells.append(f"[{', '.join(corners)}]")
            if self.masks is not None:
                cells.append(f"{int(self.masks[row].sum())} pixels")
            shown.append(cells)
        return shown

    def plot(self, image: ImageInput, font: FontChoice = None) -> Image.Image:
        """Draw into a copy of the picture; see `codecs.draw_detections`.

        Args:
            image: what these were found in: a path, a PIL image, or an array.
            font: for the names.
        """
        from keras_pg2.codecs.drawing import draw_detections

        return draw_detections(image, self, font)

    def save(
        self, path: str | os.PathLike[str], image: ImageInput, font: FontChoice = None
    ) -> None:
        """Write what `plot` draws; a file of that name is replaced.

        Args:
            path: file to write, of any kind that Pillow knows by its ending.
            image: as for `plot`.
            font: as for `plot`.

        Raises:
            ValueError: if the ending is unknown.
            OSError: if it cannot be written.
        """
        drawn = self.plot(image, font)
        with replaced(Path(path)) as part:
            drawn.save(part)

    @classmethod
    def concatenate(cls, parts: Sequence[Detections]) -> Detections:
        """The instances of one or more values about one picture, one after another.

        Raises:
            ValueError: when there is no part, or masks, scores or tokens are in some
                only.
        """
        if not parts:
            raise ValueError("Expected at least one part, received none.")

        def joined(name: str) -> np.ndarray | None:
            arrays = [getattr(part, name) for part in parts]
            has = [array is not None for array in arrays]
            if any(has) and not all(has):
                raise ValueError(
                    f"Expected {name} in all parts, received some without."
                )
            return np.concatenate(arrays) if all(has) else None

        tokens = tuple(token for part in parts for token in part.tokens)
        labels = tuple(label for part in parts for label in part.labels)
        return cls(
            labels=labels,
            boxes_xyxy=np.concatenate([part.boxes_xyxy for part in parts]),
            masks=joined("masks"),
            scores=joined("scores"),
            tokens=tokens,
            unread=tuple(piece for part in parts for piece in part.unread),
        )

    def take(self, rows: Sequence[int] | np.ndarray) -> Detections:
        """Some of the instances.

        Args:
            rows: integers, taken in that order; or bool[N], True for those to keep.

        Raises:
            TypeError: when they are neither integers nor booleans.
            ValueError: when there are not N booleans.
            IndexError: when there is no such row.
        """
        rows = np.asarray(rows).reshape(-1)
        if rows.dtype == np.bool_:
            if len(rows) != len(self):
                raise ValueError(
                    f"Expected {len(self)} booleans, one an instance, received "
                    f"{len(rows)}."
                )
            rows = np.flatnonzero(rows)
        elif rows.size and not np.issubdtype(rows.dtype, np.integer):
            raise TypeError(
                f"Expected integers or booleans as rows, received {rows.dtype}."
            )
        rows = rows.astype(int)

        def taken(part: np.ndarray | None) -> np.ndarray | None:
            return None if part is None else part[rows]

        return replace(
            self,
            labels=tuple(self.labels[i] for i in rows),
            boxes_xyxy=self.boxes_xyxy[rows],
            masks=taken(self.masks),
            scores=taken(self.scores),
            tokens=tuple(self.tokens[i] for i in rows) if self.tokens else (),
        )

    def without_duplicates(self, max_iou: float = 0.7) -> Detections:
        """Drops each instance that covers a better one of the same label.

        Better is the higher score, or without scores the earlier one (non-maximum
        suppression per label). The order of those that stay does not change.

        Args:
            max_iou: how much two boxes of one label may overlap, in [0, 1].

        Raises:
            ValueError: when `max_iou` is outside [0, 1].
        """
        if not 0 <= max_iou <= 1:
            raise ValueError(f"Expected max_iou in [0, 1], received {max_iou}.")
        scores = np.zeros(len(self)) if self.scores is None else self.scores
        overlaps = box_iou(self.boxes_xyxy, self.boxes_xyxy)
        kept: list[int] = []
        for i in np.argsort(-scores, kind="stable").tolist():
            rivals = [j for j in kept if self.labels[j] == self.labels[i]]
            if not rivals or overlaps[i, rivals].max() <= max_iou:
                kept.append(i)
        return self.take(sorted(kept))


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of boxes; 0 where both are empty.

    Args:
        first: boxes_xyxy float[N, 4].
        second: boxes_xyxy float[M, 4].

    Returns:
        float64[N, M] in [0, 1].
    """
    a, b = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (first, second))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = [np.prod(np.maximum(x[:, 2:] - x[:, :2], 0), axis=-1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
