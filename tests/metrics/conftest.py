"""What tests of metrics share."""

from __future__ import annotations

from pathlib import Path

import pytest

STAND_INS = Path(__file__).parents[1] / "support" / "stand_ins"


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let packages that download models be imported, as small ones of the tests."""
    monkeypatch.syspath_prepend(STAND_INS)
