"""How much what is packed in a file may become."""

from __future__ import annotations

from collections.abc import Mapping


def check_expansion(sizes: Mapping[str, int], file_bytes: int) -> None:
    """Check that what is unpacked has at most 4 times the bytes of its file and 64 MB.

    Weights are noise, of which compressing saves little.

    Args:
        sizes: Bytes of each compressed array, unpacked, by name.
        file_bytes: Bytes of the file.

    Raises:
        ValueError: naming the largest.
    """
    total = sum(sizes.values())
    if total > 4 * file_bytes + 2**26:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(
            f"{largest!r} would have {sizes[largest]} bytes, unpacked, and all arrays "
            f"together {total}. If they are weights, save them uncompressed"
        )
