"""Every guide runs as it stands, each on one backend."""

from __future__ import annotations

from pathlib import Path

import keras
import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "guides").glob("*.ipynb"))
# What they call is tested on all backends, and a guide takes minutes.
BACKENDS = {
    "checkpoints": "torch",
    "deployment": "torch",
    "detection": "torch",
    "fine_tuning": "torch",
    "generation": "torch",
    "molecules": "torch",
    "music": "torch",
    "quickstart": "jax",
    "tables": "torch",
}
FEW_ROWS = "8"
"""Pictures to train on, in the guides that draw thousands."""


def test_every_guide_has_a_backend() -> None:
    assert [path.stem for path in GUIDES] == sorted(BACKENDS)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_guide_is_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=path.stem,
            # It writes files of LiteRT.
            marks=[pytest.mark.needs_tensorflow] if path.stem == "deployment" else [],
        )
        for path in GUIDES
    ],
)
def test_guide_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if keras.config.backend() != BACKENDS[path.stem]:
        pytest.skip(f"runs on {BACKENDS[path.stem]}")
    monkeypatch.setenv("GUIDE_ROWS", FEW_ROWS)
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()  # Raises CellExecutionError with the cell and its traceback.
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert any("image/png" in str(cell.outputs) for cell in code)
