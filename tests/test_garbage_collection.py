"""The search for garbage: paused, and as it was afterwards."""

import gc

import pytest

from keras_pg2.start.garbage_collection import paused_collection


@pytest.mark.parametrize("is_enabled", [True, False])
def test_paused_inside_and_as_before_after_it(is_enabled):
    if not is_enabled:
        gc.disable()
    try:
        with paused_collection():
            assert not gc.isenabled()
            with paused_collection():
                assert not gc.isenabled()
            assert not gc.isenabled()
        assert gc.isenabled() == is_enabled
        with pytest.raises(KeyError), paused_collection():
            raise KeyError
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()
