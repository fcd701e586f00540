"""A signal waits until an HDF5 file is closed, amid which it would end in a crash."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from keras_pg2.files.hdf5_files import DiskFile, new_hdf5
from keras_pg2.files.whole_files import replaced

SCRIPT = """
import signal, sys
from pathlib import Path
import numpy as np
from keras_pg2.cli.signals import end_in_order
from keras_pg2.files.hdf5_files import DiskFile, new_hdf5
from keras_pg2.files.whole_files import replaced

end_in_order()
at, number, target = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
left, write = [at], DiskFile.write

def write_with_a_signal(self, data):
    left[0] -= 1
    if left[0] == 0:
        signal.raise_signal(number)
    return write(self, data)

DiskFile.write = write_with_a_signal
with replaced(target) as part, new_hdf5(part) as file:
    for i in range(40):
        file.create_group(f"g{i}").create_dataset("vars", data=np.full((200, 30), i))
sys.exit("ended before")
"""


def run(at: int, number: int, target: Path) -> int:
    command = [sys.executable, "-c", SCRIPT, str(at), str(number), str(target)]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode


@pytest.mark.parametrize("at", [1, 7, 30])
def test_a_signal_amid_a_write_ends_the_process_in_order(at: int, tmp_path: Path):
    target = tmp_path / "a.h5"
    target.write_bytes(b"old")
    assert run(at, signal.SIGTERM, target) == 128 + signal.SIGTERM
    assert run(at, signal.SIGINT, target) == -signal.SIGINT
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert target.read_bytes() == b"old"


def write(path: Path) -> None:
    with new_hdf5(path) as file:
        file["a"] = np.arange(5000)


def test_nothing_is_written_after_a_signal_and_the_next_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, own_write = signal.getsignal(signal.SIGINT), DiskFile.write
    written: list[int] = []

    def write_with_a_signal(self: DiskFile, data: object) -> int:
        if not written:
            signal.raise_signal(signal.SIGINT)
        written.append(self.tell())
        return own_write(self, data)

    monkeypatch.setattr(DiskFile, "write", write_with_a_signal)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.h5")
    assert written
    assert (tmp_path / "a.h5").stat().st_size == 0
    assert signal.getsignal(signal.SIGINT) is handler
    assert not h5py.h5f.get_obj_ids(types=h5py.h5f.OBJ_FILE)
    write(tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        np.testing.assert_array_equal(file["a"], np.arange(5000))


def test_a_handler_that_goes_on_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_write, target = DiskFile.write, tmp_path / "a.h5"
    target.write_bytes(b"old")
    noted: list[int] = []
    to_send = [signal.SIGTERM]

    def write_with_a_signal(self: DiskFile, data: object) -> int:
        if to_send:
            signal.raise_signal(to_send.pop())
        return own_write(self, data)

    monkeypatch.setattr(DiskFile, "write", write_with_a_signal)
    before = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    try:
        with (
            pytest.raises(InterruptedError, match=r"h5.* the signal SIGTERM"),
            replaced(target) as part,
        ):
            write(part)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert noted == [signal.SIGTERM]
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert target.read_bytes() == b"old"


def test_other_threads_write_too(tmp_path: Path) -> None:
    thread = threading.Thread(target=write, args=[tmp_path / "a.h5"])
    thread.start()
    thread.join()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["a"].shape == (5000,)
