"""Draw a special task's pictures and rows, as a user's own data would lie in a folder.

    python scripts/draw_special_tasks.py molecules molecules/ --train 20000

`train.jsonl`, `validation.jsonl` and `test.jsonl` are what `keras-pg2 finetune` reads.
docs/special_tasks.md has what comes of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from keras_pg2.datasets.drawn import molecules, music, tables
from keras_pg2.datasets.drawn.folder import write_folder
from keras_pg2.datasets.drawn.splitting import Split

WORLDS = {"molecules": molecules, "music": music, "tables": tables}


def main(
    task: Annotated[str, typer.Argument(help="molecules, music or tables.")],
    directory: Annotated[Path, typer.Argument(help="Where to write.")],
    train: Annotated[int, typer.Option(help="Pictures to train on.")] = 20000,
    validation: Annotated[int, typer.Option(help="Pictures to validate on.")] = 200,
    test: Annotated[int, typer.Option(help="Pictures to test on.")] = 500,
    seed: Annotated[int, typer.Option(help="Of what is drawn by lot.")] = 0,
    size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 84,
) -> None:
    """Write pictures and JSON lines."""
    world = WORLDS[task]
    counts = dict(zip(get_args(Split), (train, validation, test), strict=True))
    for split, count in counts.items():
        path = write_folder(world.examples(split, count, seed, size), directory, split)
        print(f"{path}: {count} rows")


if __name__ == "__main__":
    typer.run(main)
