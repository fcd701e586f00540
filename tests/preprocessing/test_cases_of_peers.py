"""What KerasHub and transformers test of their image processors, asked of ours.

KerasHub: `layers/preprocessing/image_converter_test.py` and PaliGemma's preprocessor.
transformers: `tests/test_image_processing_common.py` with SigLIP's, which PaliGemma's
processor uses, `tests/utils/test_image_utils.py` and PaliGemma's processor. Theirs of
things we do not have (centre crops, channels first, files on their hub) are left out.
"""

from __future__ import annotations

import base64
import io

import keras
import keras_hub
import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing.examples import normalize_examples, unpack_axes
from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.images import load_rgb, open_image

SIZE = (18, 18)
"""Of SigLIP's tests, as are pictures of 30 to 400 pixels."""


@pytest.fixture(scope="module")
def converter() -> PaliGemma2ImageConverter:
    return PaliGemma2ImageConverter(SIZE)


def draw(count: int = 7, channels: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(*rng.integers(30, 400, 2), channels) for _ in range(count)]
    return [rng.integers(0, 255, shape).astype(np.uint8) for shape in shapes]


class TestKerasHub:
    """Theirs scale to [0, 1]; ours to [-1, 1]."""

    def test_layer_basics(self, converter):
        pixels = converter(np.ones((2, 10, 10, 3)) * 255.0)
        np.testing.assert_allclose(pixels, np.ones((2, *SIZE, 3)), atol=1e-6)
        config = converter.get_config()
        again = PaliGemma2ImageConverter.from_config(config)
        assert again.get_config() == config
        again = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(converter)
        )
        assert again.get_config() == config

    def test_unbatched(self, converter):
        pixels = converter(np.ones((10, 10, 3)) * 128)
        np.testing.assert_allclose(pixels, 128 / 127.5 - 1, atol=1e-6)
        assert pixels.shape == (*SIZE, 3)

    def test_batched(self, converter):
        pixels = converter(np.ones((2, 10, 10, 3)) * 128)
        assert pixels.shape == (2, *SIZE, 3)

    @pytest.mark.every_backend
    @pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
    def test_dtypes(self, converter, dtype):
        pixels = converter(keras.ops.ones((10, 10, 3), dtype=dtype) * 255)
        assert pixels.dtype == np.float32
        np.testing.assert_allclose(pixels, np.ones((*SIZE, 3)), atol=1e-6)

    def test_inhomogeneous_batch(self, converter):
        pixels = converter([np.ones((10, 10, 3)) * 255.0, np.ones((20, 20, 3)) * 128.0])
        np.testing.assert_allclose(pixels[0], 1, atol=1e-6)
        np.testing.assert_allclose(pixels[1], 128 / 127.5 - 1, atol=1e-6)

    def test_pad_and_crop_to_aspect_ratio(self, converter):
        """Neither, whatever a configuration says: all of the picture is seen."""
        wide = np.zeros((10, 100, 3), np.uint8)
        wide[:, :50] = 255
        pixels = converter(wide)
        assert (pixels[:, 0] == 1).all()
        assert (pixels[:, -1] == -1).all()

    def test_same_as_keras_hubs_own(self):
        """Bilinear without antialiasing is what both compute, up to rounding."""
        image = draw(1)[0].astype(np.float32)
        theirs = keras_hub.layers.ImageConverter(
            SIZE, 1 / 127.5, -1.0, False, interpolation="bilinear"
        )
        ours = PaliGemma2ImageConverter(SIZE, "bilinear", antialias=False)
        expected = keras.ops.convert_to_numpy(theirs(image))
        np.testing.assert_allclose(ours(image), expected, atol=2e-4)

    def test_missing_images(self):
        assert normalize_examples({"prompts": ["the quick brown fox"]}).images is None


class TestImageProcessors:
    @pytest.mark.parametrize("channels", [1, 3, 4])
    @pytest.mark.parametrize("kind", ["pil", "numpy"])
    def test_call(self, converter, kind, channels):
        """`test_call_pil`, `test_call_numpy`, `test_call_numpy_4_channels`."""
        images = draw(channels=channels)
        if kind == "pil":
            squeezed = [i[..., 0] if channels == 1 else i for i in images]
            images = [Image.fromarray(image) for image in squeezed]
        assert converter(images[0]).shape == (*SIZE, 3)
        assert converter(images).shape == (7, *SIZE, 3)
        np.testing.assert_array_equal(converter(images)[3], converter(images[3]))

    @pytest.mark.every_backend
    def test_call_tensors(self, converter):
        """`test_call_pytorch`; on our channels, which are last."""
        images = draw()
        tensors = [keras.ops.convert_to_tensor(image) for image in images]
        np.testing.assert_array_equal(converter(tensors), converter(images))
        assert converter(tensors[0]).shape == (*SIZE, 3)

    def test_equal_resolution(self, converter):
        batch = np.stack([draw(1)[0]] * 3)
        np.testing.assert_array_equal(converter(batch), converter(list(batch)))

    def test_init_without_params(self):
        assert PaliGemma2ImageConverter().image_size == (224, 224)

    def test_channels_first_are_told(self, converter):
        """transformers guesses where channels are; a wrong guess would be silent."""
        with pytest.raises(ValueError, match=r"transpose it with \(1, 2, 0\)"):
            converter.convert(np.moveaxis(draw(1)[0], -1, 0))

    def test_values_of_0_to_1_are_told(self, converter):
        """`do_rescale` of such pictures makes transformers warn, and them black."""
        image = draw(1)[0]
        with pytest.warns(UserWarning, match=r"taken for 0\.\.1"):
            scaled = converter(image.astype(np.float32) / 255)
        np.testing.assert_allclose(scaled, converter(image), atol=3 / 127.5)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


