"""2,000 random pictures of all kinds against an oracle of Pillow and NumPy by hand.

Each case is drawn as an array of levels first. What is handed over is made of it (a
PIL mode, a type of numbers, a file, a way of holding the file), and what should come
back is computed from it by arithmetic, or by Pillow's own conversion where that is the
rule.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing import image_decoding
from keras_pg2.preprocessing.images import is_picture, load_rgb, open_image

COUNT = 2000
INTEGERS = ["u1", "i1", "i2", "i4", "i8", "u4", "u8"]
MODES = [
    *("1", "L", "LA", "La", "P", "P int", "P bytes", "PA", "RGB", "RGB key", "L key"),
    *("RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"),
    *("I;16", "I;16B", "I;16L", "I", "I 8", "F"),
]
FILES = [
    *("PNG", "PNG 16", "PNG P", "JPEG", "BMP", "TIFF", "TIFF F", "WEBP", "GIF", "PPM"),
]
SOURCES = [
    *("str", "Path", "path bytes", "bytes", "bytearray", "memoryview", "BytesIO"),
    *("open file", "data", "file", "row bytes", "row path", "PIL"),
]


class Drawer:
    """Draws one picture after another.

    Args:
        folder: For files.
        seed: Seed of all that is drawn.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.folder = folder
        self.opened: list[Any] = []

    def draw(self) -> tuple[str, Any, np.ndarray]:
        """Its kind, the picture, and the levels it should have, float64 [H, W, 3]."""
        makers = (self.array, self.image, self.file)
        return makers[self.rng.integers(3)]()

    def levels(self, channels: int, top: int = 256) -> np.ndarray:
        height, width = self.rng.integers(1, 13, 2)
        return self.rng.integers(0, top, (height, width, channels))

    def choose(self, values: list) -> Any:
        return values[self.rng.integers(len(values))]

    def array(self) -> tuple[str, np.ndarray, np.ndarray]:
        kind = self.choose([*INTEGERS, "u2", "?", "f2", "f4", "f8"])
        channels = self.choose([0, 1, 3, 4])
        levels = self.levels(channels or 1)
        if kind == "i1":
            levels //= 2
        elif kind == "?":
            levels %= 2
        elif kind == "u2":
            levels = self.rng.integers(0, 65536, levels.shape)
            levels[0, 0, 0] = 65535
        elif kind[0] == "f":
            levels = levels / 2 + 100  # Halves, which float16 holds.
        dtype = np.dtype(self.choose(["<", ">"]) + kind)
        array = self.in_memory(levels.astype(dtype))
        expected = self.in_8_bits(levels, kind)
        if channels == 4:
            expected = over_white(expected, is_rounded=kind[0] != "f")
        if channels == 0:
            array = array[..., 0]
        return f"array {dtype.str}", array, three(expected)

    def in_memory(self, array: np.ndarray) -> np.ndarray:
        """The same numbers in another layout."""
        layout = self.rng.integers(6)
        if layout == 1:
            return np.asfortranarray(array)
        if layout == 2:  # Negative strides.
            return np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]
        if layout == 3:  # Every other number of a larger array.
            larger = np.zeros([2 * n for n in array.shape], array.dtype)
            larger[::2, 1::2, ::2] = array
            return larger[::2, 1::2, ::2]
        if layout == 4:
            array.flags.writeable = False
        if layout == 5:  # Bytes at no address of theirs.
            blob = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:]
            return np.frombuffer(blob.data, array.dtype).reshape(array.shape)
        return array

    @staticmethod
    def in_8_bits(levels: np.ndarray, kind: str) -> np.ndarray:
        if kind == "u2":
            return (2 * levels + 257) // 514  # Rounded; 257 is odd, so nothing is half.
        return levels * 255 if kind == "?" else levels

    def image(self) -> tuple[str, Image.Image, np.ndarray]:
        mode = self.choose(MODES)
        image, expected = self.image_of_mode(mode)
        orientation = int(self.rng.integers(1, 9))
        image.getexif()[0x0112] = orientation
        return f"PIL {mode}", image, turn(expected, orientation)

    def image_of_mode(self, mode: str) -> tuple[Image.Image, np.ndarray]:
        if mode in ("I;16", "I;16B", "I;16L", "I"):
            levels = self.levels(1, 65536)[..., 0]
            levels[0, 0] = 65535
            size, order = levels.shape[::-1], ">" if mode == "I;16B" else "<"
            kind = f"{order}{'i4' if mode == 'I' else 'u2'}"
            image = Image.frombytes(mode, size, levels.astype(kind).tobytes())
            return image, three((2 * levels[..., None] + 257) // 514)
        if mode in ("I 8", "F"):
            levels = self.levels(1)
            levels[0, 0] = 255
            kind = np.int32 if mode == "I 8" else np.float32
            return Image.fromarray(levels[..., 0].astype(kind)), three(levels)
        if mode in ("1", "L", "L key"):
            levels = self.levels(1)
            if mode == "1":
                levels = levels % 2 * 255
            image = Image.fromarray(levels[..., 0].astype(np.uint8))
            if mode == "L key":
                image.info["transparency"] = key = int(levels[0, 0, 0])
                levels = np.where(levels == key, 255, levels)
            return image.convert(mode[0]), three(levels)
        if mode[0] == "P":
            return self.palette_image(mode)
        return self.colour_image(mode)

    def palette_image(self, mode: str) -> tuple[Image.Image, np.ndarray]:
        palette = self.rng.integers(0, 256, (16, 3))
        indices = self.levels(1, 16)[..., 0]
        image = Image.fromarray(indices.astype(np.uint8)).copy()
        image.putpalette(palette.astype(np.uint8).tobytes())
        colours, alpha = palette[indices], np.full((*indices.shape, 1), 255)
        if mode == "P int":
            image.info["transparency"] = key = int(indices[0, 0])
            alpha[indices == key] = 0
        elif mode == "P bytes":
            alphas = self.rng.choice([0, 255], 16)
            image.info["transparency"] = alphas.astype(np.uint8).tobytes()
            alpha = alphas[indices][..., None]
        elif mode == "PA":
            alpha = self.rng.choice([0, 255], alpha.shape)
            alpha_image = Image.fromarray(alpha[..., 0].astype(np.uint8))
            image = image.convert("PA")
            image.putalpha(alpha_image)
        return image, over_white(np.concatenate([colours, alpha], -1))

    def colour_image(self, mode: str) -> tuple[Image.Image, np.ndarray]:
        levels = self.levels(4)
        size, raw = levels.shape[1::-1], levels.astype(np.uint8)
        if mode in ("RGB", "RGBX", "RGB key"):
            if mode == "RGBX":
                return Image.frombytes("RGBX", size, raw.tobytes()), levels[..., :3]
            image = Image.fromarray(raw[..., :3])
            if mode == "RGB key":
                key = levels[0, 0, :3]
                image.info["transparency"] = tuple(map(int, key))
                is_key = (levels[..., :3] == key).all(-1, keepdims=True)
                return image, np.where(is_key, 255, levels[..., :3])
            return image, levels[..., :3]
        if mode == "CMYK":
            image = Image.frombytes("CMYK", size, raw.tobytes())
            return image, cmyk_to_rgb(levels)
        if mode in ("YCbCr", "HSV", "LAB"):
            image = Image.frombytes(mode, size, raw[..., :3].tobytes())
            return image, np.asarray(image.convert("RGB")).astype(int)
        # With alpha; all but whole ones are blended within half a level by Pillow.
        levels[..., 3] = self.rng.choice([0, 255], levels.shape[:2])
        if mode in ("LA", "La"):
            levels = np.concatenate([levels[..., [0, 0, 0]], levels[..., 3:]], -1)
            pairs = levels[..., [0, 3]].astype(np.uint8)
            image = Image.frombytes("LA", size, pairs.tobytes())
        else:
            image = Image.frombytes("RGBA", size, levels.astype(np.uint8).tobytes())
        return image.convert(mode), over_white(levels)

    def file(self) -> tuple[str, Any, np.ndarray]:
        kind, source = self.choose(FILES), self.choose(SOURCES)
        content, expected = self.encode(kind)
        return f"{kind} as {source}", self.hold(content, source), expected

    def encode(self, kind: str) -> tuple[bytes, np.ndarray]:
        """The bytes of a file and the levels it should have."""
        options: dict[str, Any] = {}
        if kind == "PNG 16":
            image, expected = self.image_of_mode("I;16")
        elif kind == "TIFF F":
            image, expected = self.image_of_mode("F")
        elif kind in ("PNG P", "GIF"):
            image, expected = self.image_of_mode(self.choose(["P", "P int"]))
        elif kind in ("PNG", "WEBP", "TIFF"):
            image, expected = self.colour_image(self.choose(["RGB", "RGBA"]))
            options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        else:
            image, expected = self.colour_image("RGB")
        name = kind.partition(" ")[0]
        orientation = 1
        if name in ("PNG", "JPEG", "TIFF", "WEBP"):
            orientation = int(self.rng.integers(1, 9))
            exif = Image.Exif()
            exif[0x0112] = orientation
            options["exif"] = exif
        file = io.BytesIO()
        image.save(file, name, **options)
        if kind == "JPEG":  # Lossy: what it holds is what Pillow decodes.
            expected = np.asarray(Image.open(io.BytesIO(file.getvalue()))).astype(int)
        return file.getvalue(), turn(expected, orientation)

    def hold(self, content: bytes, source: str) -> Any:
        path = self.folder / f"ä {self.rng.integers(2**40)}"
        if source in ("str", "Path", "path bytes", "open file", "file", "row path"):
            path.write_bytes(content)
        file = io.BytesIO(content)
        file.seek(len(content) // 2)  # Wherever it was left.
        uri = f"data:image/x;base64,{base64.b64encode(content).decode()}"
        made = {
            "str": lambda: str(path),
            "Path": lambda: path,
            "path bytes": lambda: str(path).encode(),
            "bytes": lambda: content,
            "bytearray": lambda: bytearray(content),
            "memoryview": lambda: memoryview(content),
            "BytesIO": lambda: file,
            "open file": lambda: path.open("rb"),
            "data": lambda: uri,
            "file": path.as_uri,
            "row bytes": lambda: {"bytes": content, "path": "of the archive.png"},
            "row path": lambda: {"bytes": None, "path": str(path)},
            "PIL": lambda: Image.open(file),
        }[source]()
        if hasattr(made, "close"):
            self.opened.append(made)
        return made


def three(levels: np.ndarray) -> np.ndarray:
    return levels.repeat(3, -1) if levels.shape[-1] == 1 else levels


def over_white(rgba: np.ndarray, is_rounded: bool = True) -> np.ndarray:
    colours, alpha = rgba[..., :3], rgba[..., 3:]
    total = colours * alpha + 255 * (255 - alpha)
    # 255 is odd, so nothing lies in the middle.
    return (2 * total + 255) // 510 if is_rounded else total / 255


def cmyk_to_rgb(cmyk: np.ndarray) -> np.ndarray:
    """(255 - K) less its share of C, M and Y, which is rounded."""
    left = 255 - cmyk[..., 3:]
    return left - (2 * cmyk[..., :3] * left + 255) // 510


def turn(levels: np.ndarray, orientation: int) -> np.ndarray:
    """Upright, by the table of EXIF 2.3: where line 0 and column 0 belong."""
    return {
        1: lambda: levels,
        2: lambda: np.fliplr(levels),
        3: lambda: np.rot90(levels, 2),
        4: lambda: np.flipud(levels),
        5: lambda: levels.transpose(1, 0, 2),
        6: lambda: np.rot90(levels, -1),
        7: lambda: np.rot90(levels, 2).transpose(1, 0, 2),
        8: lambda: np.rot90(levels, 1),
    }[orientation]()


@pytest.mark.parametrize("strip_pixels", [2**21, 10])
def test_pictures_of_all_kinds(tmp_path, monkeypatch, strip_pixels):
    """In one strip, as small pictures are read, and in many, as large ones are."""
    monkeypatch.setattr(image_decoding, "_STRIP_PIXELS", strip_pixels)
    drawer = Drawer(tmp_path, seed=strip_pixels)
    counts: Counter[str] = Counter()
    worst = 0.0
    for index in range(COUNT // 2):
        kind, picture, expected = drawer.draw()
        counts[kind] += 1
        assert is_picture(picture), kind
        levels = load_rgb(picture)
        assert levels.shape == expected.shape, (index, kind)
        is_float = levels.dtype == np.float32
        assert is_float == (kind[-2:-1] == "f" or kind[-1] == "F" or "TIFF F" in kind)
        difference = np.abs(levels - expected).max()
        # Floats with alpha are blended in float32.
        assert difference <= (1e-4 if is_float else 0), (index, kind, difference)
        worst = max(worst, difference)
        if index % 5 == 0:
            whole = np.asarray(open_image(picture))
            np.testing.assert_array_equal(whole, np.round(levels), err_msg=kind)
        for file in drawer.opened:
            file.close()
        drawer.opened.clear()
    print(f"{counts.total()} pictures of {len(counts)} kinds, worst by {worst:.1g}")
