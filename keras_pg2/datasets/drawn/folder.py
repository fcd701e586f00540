"""Examples as a folder of pictures with a file of rows, as users have their data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from keras_pg2.datasets.public.examples import Example
from keras_pg2.files.whole_files import write_text


def write_folder(examples: Iterable[Example], directory: str | Path, name: str) -> Path:
    """Write pictures to `directory/name` and JSON lines to `directory/name.jsonl`.

    A line has `image`, `prefix` (the prompt), `suffix` (the answer to train on), and
    `answer`, `kind` of the truth.

    Returns:
        Path of the JSON lines.
    """
    directory = Path(directory)
    (directory / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for index, example in enumerate(examples):
        [answer] = example.truth.answers
        path = f"{name}/{index:06d}.png"
        Image.fromarray(np.asarray(example.images)).save(directory / path)
        row = {"image": path, "prefix": example.fields["prompt"]}
        row |= {"suffix": example.response or answer}
        row |= {"answer": answer, "kind": example.truth.kind}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text("".join(lines), directory / f"{name}.jsonl")
    return directory / f"{name}.jsonl"
