"""Writing a report into a directory."""

from __future__ import annotations

import os
from pathlib import Path

from keras_pg2.checks.numbers import check_seed
from keras_pg2.evaluation.files import write_evaluation
from keras_pg2.evaluation.report.markdown import markdown
from keras_pg2.evaluation.report.page import page
from keras_pg2.evaluation.results import Evaluation
from keras_pg2.files.whole_files import write_text


def write_report(
    evaluation: Evaluation,
    directory: str | os.PathLike[str],
    seed: int = 0,
    num_examples: int = 12,
) -> None:
    """Write an evaluation for programs and for people.

    - `report.json` and `predictions.jsonl`, which `read_report` reads;
    - `report.md`: figures, the worst answers, settings;
    - `report.html`: the same and plots, and examples with their pictures, in one file
      that needs no other and no network. Pictures that are not there any more are
      named instead.

    Args:
        evaluation: What was found.
        directory: Directory to write into, which is made.
        seed: Seed of the examples drawn by chance.
        num_examples: How many of the worst answers are shown, and how many by chance.

    Raises:
        OSError: if a file cannot be written.
        TypeError: if a truth has details that JSON has no word for.
        ValueError: if the seed or the number is negative.
    """
    check_seed(seed)
    if num_examples < 0:
        raise ValueError(
            f"Expected num_examples of 0 or more, received {num_examples}."
        )
    folder = Path(directory).expanduser()
    write_evaluation(evaluation, folder)
    write_text(markdown(evaluation, num_examples), folder / "report.md")
    write_text(page(evaluation, num_examples, seed), folder / "report.html")
