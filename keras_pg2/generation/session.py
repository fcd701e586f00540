"""A generation that can be looked at, and rows of it stopped, between tokens."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_pg2.generation.compilation import CompiledFunctions
from keras_pg2.generation.decoding import (
    Generated,
    Plan,
    Request,
    advance,
    begin,
    count_tokens,
)


class Session:
    """Runs the prompts at once, then as many tokens as it is told.

    Args:
        functions: the model's compiled functions.
        plan: what they are made for; no beams.
        request: what is asked for.
    """

    def __init__(
        self, functions: CompiledFunctions, plan: Plan, request: Request
    ) -> None:
        self._request = request
        self._num_tokens = 1
        size = count_tokens(functions.backbone, request)
        self._advance = functions.get(advance, plan, num_used_up=1, num_tokens=size)
        run = functions.get(begin, plan, num_tokens=size)
        self._state, self._layout = run(request)

    @property
    def answers(self) -> Generated:
        """What there is until now, in NumPy."""
        return Generated(*(ops.convert_to_numpy(part) for part in self._state.answers))

    @property
    def is_done(self) -> np.ndarray:
        """bool[B], which rows have ended."""
        return ops.convert_to_numpy(self._state.is_done)

    def advance(self, num_tokens: int) -> None:
        """Goes on by so many tokens, or until every row is done."""
        self._num_tokens += num_tokens
        until = np.array(self._num_tokens, np.int32)
        self._state = self._advance(self._state, self._layout, self._request, until)

    def stop(self, rows: np.ndarray) -> None:
        """Ends bool[B] rows where they are."""
        is_done = np.logical_or(self.is_done, rows)
        self._state = self._state._replace(is_done=is_done)
