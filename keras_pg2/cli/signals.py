"""What ends a command from outside: what is half written is removed first."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

_ENDING = ("SIGTERM", "SIGHUP")
"""Sent by `kill`, by containers and schedulers, and by a terminal that is closed."""


def end_in_order() -> None:
    """Have these signals end the process as an error does, not on the spot.

    The exit status is that of the shell, 128 and the number of the signal. A second
    signal ends the process on the spot. A signal that the process was started to
    ignore, as by nohup, stays ignored.
    """
    others = sys.unraisablehook

    def send_again(unraisable: sys.UnraisableHookArgs) -> None:
        # It came amid a destructor, where Python ignores every exception.
        if not isinstance(unraisable.exc_value, _End):
            others(unraisable)
            return
        number = unraisable.exc_value.number
        signal.signal(number, _end)
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()

    sys.unraisablehook = send_again
    for name in _ENDING:
        number = getattr(signal, name, None)  # Windows has no SIGHUP.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


class _End(SystemExit):
    """Ends the process for a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def _end(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise _End(number)
