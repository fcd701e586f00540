"""Score a model on the test pictures of a special task, and show some answers.

    python scripts/evaluate_special_tasks.py molecules molecules/
    python scripts/evaluate_special_tasks.py molecules molecules/ \\
        --preset molecules/run/preset --picture docs/images/molecules.png

The pictures are those that `draw_special_tasks.py` writes. Prints a row for each
figure, with its interval.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from draw_special_tasks import WORLDS
from matplotlib.figure import Figure

from keras_pg2 import PaliGemma2CausalLM, evaluation
from keras_pg2.datasets.public.examples import Example
from keras_pg2.evaluation import Outcome

METRICS = {
    "molecules": ("smiles_exact_match",),
    "music": ("ser", "cer", "ler"),
    "tables": ("teds", "grits_con"),
}
MOST_TOKENS = {"molecules": 24, "music": 48, "tables": 112}
"""Of answers; those of the truth are shorter."""
NUM_SHOWN = 8


def draw(
    examples: Sequence[Example], outcomes: Sequence[Outcome], perfect: float
) -> Figure:
    """Return pictures with answers below, in red where they are not perfect."""
    figure = Figure(figsize=(12, 6.5), layout="constrained")
    for place, (example, outcome) in enumerate(zip(examples, outcomes)):
        axis = figure.add_subplot(2, NUM_SHOWN // 2, place + 1)
        axis.imshow(example.images)
        axis.set_xticks([])
        axis.set_yticks([])
        text = outcome.answer.text.replace("\n", "  ").replace("$", r"\$")
        color = "black" if np.isclose(outcome.score, perfect) else "crimson"
        axis.set_xlabel(
            textwrap.fill(text, 30), color=color, family="monospace", fontsize=8
        )
    return figure


def main(
    task: Annotated[str, typer.Argument(help="molecules, music or tables.")],
    directory: Annotated[Path, typer.Argument(help="Where answers are kept.")],
    preset: Annotated[str, typer.Option(help="Name or directory.")] = (
        "pali_gemma2_nano"
    ),
    count: Annotated[int, typer.Option(help="Number of test pictures.")] = 300,
    seed: Annotated[int, typer.Option(help="Of what is drawn by lot.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="Of answers, to write.")] = None,
) -> None:
    """Print figures as rows of a table."""
    model = PaliGemma2CausalLM.from_preset(preset)
    size = model.preprocessor.image_converter.image_size[0]
    examples = WORLDS[task].examples("test", count, seed, size)
    answers = directory / f"answers_{Path(preset).parent.name or preset}"
    for metric in METRICS[task]:
        found = evaluation.evaluate(
            model,
            examples,
            metric,
            output=answers,
            batch_size=50,
            max_new_tokens=MOST_TOKENS[task],
        )
        for name, figure in found.figures.items():
            low, high = found.intervals.get(name, (np.nan, np.nan))
            print(f"| {metric} | {name} | {figure:.3f} | {low:.3f} to {high:.3f} |")
        if picture is not None and metric == METRICS[task][0]:
            perfect = 0.0 if task == "music" else 1.0
            shown = draw(examples[:NUM_SHOWN], found.outcomes, perfect)
            shown.savefig(picture, dpi=80)
    print(f"{count} pictures, the last metric took {found.seconds:.0f} s")


if __name__ == "__main__":
    typer.run(main)
