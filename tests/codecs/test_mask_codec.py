from __future__ import annotations

import functools
import http.server
import io
import json
import threading
import time
import warnings
import zipfile

import numpy as np
import pytest
import torch
from keras import ops
from PIL import Image

import tests.support.published_vqvae as published
from keras_pg2.codecs import mask_from_coco, parse_detections
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.mask_network import MaskNetwork, MaskNetworkConfig
from keras_pg2.codecs.segment_tokens import codes_to_text
from keras_pg2.datasets.coco import read_coco
from keras_pg2.datasets.detection_rows import segmentation_rows
from scripts.sampled_masks import sample_mask

SMALL = MaskNetworkConfig(8, 16, (4, 6, 8, 10))


@pytest.fixture(params=[(512, 128, (16, 32, 64, 128)), (24, 16, (6, 8, 10, 12))])
def reference(request):
    torch.manual_seed(0)
    model = published.PublishedVQVAE(*request.param)
    # Entries where vectors are, so that codes differ.
    vectors, _ = model.encode(signed_masks(16))
    rows = torch.tensor(vectors).flatten(2).transpose(1, 2).flatten(0, 1)
    model.codebook.data = rows[::2] + 0.1 * rows.std() * torch.randn(rows[::2].shape)
    return model


@pytest.fixture
def file(reference, tmp_path):
    path = tmp_path / "vae-oid.npz"
    np.savez(path, **reference.arrays())
    return path


@pytest.fixture(scope="module")
def bundled():
    from keras_pg2.catalogue.names import bundled_presets

    *_, preset = bundled_presets().values()
    return MaskCodec.from_file(preset / "mask_codec.npz")


def signed_masks(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    planes = [Image.fromarray(sample_mask(rng)).resize((64, 64)) for _ in range(count)]
    return np.stack([np.asarray(plane) * 2 - 1 for plane in planes]).astype("float32")


@pytest.mark.every_backend
def test_encoder_and_decoder_are_the_published_ones(reference, file):
    codec = MaskCodec.from_file(file)
    masks = signed_masks(5)
    vectors, codes = reference.encode(masks)
    mine = ops.convert_to_numpy(codec.network.encoder(masks[..., None]))
    scale = np.abs(vectors).max()
    np.testing.assert_allclose(
        mine.transpose(0, 3, 1, 2) / scale, vectors / scale, atol=1e-5
    )
    np.testing.assert_array_equal(codec.encode_crops((masks + 1) / 2), codes)
    random_codes = np.random.default_rng(0).integers(0, 128, (5, 16))
    expected = reference.decode(random_codes)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        codec.decode_crops(random_codes) / scale, expected / scale, atol=1e-5
    )


def test_codes_tell_masks_apart(reference, file):
    # Else the parity of codes above would say nothing.
    _, codes = reference.encode(signed_masks(5))
    assert len(np.unique(codes)) > 4


def test_the_file_is_written_as_it_was_read(file, tmp_path):
    MaskCodec.from_file(file).save(tmp_path / "again.npz")
    with np.load(file) as before, np.load(tmp_path / "again.npz") as after:
        assert set(before.files) == set(after.files)
        for key in before.files:
            np.testing.assert_array_equal(before[key], after[key])


def test_a_file_is_read_from_an_address(file, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(file.parent)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{file.name}"
        codec = MaskCodec.from_file(address)
        with pytest.raises(ConnectionError, match=r"none\.npz"):
            MaskCodec.from_file(address.replace(file.name, "none.npz"))
        server.shutdown()
    assert codec.network.configuration.codebook_dim in (512, 24)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("decoder.12.bias"), r"lacks \['decoder.12.bias'\]"),
        (lambda arrays: arrays.update(more=np.zeros(3)), r"unknown \['more'\]"),
        (lambda arrays: arrays.pop("_vq_vae._embedding"), "_vq_vae._embedding"),
        (
            lambda arrays: arrays.update({"decoder.2.net.0.bias": np.zeros(3)}),
            "decoder.2.net.0.bias.*received shape",
        ),
        (
            lambda arrays: arrays["encoder.0.bias"].fill(np.nan),
            "finite numbers.*encoder.0.bias",
        ),
        (
            lambda arrays: arrays.update({"_vq_vae._embedding": np.zeros((64, 8))}),
            "128",
        ),
    ],
)
def test_wrong_files_are_told(tmp_path, change, message):
    arrays = published.PublishedVQVAE(8, 16, (4, 6, 8, 10)).arrays()
    change(arrays)
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        MaskCodec.from_file(tmp_path / "bad.npz")


