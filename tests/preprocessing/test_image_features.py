"""Files of features that are read again."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from keras_pg2.preprocessing.image_features import ImageFeatures


def written(**tensors: np.ndarray) -> bytes:
    return save(tensors)


WHOLE = np.ones((4, 8), np.float32)
DAMAGED = {
    "another shape": written(features=WHOLE[:2]),
    "another dtype": written(features=WHOLE.astype(np.float16)),
    "a dtype NumPy lacks": written(features=WHOLE.astype(ml_dtypes.bfloat16)),
    "another name": written(images=WHOLE),
    "cut off": written(features=WHOLE)[:-1],
    "a shape larger than the file": written(features=WHOLE).replace(b"[4,8]", b"[9,8]"),
    "a header larger than the file": b"\xff" * 8 + b"{}",
    "an array of NumPy": b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((((",
    "no array": b"no array",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_named(content: bytes, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (4, 3)).save(picture)
    features = ImageFeatures(tmp_path / "features", "tower", (4, 8), "float32")
    value = np.arange(32, dtype=np.float32).reshape(1, 4, 8)
    features.write([picture], value)
    np.testing.assert_array_equal(features.read([picture]), value)
    file = features.file_of(picture)
    file.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(ValueError, match=rf"float32\[4, 8\].*{file.name}.*Remove"):
        features.read([picture])
    assert time.monotonic() - start < 5


def change_thread(*_: object) -> None:
    time.sleep(0)


def test_threads_read_together(tmp_path: Path) -> None:
    """Python 3.11's parser fails where the garbage collector changes the thread.

    JAX has such a callback of the collector.
    """
    picture = tmp_path / "a.png"
    Image.new("RGB", (4, 3)).save(picture)
    features = ImageFeatures(tmp_path / "features", "tower", (4, 8), "float32")
    features.write([picture], WHOLE[None])
    thresholds = gc.get_threshold()
    gc.callbacks.append(change_thread)
    gc.set_threshold(7)
    try:
        with ThreadPoolExecutor(4) as pool:
            reads = [pool.submit(features.read, [picture]) for _ in range(4000)]
            for read in reads:
                np.testing.assert_array_equal(read.result()[0], WHOLE)
    finally:
        gc.callbacks.remove(change_thread)
        gc.set_threshold(*thresholds)
