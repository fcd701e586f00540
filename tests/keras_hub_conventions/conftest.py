"""What the tests of KerasHub's conventions share."""

from __future__ import annotations

import pytest

from tests.support.tiny_models import random_task

# So that a check that fails says what it compared.
pytest.register_assert_rewrite("tests.support.keras_hub_harness")


@pytest.fixture(scope="session")
def preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory that `save_to_preset` wrote of `random_task(sequence_length=16)`."""
    folder = str(tmp_path_factory.mktemp("presets") / "task")
    random_task(sequence_length=16).save_to_preset(folder)
    return folder
