"""The options that commands share, each described once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from keras_pg2.catalogue.names import NANO_ALIAS
from keras_pg2.cli.backends import Backend
from keras_pg2.cli.outputs import ENDINGS

MODEL = "Model"
BATCH_SIZE = 8
ANSWERS = "Answers"


class DType(StrEnum):
    """Types that weights and activations may have."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


Pictures = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER",
        help="Picture files, or folders of them.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE.jsonl",
        help="Write one JSON line an answer to this file as they come, many pictures "
        "at a time; a second call goes on where the first stopped. Default: print.",
        rich_help_panel=ANSWERS,
        show_default=False,
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        min=1,
        help="Pictures at a time (when asking: with --output).",
        rich_help_panel=ANSWERS,
    ),
]
Images = Annotated[
    list[Path],
    typer.Argument(metavar="IMAGE", help="Picture files.", show_default=False),
]
Labels = Annotated[
    list[str],
    typer.Option(
        "--labels",
        "--label",
        "-l",
        help="Names of what to look for, with commas between, or given several times.",
        show_default=False,
    ),
]
Draw = Annotated[
    Path | None,
    typer.Option(
        "--draw",
        "--output",
        "-o",
        help="Folder of the drawn copies, or for one picture a file that ends in "
        f"{', '.join(ENDINGS)}. Default: NAME_boxes.png or NAME_masks.png beside each "
        "picture. A file of that name is replaced.",
        rich_help_panel=ANSWERS,
        show_default=False,
    ),
]
NoDraw = Annotated[
    bool,
    typer.Option("--no-draw", help="Draw nothing.", rich_help_panel=ANSWERS),
]
Coco = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="Also write all that was found as a COCO data set, with scores, to be "
        "corrected in an annotation tool; file names are relative to it.",
        rich_help_panel=ANSWERS,
        show_default=False,
    ),
]
MinScore = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Leave out what has a lower score.",
        rich_help_panel=ANSWERS,
    ),
]


class Asked(StrEnum):
    TOGETHER = "together"
    EACH = "each"
    BOTH = "both"


AskedLabels = Annotated[
    Asked,
    typer.Option(
        "--asked",
        help="Labels all in one prompt, each in its own, or both, which takes longest "
        "and finds most.",
        rich_help_panel=ANSWERS,
    ),
]
MaxOverlap = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Of two boxes with one label that overlap by more (IoU) keep the one with "
        "the higher score. Default: keep both (0.5 with --asked both).",
        rich_help_panel=ANSWERS,
        show_default=False,
    ),
]
MaxDetections = Annotated[
    int,
    typer.Option(min=1, help="Most things in a picture.", rich_help_panel=ANSWERS),
]
PresetName = Annotated[
    str,
    typer.Option(
        help="Name of a bundled preset, a directory written by save_to_preset, or a "
        "downloaded Hugging Face directory of PaliGemma or PaliGemma 2.",
        rich_help_panel=MODEL,
    ),
]
BackendName = Annotated[
    Backend | None,
    typer.Option(
        help="Backend of Keras. Default: KERAS_BACKEND, else the first installed.",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]
DTypeName = Annotated[
    DType,
    typer.Option(
        "--dtype",
        help="Type of the weights; bfloat16 halves the memory. auto: bfloat16 on an "
        "accelerator, float32 on a CPU.",
        rich_help_panel=MODEL,
    ),
]
Language = Annotated[
    str,
    typer.Option(help="Language code of the answer.", rich_help_panel=ANSWERS),
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Most tokens of an answer. Default: as many as the preset was made for.",
        rich_help_panel=ANSWERS,
        show_default=False,
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="0 takes the likeliest token; 1 draws by the model's probabilities.",
        rich_help_panel=ANSWERS,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Draw among the K likeliest tokens.",
        rich_help_panel=ANSWERS,
        show_default=False,
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Draw among the likeliest tokens that together reach probability P.",
        rich_help_panel=ANSWERS,
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Seed of the draws: the same seed gives the same answers.",
        rich_help_panel=ANSWERS,
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.")
]


@dataclass(frozen=True)
class Settings:
    """Which model answers, and how.

    Attributes:
        preset: name or directory.
        dtype: dtype policy.
        max_new_tokens: most tokens of an answer; None for the preset's length.
        temperature: 0 takes the likeliest token.
        top_k: draw among so many tokens; None for all.
        top_p: draw among tokens of this probability together; None for all.
        seed: of the draws; None for a fresh one.

    Raises:
        ValueError: when an option is given that has no effect.
    """

    preset: str = NANO_ALIAS
    dtype: DType = DType.AUTO
    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("top_k", "top_p", "seed"):
            value = getattr(self, name)
            if value is not None and self.temperature == 0:
                option = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"Expected --temperature above 0 together with {option} {value}: "
                    "at 0 the likeliest token is taken and nothing is drawn. Add "
                    "--temperature 1."
                )