def test_what_is_no_file_of_arrays_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vae-oid\.npz"):
        MaskCodec.from_file(tmp_path / "none.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(ValueError, match=r"cut\.npz"):
        MaskCodec.from_file(tmp_path / "cut.npz")
    with pytest.raises(ValueError, match=r"\.npz"):
        MaskCodec(MaskNetwork(SMALL)).save(tmp_path / "codec.h5")


class Drawn(MaskNetwork):
    """A decoder whose numbers are a plane given, whatever the codes."""

    plane: np.ndarray

    def decode(self, codes):
        return np.broadcast_to(self.plane[None, :, :, None], (len(codes), 64, 64, 1))


def test_masks_are_put_into_their_boxes():
    network = Drawn(SMALL)
    network.plane = np.full((64, 64), -1, np.float32)
    network.plane[:, :32] = 1  # The left half.
    boxes = [[10, 20, 30, 40], [0, 0, 100, 50], [5.4, 5.6, 9.4, 8.4]]
    masks = MaskCodec(network).decode(np.zeros((3, 16), int), boxes, 100, 50)
    expected = np.zeros((3, 50, 100), bool)
    expected[0, 20:40, 10:20] = True
    expected[1, :, :50] = True
    expected[2, 6:8, 5:7] = True
    np.testing.assert_array_equal(masks, expected)


def test_a_box_without_extent_has_a_mask_of_one_pixel():
    network = Drawn(SMALL)
    network.plane = np.ones((64, 64), np.float32)
    boxes = [[7, 7, 7, 7], [10, 10, 10, 10]]
    masks = MaskCodec(network).decode(np.zeros((2, 16), int), boxes, 10, 10)
    assert masks.sum(axis=(1, 2)).tolist() == [1, 1]
    assert masks[0, 7, 7]
    assert masks[1, 9, 9]


def test_no_masks_are_no_codes_and_back(bundled):
    codes = bundled.encode(np.zeros((0, 5, 5), bool), np.zeros((0, 4)))
    assert codes.shape == (0, 16)
    assert bundled.decode(codes, np.zeros((0, 4)), 5, 4).shape == (0, 4, 5)


def test_held_out_masks_come_back(bundled):
    rng = np.random.default_rng(11)
    overlaps = []
    for _ in range(150):
        mask = sample_mask(rng)
        height, width = mask.shape
        # Somewhere in a larger picture.
        x, y = rng.integers(0, 50, 2)
        picture = np.zeros((1, height + 60, width + 60), bool)
        picture[0, y : y + height, x : x + width] = mask
        box = [[x, y, x + width, y + height]]
        codes = bundled.encode(picture, box)
        back = bundled.decode(codes, box, width + 60, height + 60)
        overlaps.append((back & picture).sum() / (back | picture).sum())
    assert np.mean(overlaps) > 0.93


@pytest.mark.parametrize(
    ("masks", "boxes", "message"),
    [
        (np.zeros((4, 4), bool), [[0, 0, 4, 4]], "in a list"),
        (np.zeros((1, 4, 4)), [[0, 0, 4, 4]], "float64"),
        (np.zeros((2, 4, 4), bool), [[0, 0, 4, 4]], "each of 2 masks, received 1"),
        (np.zeros((1, 4, 4), bool), [[2, 2, 2, 3]], "at mask 0"),
        (np.zeros((1, 4, 4), bool), [[5, 5, 9, 9]], "4 x 4 pixels"),
    ],
)
def test_wrong_masks_are_told(masks, boxes, message):
    with pytest.raises(ValueError, match=message):
        MaskCodec(MaskNetwork(SMALL)).encode(masks, boxes)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros(16, int), r"\(16,\)"),
        (np.zeros((1, 15), int), r"\(1, 15\)"),
        (np.full((1, 16), 128), "0..127"),
        (np.full((1, 16), -1), "0..127"),
    ],
)
def test_wrong_codes_are_told(codes, message):
    with pytest.raises(ValueError, match=message):
        MaskCodec(MaskNetwork(SMALL)).decode_crops(codes)
    with pytest.raises(ValueError, match=message):
        codes_to_text(codes)


def test_codes_are_written_as_tokens():
    [text] = codes_to_text([[0, 127, *range(14)]])
    assert text.startswith("<seg000><seg127><seg000><seg001>")
    assert text.count("<seg") == 16


