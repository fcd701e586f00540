"""What holds a picture: bytes, files, addresses, rows of data sets; and bad ones."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing import image_sources
from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.image_files import is_content
from keras_pg2.preprocessing.image_sources import check_source, source_name
from keras_pg2.preprocessing.images import is_picture, load_rgb, open_image
from tests.support.picture_server import PictureServer, serve_pictures

RGB = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)


def encode(kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def png() -> bytes:
    return encode()


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "TGA"]
)
def test_bytes_of_each_kind_of_file_are_no_path(kind):
    content = encode(kind)
    assert is_content(content)
    assert load_rgb(content).shape == load_rgb(io.BytesIO(content)).shape


@pytest.mark.parametrize(
    "path", [b"a.png", b"/data/P6/BM.png", "bildä.jpg".encode(), b"file:///a.png"]
)
def test_paths_in_bytes_are_paths(path):
    assert not is_content(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_rgb(path)


@pytest.mark.parametrize("content", [b"\x89PNG", b"\xff\xd8\xff", b"<html>\nno</html>"])
def test_bytes_that_are_no_picture_are_told_without_all_of_them(content):
    content = content + b"x" * 50_000
    with pytest.raises(ValueError, match=r"photo \(\d+ bytes\) is not one") as caught:
        load_rgb(content, "photo")
    assert len(str(caught.value)) < 300
    with pytest.raises(ValueError, match="photo with the bytes of a picture"):
        load_rgb(bytearray(), "photo")


def test_a_long_text_is_not_quoted_whole(png):
    text = base64.b64encode(png * 40).decode()
    with pytest.raises(FileNotFoundError, match="'data:image/png;base64,'") as caught:
        load_rgb(text)
    assert len(str(caught.value)) < 600


class TestFileObjects:
    def test_read_from_the_start_and_left_where_they_were(self, png):
        file = io.BytesIO(b"")
        Image.fromarray(RGB).save(file, "PNG")
        end = file.tell()
        for _ in range(2):
            np.testing.assert_array_equal(load_rgb(file), RGB)
            assert file.tell() == end

    def test_one_file_in_many_threads(self, png):
        file = io.BytesIO(png)
        with ThreadPoolExecutor(8) as threads:
            for levels in threads.map(load_rgb, [file] * 64):
                np.testing.assert_array_equal(levels, RGB)

    def test_in_an_archive(self, tmp_path, png):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("inner.png", png)
        with (
            zipfile.ZipFile(tmp_path / "a.zip") as archive,
            archive.open("inner.png") as file,
        ):
            np.testing.assert_array_equal(load_rgb(file), RGB)

    def test_that_cannot_seek(self, png):
        class Pipe:
            def __init__(self) -> None:
                self.rest = png

            def read(self) -> bytes:
                content, self.rest = self.rest, b""
                return content

        pipe = Pipe()
        np.testing.assert_array_equal(load_rgb(pipe), RGB)
        with pytest.raises(ValueError, match="received none"):
            load_rgb(pipe)

    def test_opened_as_text_or_closed(self, tmp_path, png):
        with pytest.raises(TypeError, match="mode 'rb'"):
            load_rgb(io.StringIO("text"))
        (tmp_path / "a.png").write_bytes(png)
        with (tmp_path / "a.png").open("rb") as file:
            np.testing.assert_array_equal(load_rgb(file), RGB)
        with pytest.raises(ValueError, match=r"photo as an open file.*closed"):
            load_rgb(file, "photo")


class TestAddresses:
    def test_data(self, png):
        text = base64.b64encode(png).decode()
        for address in (
            f"data:image/png;base64,{text}",
            f"DATA:;charset=utf-8;BASE64,{text}",
            f"data:image/png;base64,{text[:20]}\n{text[20:]}",
            "data:image/png," + "".join(f"%{byte:02x}" for byte in png),
        ):
            np.testing.assert_array_equal(load_rgb(address), RGB)
            np.testing.assert_array_equal(load_rgb(address.encode()), RGB)
        with pytest.raises(ValueError, match="photo as a data: address in base64"):
            load_rgb("data:image/png;base64,no*base64", "photo")
        with pytest.raises(ValueError, match=r"photo \(a data: address\).*not one"):
            load_rgb("data:text/plain,hello", "photo")

    def test_file(self, tmp_path, png, monkeypatch):
        path = tmp_path / "a b%20ä.png"
        path.write_bytes(png)
        for address in (
            path.as_uri(),
            path.as_uri().replace("file://", "file://localhost"),
            path.as_uri().encode(),
            # As the command line has it: pathlib makes one slash of several.
            Path(path.as_uri()),
        ):
            np.testing.assert_array_equal(load_rgb(address), RGB)
        with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
            load_rgb((tmp_path / "nowhere.png").as_uri())
        with pytest.raises(ValueError, match="of this machine"):
            load_rgb("file://elsewhere/a.png")

    @pytest.mark.parametrize("address", ["s3://bucket/a.png", "gs://b/a.png"])
    def test_of_other_kinds(self, address):
        with pytest.raises(ValueError, match="Download the picture first"):
            load_rgb(address)


@pytest.fixture(scope="module")
def server() -> Iterator[PictureServer]:
    with serve_pictures(encode()) as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class TestTheWeb:
    def test_pictures(self, server):
        np.testing.assert_array_equal(load_rgb(f"{server.address}/a.png"), RGB)
        np.testing.assert_array_equal(load_rgb(f"{server.address}/moved.png"), RGB)
        np.testing.assert_array_equal(load_rgb(f"{server.address}/a.png".encode()), RGB)
        as_path = Path(f"{server.address}/a.png")
        np.testing.assert_array_equal(np.asarray(open_image(as_path)), RGB)
        assert source_name(as_path) == f"{server.address}/a.png"

    def test_errors_name_the_address(self, server):
        with pytest.raises(ConnectionError, match=r"nowhere\.png'.*404.*pass its path"):
            load_rgb(f"{server.address}/nowhere.png")
        with pytest.raises(ValueError, match=r"page\.html'.*begins with b'<html>"):
            load_rgb(f"{server.address}/page.html")
        with pytest.raises(ConnectionError, match="cannot be fetched"):
            load_rgb("http://127.0.0.1:9/a.png")

    def test_a_file_that_is_too_large(self, server, monkeypatch):
        monkeypatch.setattr(image_sources, "MAX_DOWNLOAD_BYTES", 200_000)
        with pytest.raises(ValueError, match=r"at most 200,000 bytes at .*endless"):
            load_rgb(f"{server.address}/endless.png")

    def test_a_server_that_is_too_slow(self, server, monkeypatch):
        monkeypatch.setattr(image_sources, "MAX_DOWNLOAD_SECONDS", 0.2)
        with pytest.raises(ConnectionError, match=r"slow\.png' within 0\.2 seconds"):
            load_rgb(f"{server.address}/slow.png")

    def test_nothing_is_fetched_to_see_what_it_is(self, server):
        before = server.num_requests
        assert is_picture(f"{server.address}/a.png")
        check_source(f"{server.address}/a.png")
        missing = [f"{server.address}/a.png", "nowhere.png"]
        with pytest.raises(FileNotFoundError):
            PaliGemma2ImageConverter(28).convert(missing)
        assert server.num_requests == before


def test_rows_of_data_sets(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png)
    for row in (
        {"bytes": png, "path": None},
        {"bytes": png, "path": "not there.png"},
        {"bytes": None, "path": str(tmp_path / "a.png")},
        {"path": tmp_path / "a.png"},
        {"bytes": png},
    ):
        np.testing.assert_array_equal(load_rgb(row), RGB)
        check_source(row)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        check_source({"bytes": None, "path": "nowhere.png"})
    with pytest.raises(ValueError, match="its bytes or its path, received neither"):
        load_rgb({"bytes": None, "path": None})
    with pytest.raises(ValueError, match=r"'broken\.png' \(2 bytes\)"):
        load_rgb({"bytes": b"no", "path": "broken.png"})


def test_names(png):
    assert source_name("a.png") == source_name(b"a.png") == "a.png"
    assert source_name(Path("a.png")) == "a.png"
    assert source_name({"bytes": png, "path": "a.png"}) == "a.png"
    assert source_name("https://a.org/b.png") == "https://a.org/b.png"
    for nameless in (png, "data:,x", io.BytesIO(png), {"bytes": png}, RGB, None, 3):
        assert source_name(nameless) is None


class TestIsPicture:
    @pytest.mark.parametrize(
        "value",
        [
            *("a.png", "https://a.org/b", b"a.png", Path("a.png"), b"\0", bytearray(1)),
            *(memoryview(b"a"), io.BytesIO(), {"bytes": b"", "path": None}),
            *(Image.new("L", (2, 2)), RGB, RGB[..., 0], RGB[..., :1]),
            *(np.array("a.png"), np.array(b"a.png", object), np.str_("a.png")),
        ],
    )
    def test_one(self, value):
        assert is_picture(value)

    @pytest.mark.parametrize(
        "value",
        [
            *(None, 3, 2.5, [], ["a.png"], ("a.png",), [RGB], {}, {"images": "a.png"}),
            *({"bytes": b"", "id": 3}, RGB[None], RGB[None, None], np.zeros(3)),
            *(np.float32(3), np.array(["a.png"]), np.array(["a.png", "b"], object)),
        ],
    )
    def test_none_or_several(self, value):
        assert not is_picture(value)


def test_the_converter_takes_all_of_them(tmp_path, png):
    converter = PaliGemma2ImageConverter(28)
    (tmp_path / "a.png").write_bytes(png)
    path = str(tmp_path / "a.png")
    uri = "data:;base64," + base64.b64encode(png).decode()
    row = {"bytes": png, "path": None}
    pictures = [path, png, io.BytesIO(png), uri, row, Image.open(path), RGB]
    alone = converter.convert(RGB)
    for batch in (pictures, tuple(pictures)):
        for pixels in converter.convert(batch):
            np.testing.assert_array_equal(pixels, alone)
    nested = converter.convert([[png, row], [RGB, path]])
    assert nested.shape == (2, 2, 28, 28, 3)
    for one in (png, row, np.array(path), np.array([png, path], object)):
        pixels = converter.convert(one)
        np.testing.assert_array_equal(pixels.reshape(-1, 28, 28, 3)[0], alone)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_bytes_inside_tf_data(tf, png, shape):
    """`tf.io.read_file` gives them."""
    converter = PaliGemma2ImageConverter(28)
    content = tf.broadcast_to(tf.constant(png), shape)
    [pixels] = tf.data.Dataset.from_tensors(content).map(converter)
    expected = np.broadcast_to(converter.convert(RGB), pixels.shape)
    np.testing.assert_array_equal(pixels, expected)


def test_a_text_tensor(tf, png):
    np.testing.assert_array_equal(load_rgb(tf.constant(png)), RGB)
