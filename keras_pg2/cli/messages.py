"""What the command line says: results to stdout, all else to stderr.

Whatever is printed may hold text from outside (names in files, labels, answers, errors
of libraries), so all of it passes `printable`, and none of it is read as rich's markup.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from keras_pg2.checks.texts import LINES_AND_JOINERS, printable, printable_json
from keras_pg2.files.whole_files import NO_SPACE

BAD_INPUT = 2
"""Exit status, the same as for wrong options."""
DONE_IN_PART = 1
"""Exit status where some of several pictures could not be read."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as of a process that the signal ended."""
_OUT_OF_MEMORY = ("out of memory", "resource_exhausted", "can't allocate memory")
"""How PyTorch says it of an accelerator, XLA, and PyTorch of a CPU."""
_TOLD = (
    ValueError,
    TypeError,
    OSError,
    ImportError,
    MemoryError,
    FloatingPointError,
)
"""Errors whose message says all."""


def print_result(text: str) -> None:
    """Print a result, which may have several lines."""
    typer.echo(printable(text, LINES_AND_JOINERS))


def print_styled(beginning: str, result: Any) -> None:
    """Print a result that rich shows in colours, if stdout is a terminal.

    Args:
        beginning: Text before it.
        result: Something with `__rich__`, whose texts are printable.
    """
    text = Text(printable(beginning)).append_text(result.__rich__())
    Console(highlight=False, soft_wrap=True).print(text)


def print_json(value: Any) -> None:
    """Print a JSON document, with escapes for what the encoding of stdout lacks."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    typer.echo(printable_json(text))


def stderr() -> Console:
    """Return the console of now: stderr may have been replaced since the last call."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def notice(text: str) -> None:
    """Print one line that is no result."""
    stderr().print(Text(printable(text), "dim"))


def progress(text: str) -> Any:
    """Return a context with a spinner and a text; silent if stderr is no terminal."""
    return stderr().status(Text(printable(text)))


def fail(message: str) -> NoReturn:
    """End the command with one message."""
    _print_error(printable(message))
    raise typer.Exit(BAD_INPUT)


def fail_in_part(errors: Sequence[str], total: int) -> None:
    """End a command that has done the rest of `total` pictures, if there are errors."""
    if errors:
        said = f"{len(errors)} of {total} pictures could not be read, all others were."
        _print_error("\n".join([said, *map(printable, errors)]))
        raise typer.Exit(DONE_IN_PART)


def _print_error(text: str) -> None:
    stderr().print(Text.assemble(("Error:", "bold red"), " ", text))


def escape_for_stdout() -> None:
    """Let characters that stdout cannot hold be written as escapes, not end a command.

    A file or a pipe has the encoding of the system, which is cp1252 on many machines
    with Windows, and names of files may be no text at all.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def reported_errors() -> Iterator[None]:
    """End the command with one line instead of a traceback, whatever goes wrong.

    The environment variable KERAS_PG2_DEBUG=1 gives the traceback. Ctrl-C ends the
    command without a word, and so does a pipe whose reader has gone.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise  # Typer ends the process, of a closed pipe quietly.
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        if os.environ.get("KERAS_PG2_DEBUG"):
            raise
        fail(_describe(error))


def _describe(error: Exception) -> str:
    text = str(error)
    if isinstance(error, RuntimeError) and any(
        words in text.lower() for words in _OUT_OF_MEMORY
    ):
        return (
            "The device has too little memory for this model. Try --dtype bfloat16, a "
            f"smaller model, or a machine with more memory. ({text.splitlines()[0]})"
        )
    if text.startswith("Expected"):
        return text
    file = _file_in_hand(error)
    read = "" if file is None else f" While reading {str(file)!r}."
    if isinstance(error, _TOLD):
        said = text or type(error).__name__
        return f"{said}{'' if said.endswith(('.', '?', '!')) else '.'}{read}"
    return (
        f"{type(error).__name__}: {text or 'no message'}.{read} This is a fault of the "
        "file or of keras_pg2. Run the command again with KERAS_PG2_DEBUG=1 for the "
        "traceback, and report it (CONTRIBUTING.md, SECURITY.md)."
    )


def _file_in_hand(error: Exception) -> Path | None:
    """Return what the innermost function read, if one had a file or folder.

    None for an error that names its own file, or is one of writing.
    """
    if isinstance(error, OSError) and (
        error.filename is not None or error.errno in NO_SPACE
    ):
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    found = [
        value
        for frame in reversed(frames)
        for value in frame.f_locals.values()
        if isinstance(value, Path) and os.path.exists(value)
    ]
    text = str(error)
    # Not a part of a longer name.
    is_named = any(
        path.name and re.search(rf"(?<![\w.-]){re.escape(str(path))}(?!\.?[\w-])", text)
        for path in found
    )
    return None if is_named or not found else found[0]


def silence_libraries() -> None:
    """Keep the messages of other libraries off the terminal.

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
