"""Masks to sixteen `<seg...>` tokens and back.

A mask is cut to its box, squeezed to 64 x 64 and coded by the VQ-VAE of
`mask_network.py`; codes become a mask of any box again. Sources, as there: big_vision
`pp/proj/paligemma/segmentation.py` and the evaluator for segmentation, which resizes
the decoder's numbers bilinearly and keeps what is above 0.

Axes: N instances, H and W height and width of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from keras import ops
from PIL import Image

from keras_pg2.codecs.mask_files import (
    RELEASED,
    parse_network,
    read_network,
    write_network,
)
from keras_pg2.codecs.mask_network import MASK_SIZE, MaskNetwork
from keras_pg2.codecs.segment_tokens import NUM_TOKENS, check_codes, codes_to_text
from keras_pg2.typing import Tensor

_BATCH_SIZE = 64


class MaskCodec:
    """Masks to codes and back.

    Args:
        network: the VQ-VAE.
    """

    def __init__(self, network: MaskNetwork) -> None:
        self.network = network

    @classmethod
    def from_file(cls, source: str | Path) -> MaskCodec:
        """Reads weights in the layout of `vae-oid.npz`.

        Args:
            source: a path, `hf://owner/repository/file.npz`, or a URL.

        Raises:
            FileNotFoundError: when there is no such file.
            ValueError: when it is another kind of file.
        """
        return cls(read_network(source))

    @classmethod
    def from_bytes(cls, content: bytes, source: str | Path) -> MaskCodec:
        """Read the content of such a file, which errors call `source`.

        Raises:
            ValueError: if it is another kind of file.
        """
        return cls(parse_network(content, source))

    @classmethod
    @cache
    def released(cls) -> MaskCodec:
        """The codec that the released checkpoints were trained with, downloaded once.

        Raises:
            ConnectionError: when it cannot be downloaded.
        """
        return cls.from_file(RELEASED)

    def save(self, path: str | Path) -> None:
        """Writes weights in the layout of `vae-oid.npz`; a file there is replaced."""
        write_network(self.network, path)

    def encode(self, masks: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Codes of masks within their boxes.

        Args:
            masks: bool[N, H, W].
            boxes_xyxy: float[N, 4] in pixels; edges are rounded to whole pixels.

        Returns:
            int32[N, 16] in 0..127, the 4 x 4 grid row by row.

        Raises:
            ValueError: when shapes differ, or a box holds no pixel of the picture.
        """
        masks = np.asarray(masks)
        if masks.ndim != 3 or masks.dtype != np.bool_:
            raise ValueError(
                f"Expected masks as bool[N, height, width], received "
                f"{masks.dtype}{list(masks.shape)}. Put a single mask in a list."
            )
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        if len(boxes) != len(masks):
            raise ValueError(
                f"Expected a box for each of {len(masks)} masks, received {len(boxes)}."
            )
        height, width = masks.shape[1:]
        crops = np.zeros((len(masks), MASK_SIZE, MASK_SIZE), np.float32)
        for i, (mask, box) in enumerate(zip(masks, boxes)):
            x1, y1, x2, y2 = _whole_pixels(box, width, height)
            if x1 >= x2 or y1 >= y2:
                raise ValueError(
                    f"Expected boxes of at least one pixel within the picture of "
                    f"{width} x {height} pixels, received {box.tolist()} at mask {i}."
                )
            crops[i] = _resize(mask[y1:y2, x1:x2], MASK_SIZE, MASK_SIZE)
        return self.encode_crops(crops)

    def encode_text(self, mask: np.ndarray, box_xyxy: np.ndarray) -> str:
        """The sixteen tokens of one mask, as `datasets` wants them for training rows.

        Args:
            mask: bool[H, W].
            box_xyxy: float[4] in pixels.

        Raises:
            ValueError: as `encode`.
        """
        codes = self.encode(np.asarray(mask)[None], np.asarray(box_xyxy)[None])
        return codes_to_text(codes)[0]

    def encode_crops(self, crops: np.ndarray) -> np.ndarray:
        """float32[N, 64, 64], the share of each pixel covered, -> int32[N, 16]."""
        signed = 2 * (np.asarray(crops, np.float32)[..., None] - 0.5)
        return self._in_batches(self.network.encode, signed, (NUM_TOKENS,), np.int32)

    def decode(
        self, codes: np.ndarray, boxes_xyxy: np.ndarray, width: int, height: int
    ) -> np.ndarray:
        """Masks of codes within boxes.

        Args:
            codes: int[N, 16] in 0..127.
            boxes_xyxy: float[N, 4] in pixels; edges are rounded to whole pixels, and
                a box narrower than one pixel is given one.
            width: W, of the picture.
            height: H.

        Returns:
            bool[N, H, W].

        Raises:
            ValueError: when a code is outside 0..127 or shapes differ.
        """
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        raw = self.decode_crops(codes)
        if len(raw) != len(boxes):
            raise ValueError(
                f"Expected a box for each of {len(raw)} rows of codes, received "
                f"{len(boxes)}."
            )
        masks = np.zeros((len(boxes), height, width), bool)
        for mask, crop, box in zip(masks, raw, boxes):
            x1, y1, x2, y2 = _whole_pixels(box, width, height)
            x1, y1 = min(x1, width - 1), min(y1, height - 1)
            x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
            mask[y1:y2, x1:x2] = _resize(crop, x2 - x1, y2 - y1) > 0
        return masks

    def decode_crops(self, codes: np.ndarray) -> np.ndarray:
        """int[N, 16] in 0..127 -> float32[N, 64, 64], positive inside the mask.

        Raises:
            ValueError: when a code is outside 0..127 or the shape is another.
        """
        shape = (MASK_SIZE, MASK_SIZE, 1)
        decode = self.network.decode
        return self._in_batches(decode, check_codes(codes), shape, np.float32)[..., 0]

    def _in_batches(
        self,
        function: Callable[[Tensor], Tensor],
        rows: np.ndarray,
        shape: tuple,
        dtype: type,
    ) -> np.ndarray:
        """Runs batches of one size, so that nothing is compiled anew."""
        results = np.zeros((len(rows), *shape), dtype)
        for start in range(0, len(rows), _BATCH_SIZE):
            part = rows[start : start + _BATCH_SIZE]
            full = 1 if len(part) == 1 else _BATCH_SIZE
            padded = np.zeros((full, *part.shape[1:]), part.dtype)
            padded[: len(part)] = part
            done = ops.convert_to_numpy(function(ops.convert_to_tensor(padded)))
            results[start : start + _BATCH_SIZE] = done[: len(part)]
        return results


def _whole_pixels(box: np.ndarray, width: int, height: int) -> tuple[int, ...]:
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    return (
        min(max(x1, 0), width),
        min(max(y1, 0), height),
        min(max(x2, 0), width),
        min(max(y2, 0), height),
    )


def _resize(plane: np.ndarray, width: int, height: int) -> np.ndarray:
    """Bilinear, anti-aliased where it shrinks: float32[height, width]."""
    picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    size = (width, height)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