class TestLoadImage:
    """`LoadImageTester`, on small pictures of the same kinds."""

    @pytest.mark.parametrize(
        ("mode", "shape"), [("RGB", (48, 64)), ("RGBA", (51, 51)), ("LA", (51, 76))]
    )
    def test_load_img_local(self, tmp_path, mode, shape):
        image = Image.new(mode, shape[::-1])
        image.save(tmp_path / "a.png")
        assert load_rgb(str(tmp_path / "a.png")).shape == (*shape, 3)

    def test_load_img_l(self):
        assert load_rgb(encode(Image.new("L", (22, 38)))).shape == (38, 22, 3)

    @pytest.mark.parametrize("lines", [False, True])
    def test_load_img_base64_prefix(self, lines):
        image = Image.fromarray(draw(1)[0])
        make = base64.encodebytes if lines else base64.b64encode
        text = "data:image/png;base64," + make(encode(image)).decode()
        assert np.asarray(open_image(text)).shape == np.asarray(image).shape

    def test_load_img_base64_without_its_prefix(self):
        text = base64.b64encode(encode(Image.fromarray(draw(1)[0]))).decode()
        with pytest.raises(FileNotFoundError, match="data:image/png;base64,"):
            load_rgb(text)

    def test_load_img_exif_transpose(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        content = encode(Image.new("RGB", (50, 33)), "JPEG", exif=exif)
        assert Image.open(io.BytesIO(content)).size == (50, 33)
        assert load_rgb(content).shape == (50, 33, 3)

    @pytest.mark.parametrize("value", [None, 3, 2.5, {"url": "a.png"}, object()])
    def test_load_img_of_no_kind(self, value):
        with pytest.raises(TypeError, match="to be a path, a PIL image or an array"):
            load_rgb(value)


class TestListsOfImages:
    """`make_list_of_images`, `make_flat_list_of_images`, `make_nested_list_...`."""

    @pytest.mark.every_backend
    @pytest.mark.parametrize("is_tensor", [False, True])
    def test_arrays(self, is_tensor):
        make = keras.ops.convert_to_tensor if is_tensor else np.asarray
        one, several = np.zeros((16, 32, 3), np.uint8), np.zeros((4, 16, 32, 3), "u1")
        assert not isinstance(unpack_axes(make(one)), list)
        assert len(unpack_axes(make(several))) == 4
        assert len(unpack_axes([make(one)] * 4)) == 4
        assert len(unpack_axes((make(one), make(one)))) == 2
        nested = unpack_axes(make(several[None]))
        assert [len(unpack_axes(entry)) for entry in nested] == [4]

    @pytest.mark.parametrize("picture", ["pil", "path", "bytes"])
    def test_other_kinds(self, picture):
        image = Image.new("RGB", (4, 4))
        one = {"pil": image, "path": "a.png", "bytes": encode(image)}[picture]
        assert unpack_axes(one) is one
        assert unpack_axes([one, one]) == [one, one]
        batch = {"images": [[one, one], [one, one]], "prompts": ["a", "b"]}
        assert normalize_examples(batch).images == [[one, one], [one, one]]

    def test_five_axes_too_many(self, converter):
        with pytest.raises(ValueError, match=r"received shape \(1, 1, 1, 4, 4, 3\)"):
            converter.convert(np.zeros((1, 1, 1, 4, 4, 3), np.uint8))

    @pytest.mark.parametrize("shape", [(10, 1, 50), (10, 10, 2), (4, 5, 6, 7)])
    def test_no_channels(self, converter, shape):
        """`test_infer_channel_dimension`, without one that could be it."""
        with pytest.raises(ValueError, match="as an array"):
            converter.convert(np.zeros(shape, np.uint8))


class TestPaliGemmaProcessor:
    """Pairs of pictures and texts."""

    def test_a_picture_for_each_text(self):
        images = [Image.new("RGB", (5, 5)), Image.new("RGB", (6, 6))]
        examples = normalize_examples({"images": images, "prompts": ["one", "two"]})
        assert examples.images == images

    def test_several_pictures_for_a_text(self):
        images = [Image.new("RGB", (5, 5)), Image.new("RGB", (6, 6))]
        [entry] = normalize_examples({"images": images, "prompts": "both"}).images
        assert entry == images
        nested = normalize_examples({"images": [images], "prompts": ["both"]})
        assert nested.images == [images]

    def test_other_counts_are_told(self):
        with pytest.raises(ValueError, match="received 1 for 2 prompts"):
            normalize_examples({"images": [np.zeros((2, 2))], "prompts": ["a", "b"]})
