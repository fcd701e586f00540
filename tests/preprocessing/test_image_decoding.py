"""Large pictures, limits, broken ones: what they cost and what is said of them."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from keras_pg2.preprocessing import image_decoding
from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.images import load_rgb, load_sized, open_image

SIZE = (28, 28)


def waves(height: int, width: int) -> np.ndarray:
    """uint8[height, width, 3], as smooth as a photograph."""
    y, x, c = np.ogrid[0 : 7 : height * 1j, 0 : 9 : width * 1j, 0:3:3j]
    return (127.5 + 127.5 * np.sin(x + c) * np.cos(y * 1.3 - c)).astype(np.uint8)


def write_bilevel_png(path: Path, width: int, height: int) -> Path:
    """A black picture of 1 bit, written line by line without a picture in memory."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer, line = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    lines = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    chunks = [(b"IHDR", header), (b"IDAT", lines), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks))
    return path


MEASURE = """
import resource, sys, warnings
warnings.simplefilter("ignore")  # Pillow warns of bombs from half of its limit on.
import numpy as np
from keras_pg2.preprocessing.images import load_sized
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
levels, width, height = load_sized(sys.argv[1], size=(224, 224))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(levels.shape, levels.max(), width, height, (after - before) / 1024)
"""


def test_a_bomb_costs_less_than_half_a_gigabyte(tmp_path):
    pytest.importorskip("resource")
    path = write_bilevel_png(tmp_path / "bomb.png", 13_300, 13_300)
    assert path.stat().st_size < 40_000
    command = [sys.executable, "-c", MEASURE, str(path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    *found, megabytes = printed.split()
    assert " ".join(found) == "(700, 700, 3) 0 13300 13300"
    assert float(megabytes) < 500


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
class TestLimits:
    @pytest.fixture(autouse=True)
    def limit(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)

    def test_within_twice_the_limit_only_for_the_model(self, tmp_path):
        path = write_bilevel_png(tmp_path / "bomb.png", 30, 40)
        message = r"bomb\.png' is too large: 1,200 pixels .*MAX_IMAGE_PIXELS = 1,000"
        for read in (load_rgb, open_image):
            with pytest.raises(ValueError, match=message) as caught:
                read(path)
            assert "damaged" not in str(caught.value)
            assert "PIL.Image.MAX_IMAGE_PIXELS = 400_000_000" in str(caught.value)
        assert load_rgb(path, size=SIZE).shape == (40, 30, 3)
        assert PaliGemma2ImageConverter(SIZE).convert(path).shape == (28, 28, 3)

    def test_beyond_it_not_at_all(self, tmp_path):
        path = write_bilevel_png(tmp_path / "bomb.png", 50, 50)
        for picture in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
            with pytest.raises(ValueError, match=r"too large: .*2500 pixels") as caught:
                load_rgb(picture, size=SIZE)
            assert "damaged" not in str(caught.value)
            assert ".." not in str(caught.value)
        converter = PaliGemma2ImageConverter(SIZE)
        with pytest.raises(ValueError, match="image 1 is too large"):
            converter.convert([np.zeros((2, 2), np.uint8), path.read_bytes()])

    def test_it_can_be_raised_and_lifted(self, tmp_path, monkeypatch):
        path = write_bilevel_png(tmp_path / "bomb.png", 50, 50)
        for limit in (2500, None):
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
            assert load_rgb(path).shape == (50, 50, 3)

    def test_pictures_in_memory_have_none(self, monkeypatch):
        # Some versions of Pillow look at the limit when they cut a strip.
        monkeypatch.setattr(image_decoding, "_STRIP_PIXELS", 500)
        assert load_rgb(np.zeros((50, 50), np.uint8)).shape == (50, 50, 3)
        assert open_image(Image.new("1", (50, 50))).size == (50, 50)


class TestShrinking:
    """Pictures above a limit of pixels, which is lowered to be quick."""

    @pytest.fixture(autouse=True)
    def large(self, monkeypatch):
        monkeypatch.setattr(image_decoding, "LARGE_PIXELS", 10_000)
        monkeypatch.setattr(image_decoding, "_STRIP_PIXELS", 5_000)

    @staticmethod
    def means(levels: np.ndarray, rows: int, columns: int) -> np.ndarray:
        """Of blocks, those at the border as large as what is left there."""
        height, width = levels.shape[:2]
        blocks = [
            [
                levels[y : y + rows, x : x + columns].mean((0, 1))
                for x in range(0, width, columns)
            ]
            for y in range(0, height, rows)
        ]
        return np.array(blocks)

    @pytest.mark.parametrize("kind", ["PNG", "PIL", "bytes", "WEBP"])
    def test_means_of_blocks(self, tmp_path, kind):
        levels = waves(252, 336)
        path = tmp_path / f"a.{'webp' if kind == 'WEBP' else 'png'}"
        Image.fromarray(levels).save(path, lossless=True)
        picture = {"PIL": lambda: Image.open(path), "bytes": path.read_bytes}.get(
            kind, lambda: path
        )()
        shrunk, width, height = load_sized(picture, size=SIZE)
        assert (width, height) == (336, 252)
        # 252 // 84 = 3 and 336 // 84 = 4.
        expected = self.means(levels.astype(float), 3, 4)
        assert shrunk.shape == expected.shape
        assert np.abs(shrunk - expected).max() <= 0.51
        np.testing.assert_array_equal(load_rgb(picture), levels)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
    def test_turned_pictures(self, tmp_path, kind, orientation):
        levels, exif = waves(260, 700), Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"a.{kind}"
        Image.fromarray(levels).save(path, exif=exif, quality=98)
        shrunk, width, height = load_sized(path, size=(28, 20))
        whole = load_rgb(path)
        assert (height, width) == whole.shape[:2]
        assert (width, height) == ((700, 260) if orientation < 5 else (260, 700))
        assert shrunk.shape[0] >= 84
        assert shrunk.shape[1] >= 60
        assert shrunk.shape[0] <= height / 2
        converter = PaliGemma2ImageConverter((28, 20))
        apart = converter.convert(path) - converter.convert(whole)
        assert np.abs(apart).max() * 127.5 <= 3

    @pytest.mark.parametrize(
        ("mode", "most"),
        [("1", 0.6), ("L", 0.6), ("P", 0.6), ("RGBA", 1.1), ("LA", 1.1), ("CMYK", 0.6)],
    )
    def test_modes(self, mode, most):
        image = Image.fromarray(waves(210, 240)).convert(mode)
        if mode in ("RGBA", "LA"):
            image.putalpha(Image.fromarray(waves(210, 240)[..., 1]))
        whole = load_rgb(image)
        expected = self.means(whole.astype(float), 2, 2)
        assert np.abs(load_rgb(image, size=SIZE) - expected).max() <= most

    @pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
    def test_deep_modes(self, mode):
        grey = waves(210, 240)[..., 0].astype(np.float32)
        if mode == "F":
            image, expected = Image.fromarray(grey), self.means(grey, 2, 2)
        else:
            deep = (grey * 257).astype(np.uint16)
            kind = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
            image = Image.frombytes(mode, (240, 210), deep.astype(kind).tobytes())
            expected = self.means(deep.astype(float), 2, 2) / 257
        shrunk = load_rgb(image, size=SIZE)
        assert np.abs(shrunk[..., 0] - expected).max() <= 0.51
        assert shrunk.dtype == (np.float32 if mode == "F" else np.uint8)

    def test_long_and_narrow_ones(self):
        image = Image.fromarray(waves(3, 9000))
        assert load_rgb(image, size=SIZE).shape == (3, 85, 3)

    def test_small_ones_stay_whole(self):
        levels = waves(99, 100)
        np.testing.assert_array_equal(load_rgb(levels, size=SIZE), levels)
        image = Image.fromarray(levels)
        np.testing.assert_array_equal(load_rgb(image, size=(1, 1)), levels)


def test_up_to_67_million_pixels_nothing_is_shrunk():
    assert image_decoding.LARGE_PIXELS > 67_000_000


class TestBrokenOnes:
    def test_a_truncated_image_of_a_list_is_named(self, tmp_path):
        Image.fromarray(waves(90, 90)).save(tmp_path / "a.jpg", quality=95)
        half = io.BytesIO((tmp_path / "a.jpg").read_bytes()[:1500])
        images = [Image.new("RGB", (5, 5)), Image.open(half)]
        message = "but image 1 is not one or is damaged: image file is truncated"
        with pytest.raises(ValueError, match=message):
            PaliGemma2ImageConverter(SIZE).convert(images)

    def test_an_image_whose_file_was_closed(self, tmp_path):
        Image.fromarray(waves(9, 9)).save(tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            pass
        with pytest.raises(ValueError, match="photo is not one or is damaged"):
            load_rgb(image, "photo")

    def test_whatever_a_decoder_raises(self, tmp_path, monkeypatch):
        Image.fromarray(waves(9, 9)).save(tmp_path / "a.png")

        def fail(*_: object) -> None:
            raise struct.error("unpack requires a buffer of 4 bytes")

        monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail, raising=False)
        with pytest.raises(ValueError, match=r"a\.png' .*unpack requires"):
            load_rgb(tmp_path / "a.png")

    def test_damaged_notes_do_not_matter(self, tmp_path):
        """A picture with broken EXIF is shown as it is stored, as by all viewers."""
        levels = waves(9, 12)
        image = Image.fromarray(levels)
        image.info["exif"] = b"Exif\x00\x00no notes at all"
        np.testing.assert_array_equal(load_rgb(image), levels)

    def test_damaged_files_of_random_bytes(self, tmp_path):
        """Whatever is wrong in a file is an error of ours that names it."""
        rng = np.random.default_rng(0)
        for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO"):
            file = io.BytesIO()
            Image.fromarray(waves(20, 20)).save(file, kind)
            for _ in range(30):
                content = bytearray(file.getvalue())
                for place in rng.integers(0, len(content), 8):
                    content[place] = rng.integers(256)
                cut = bytes(content[: rng.integers(16, len(content) + 1)])
                error = self.error_of(cut, "the picture")
                assert error is None or "the picture" in str(error)

    @staticmethod
    def error_of(content: bytes, name: str) -> Exception | None:
        """Of ours; others are raised."""
        try:
            load_rgb(content, name)
        except ValueError as error:
            return error
        except (UserWarning, Image.DecompressionBombWarning):
            pass  # Pillow's, which are errors in tests.
        return None


class TestHeif:
    HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)

    @pytest.mark.parametrize("kind", ["path", "bytes"])
    def test_the_package_is_named(self, tmp_path, monkeypatch, kind):
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        path = tmp_path / "IMG_0001.HEIC"
        path.write_bytes(self.HEIC)
        picture = path if kind == "path" else self.HEIC
        with pytest.raises(ValueError, match="pip install pillow-heif") as caught:
            load_rgb(picture)
        assert "damaged" not in str(caught.value)
        assert ("IMG_0001" in str(caught.value)) == (kind == "path")

    def test_the_package_is_used_where_it_is_installed(self, monkeypatch):
        """In its place a stand-in that reads every such file as a red dot."""

        class Reader(ImageFile.ImageFile):
            format = "HEIF"

            def _open(self) -> None:
                self._mode, self._size = "RGB", (1, 1)

            def load(self) -> None:
                self.im = Image.new("RGB", (1, 1), (255, 0, 0)).im

        def register() -> None:
            Image.register_open("HEIF", Reader, lambda head: head[4:8] == b"ftyp")

        monkeypatch.setitem(
            sys.modules,
            "pillow_heif",
            types.SimpleNamespace(register_heif_opener=register),
        )
        monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
        monkeypatch.setattr(Image, "ID", list(Image.ID))
        assert load_rgb(self.HEIC).tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA"])
def test_rare_modes_with_alpha(mode):
    image = Image.new({"La": "LA", "RGBa": "RGBA", "PA": "PA"}[mode], (3, 2), 0)
    if mode != "PA":
        image = image.convert(mode)
    assert (load_rgb(image) == 255).all()


def test_the_callers_image_is_left_as_it_is():
    image = Image.fromarray(waves(9, 12)[..., 0]).copy()
    image.putpalette(bytes(range(256)) * 3)
    image.info["transparency"] = 7
    exif = image.getexif()
    exif[0x0112] = 6
    before = (image.mode, image.size, image.tobytes(), dict(image.info), dict(exif))
    load_rgb(image)
    load_rgb(image, size=SIZE)
    after = (image.mode, image.size, image.tobytes(), dict(image.info), dict(exif))
    assert after == before


def test_a_palette_shorter_than_its_transparency_is_refused(tmp_path):
    path = tmp_path / "a.png"
    picture = Image.new("P", (4, 4))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(path, transparency=bytes(2))
    chunk = b"tRNS" + bytes(300)
    old = b"\0\0\0\2tRNS" + bytes(2)
    content = path.read_bytes()
    start = content.index(old)
    new = struct.pack(">I", 300) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(content[:start] + new + content[start + len(old) + 4 :])
    with pytest.raises(ValueError, match=r"a\.png.* is damaged: palette index"):
        load_rgb(path)


@pytest.mark.parametrize("place", ["load", "crop"])
def test_a_picture_that_memory_is_too_small_for_names_itself(
    place, tmp_path, monkeypatch
):
    path = tmp_path / "a.png"
    Image.new("I;16", (40, 30)).save(path)

    def fail(*_):
        raise MemoryError

    owner = ImageFile.ImageFile if place == "load" else Image.Image
    monkeypatch.setattr(owner, place, fail)
    with pytest.raises(ValueError, match=r"a\.png.* of 40 x 30 pixels does not"):
        load_rgb(path)
