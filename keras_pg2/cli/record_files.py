"""Files of records that commands write, and what is said of them in the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keras_pg2.cli.messages import print_json, print_result

if TYPE_CHECKING:
    from keras_pg2.tasks.answering.recorded_answers import Predictions


def check_record_file(output: Path) -> None:
    """Check, before a model is loaded, that records can be written to a file.

    Raises:
        ValueError: if there is something else in the file.
        BlockingIOError: if another process writes it.
        OSError: if it cannot be written.
    """
    from keras_pg2.tasks.answering.record_file import RecordFile

    with RecordFile(output):
        pass


def print_written(done: Predictions, output: Path, verb: str, as_json: bool) -> None:
    """Print how many records are in a file, and how many of them are new.

    Args:
        done: What was done.
        output: The file.
        verb: What was done with each row, as "answered".
        as_json: Whether to print a JSON document.
    """
    if as_json:
        record = {"output": str(output), **done._asdict()}
        del record["records"]
        print_json(record)
        return
    counts = [f"{done.num_answered} {verb}"]
    if done.num_kept:
        counts.append(f"{done.num_kept} were there before")
    if done.num_failed:
        counts.append(f'{done.num_failed} not readable (see "error")')
    print_result(f"{', '.join(counts)}: {output}")