def test_coco_polygons_to_training_rows_and_back(bundled, tmp_path):
    star = [50, 10, 61, 40, 95, 40, 68, 60, 78, 92, 50, 73, 22, 92, 32, 60, 5, 40, 39]
    polygons = [[*star, 40], [120, 20, 190, 30, 150, 90]]
    boxes = [[5, 10, 90, 82], [120, 20, 70, 70]]
    annotations = [
        {
            "id": i,
            "image_id": 1,
            "category_id": i,
            "bbox": box,
            "area": 1,
            "iscrowd": 0,
            "segmentation": [polygon],
        }
        for i, (polygon, box) in enumerate(zip(polygons, boxes), start=1)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 200, "height": 100}],
        "categories": [{"id": 1, "name": "star"}, {"id": 2, "name": "sail"}],
        "annotations": annotations,
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    coco = read_coco(tmp_path / "instances.json")
    [row] = segmentation_rows(coco, tmp_path, bundled.encode_text)
    assert row["prompts"].startswith("segment ")
    found = parse_detections(row["responses"], 200, 100, bundled)
    assert set(found.labels) == {"star", "sail"}
    for label, mask in zip(found.labels, found.masks):
        i = ["star", "sail"].index(label)
        truth = mask_from_coco([polygons[i]], 200, 100)
        assert (mask & truth).sum() / (mask | truth).sum() > 0.85


def _claims(name: str, shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """A .npz with one array whose header claims a shape, in a few bytes."""
    header = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{name}.npy", header.getvalue() + b"1234")
    return buffer.getvalue()


def _deflated(num_bytes: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(num_bytes))
    return buffer.getvalue()


def _twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            with archive.open("a.npy", "w") as file:
                np.save(file, np.zeros(3))
    return buffer.getvalue()


def _damaged() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(100))
    content = bytearray(buffer.getvalue())
    content[300] ^= 1  # Its CRC is another.
    return bytes(content)


def _header(text: str) -> bytes:
    data = text.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        length = len(data).to_bytes(2, "little")
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + length + data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_claims("a", (2**40,)), "not floats"),
        (_claims("a", (2**62, 2**62)), "not floats"),
        (_claims("a", (1,), "<i4"), "not floats"),
        (_claims("a", (4,), "|b1"), "not floats"),
        (_claims("a", (), "|O"), "not floats"),
        (_claims("a", (1,), "|V4"), "not floats"),
        (_deflated(300_000_000), "300.0 MB"),
        (_twice(), "two arrays are called 'a'"),
        (_damaged(), "CRC"),
        (_header("{'descr': (((((((("), "plain arrays"),
        (_header("[" * 9000), "plain arrays"),
        (_header("{'descr': '<f4', 'fortran_order': 3, 'shape': 'x'}"), "plain arrays"),
        (b"PK", "plain arrays"),
        (b"", "plain arrays"),
    ],
    ids=lambda value: repr(value)[-30:],
)
def test_archives_of_strangers(content, message, tmp_path):
    path = tmp_path / "codec.npz"
    path.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(ValueError, match=rf"(?s)(codec\.npz.*)?{message}") as caught:
        MaskCodec.from_file(path)
    assert type(caught.value) is ValueError
    assert "codec.npz" in str(caught.value)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "change",
    [
        # A network of these widths would have petabytes.
        lambda arrays: arrays.update({"encoder.6.weight": np.zeros((10**6, 8, 1, 1))}),
        lambda arrays: arrays.update({"decoder.0.weight": np.zeros((10**6, 8, 1, 1))}),
        lambda arrays: arrays.update({"encoder.6.weight": np.zeros((0, 8, 4, 4))}),
        lambda arrays: arrays.update({"decoder.0.weight": np.zeros((9, 8, 1, 1))}),
        lambda arrays: arrays.update({"encoder.2.weight": np.zeros((6, 5, 4, 4))}),
        lambda arrays: arrays.update({"encoder.2.weight": np.zeros(6)}),
        lambda arrays: arrays.update({"_vq_vae._embedding": np.zeros(128)}),
        lambda arrays: arrays.pop("encoder.9.net.2.weight"),
    ],
)
def test_widths_are_those_of_all_arrays(change, tmp_path):
    arrays = published.PublishedVQVAE(8, 16, (4, 6, 8, 10)).arrays()
    change(arrays)
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=r"bad\.npz"):
        MaskCodec.from_file(tmp_path / "bad.npz")
