"""What the machine can do: bytes read a second, float32 operations a second.

Memory bandwidth of a rented machine can change by half within minutes. So a share of
it is taken of a measurement made in the same process, just before and after.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

BYTES_PER_CORE = 1 << 28
"""More than any cache of a processor."""


@cache
def _arrays() -> list[np.ndarray]:
    count = os.cpu_count() or 1
    return [np.ones(BYTES_PER_CORE // 8, np.int64) for _ in range(count)]


def read_bandwidth(num_runs: int = 3) -> float:
    """Bytes a second when every core reads an array of its own; the best of the runs.

    It finds the largest whole number, which is the quickest that NumPy reads: sums of
    floats keep to half of the bandwidth on some processors.
    """

    def read_all() -> None:
        threads = [threading.Thread(target=array.max) for array in _arrays()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    num_bytes = sum(array.nbytes for array in _arrays())
    return num_bytes / min(_seconds(read_all) for _ in range(num_runs))


def matrix_rate(size: int = 2048, num_runs: int = 5) -> float:
    """float32 operations a second of a product of matrices in NumPy; the best."""
    square = np.ones((size, size), np.float32)
    return 2 * size**3 / min(_seconds(lambda: square @ square) for _ in range(num_runs))


def gpu_limits() -> dict[str, float]:
    """Of the GPU: bytes a second of a copy (read and written), bfloat16 operations."""
    import torch

    def seconds(function: Callable[[], Any], count: int = 20) -> float:
        function()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            function()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / count

    source = torch.ones(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    square = torch.ones((8192, 8192), dtype=torch.bfloat16, device="cuda")
    return {
        "bytes_per_s": 2 * source.numel() / seconds(lambda: target.copy_(source)),
        "operations_per_s": 2 * 8192**3 / seconds(lambda: square @ square),
    }


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
