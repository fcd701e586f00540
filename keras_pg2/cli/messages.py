"""What the command line says beside its results: progress, notices, errors.

Results go to stdout, all of this to stderr.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

BAD_INPUT = 2
"""Exit status, the same as for wrong options."""
DONE_IN_PART = 1
"""Exit status where some of several pictures could not be read."""
_TOLD = (
    ValueError,
    TypeError,
    OSError,
    ImportError,
    MemoryError,
    FloatingPointError,
)
"""Errors whose message says all."""


def stderr() -> Console:
    """The console of now: stderr may have been replaced since the last call."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def notice(text: str) -> None:
    """One line that is no result."""
    stderr().print(escape(text), style="dim")


def progress(text: str) -> Any:
    """A context with a spinner and a text; silent where stderr is no terminal."""
    return stderr().status(escape(text))


def fail(message: str) -> NoReturn:
    """Ends the command with one message."""
    stderr().print(f"[bold red]Error:[/] {escape(message)}")
    raise typer.Exit(BAD_INPUT)


def fail_in_part(errors: Sequence[str], total: int) -> None:
    """End a command that has done the rest of `total` pictures, if there are errors."""
    if errors:
        lines = "\n".join(map(escape, errors))
        said = f"{len(errors)} of {total} pictures could not be read, all others were."
        stderr().print(f"[bold red]Error:[/] {said}\n{lines}")
        raise typer.Exit(DONE_IN_PART)


def print_json(value: Any) -> None:
    """Print a JSON document, with escapes for what the encoding of stdout lacks."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    typer.echo(text)


def escape_for_stdout() -> None:
    """Let characters that stdout cannot hold be written as escapes, not end a command.

    A file or a pipe has the encoding of the system, which is cp1252 on many machines
    with Windows, and names of files may be no text at all.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def reported_errors() -> Iterator[None]:
    """Bad input ends the command with one message instead of a traceback.

    The environment variable KERAS_PG2_DEBUG=1 gives the traceback.
    """
    try:
        yield
    except _TOLD as error:
        if os.environ.get("KERAS_PG2_DEBUG"):
            raise
        fail(str(error) or type(error).__name__)
    except RuntimeError as error:
        # How PyTorch ("out of memory") and XLA ("RESOURCE_EXHAUSTED") say it.
        text = str(error)
        if "out of memory" not in text.lower() and "RESOURCE_EXHAUSTED" not in text:
            raise
        fail(
            "The device has too little memory for this model. Try --dtype bfloat16, a "
            f"smaller model, or a machine with more memory. ({text.splitlines()[0]})"
        )


def silence_libraries() -> None:
    """Keeps the messages of other libraries off the terminal.

    C++ code writes to file descriptor 2 whatever it is told (TensorFlow does so
    even at TF_CPP_MIN_LOG_LEVEL=3), so the descriptor goes nowhere and Python's
    stderr gets its own. TF_CPP_MIN_LOG_LEVEL=0 leaves everything as it is.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # As Python's own stderr, it takes file names that are not UTF-8.
    sys.stderr = os.fdopen(
        os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace"
    )
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    logging.disable(logging.WARNING)
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    """Warnings to users in one line; those between programmers are left out.

    All warnings of this package begin with "Expected"; those of others tell of calls
    that nobody at a terminal has made.
    """
    if type(message) is UserWarning and str(message).startswith("Expected"):
        notice(f"Warning: {message}")
