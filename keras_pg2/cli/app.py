"""The commands of `keras-pg2`, each in a file of its own.

Every command checks its input first, then loads the model, then prints each
result as soon as it is there.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from keras_pg2.cli import (
    answering,
    catalogue,
    checkpoints,
    comparing,
    deciding,
    demo,
    detecting,
    evaluating,
    exporting,
    finetuning,
)
from keras_pg2.cli.messages import escape_for_stdout, silence_libraries
from keras_pg2.cli.signals import end_in_order

app = typer.Typer(
    name="keras-pg2",
    help="PaliGemma 2 on JAX, TensorFlow or PyTorch: captions, answers, boxes.",
    epilog="Each command has its own help and examples: keras-pg2 detect --help",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command of the console script."""
    end_in_order()
    silence_libraries()
    escape_for_stdout()
    # A process of one command makes most of its objects when it starts.
    gc.set_threshold(100_000, 20, 100)
    app()


def _print_version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"keras-pg2 {version('keras-pg2')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version),
    ] = False,
) -> None:
    """Options of the program itself."""


def _add(
    command: Callable[..., None],
    *examples: str,
    name: str | None = None,
    help: str | None = None,
) -> None:
    epilog = "\n\n".join(["Examples:", *examples])
    app.command(name, epilog=epilog, help=help)(command)


_add(
    answering.caption,
    "keras-pg2 caption scene.png",
    "keras-pg2 caption photos/*.jpg --preset pg2-mix --dtype bfloat16 --language de",
    "keras-pg2 caption scene.png --long --json",
    "keras-pg2 caption scene.png --preset run",
    "keras-pg2 caption scene.png --check",
    "keras-pg2 caption photos/ --output captions.jsonl",
)
_add(
    answering.ask,
    'keras-pg2 ask scene.png "how many objects are there?"',
    'keras-pg2 ask a.png b.png -q "what color is the star?" -q "is there a circle?"',
)
_add(
    deciding.decide,
    'keras-pg2 decide scene.png -q "is there a star?" '
    '--one-of "what color is the star?=red,yellow" '
    '--number "how many objects are there?=0..20"',
    "keras-pg2 decide photos/ --questions questions.json --output decided.jsonl",
)
_add(
    detecting.find,
    'keras-pg2 detect scene.png --labels "red circle,star"',
    "keras-pg2 detect photos/ -l cat -l dog --preset pg2-mix --draw boxes/",
    "keras-pg2 detect photos/ -l cat --min-score 0.5 --coco cats.json --no-draw",
    name="detect",
    help="Find things in pictures: boxes with scores, also drawn into copies.",
)
_add(
    detecting.find,
    'keras-pg2 segment scene.png --labels "red circle,star"',
    "keras-pg2 segment photos/ -l cat --preset pg2-mix --draw masks/ --coco cats.json",
    name="segment",
    help="Find things in pictures: masks and boxes with scores, also drawn into "
    "copies.",
)
_add(
    answering.generate,
    'keras-pg2 generate scene.png --prompt "ocr"',
    'keras-pg2 generate scene.png -p "describe en" --temperature 0.8 --seed 1',
    'keras-pg2 generate --prompt "caption en" --max-new-tokens 16',
)
_add(catalogue.presets, "keras-pg2 presets", "keras-pg2 presets --json")
_add(
    checkpoints.convert,
    "keras-pg2 convert google/paligemma2-3b-pt-224 pg2 --to preset",
    "keras-pg2 convert my-preset my-model --to hf --dtype bf16",
    "keras-pg2 convert my-preset my-model.sbs --to sbs --dtype sfp",
    "keras-pg2 convert my-preset merged --to hf --adapter run",
)
_add(
    checkpoints.info,
    "keras-pg2 info pali_gemma2_mix_3b_448",
    "keras-pg2 info my-model.npz --json",
    "keras-pg2 info run",
)
_add(
    exporting.export,
    "keras-pg2 export pali_gemma2_nano --to litert --quantize int8 --output nano",
    "keras-pg2 export pali_gemma2_nano --to litertlm --output nano.litertlm "
    "--adapter run",
)
_add(
    finetuning.finetune,
    "keras-pg2 finetune --data train.jsonl --eval-share 0.1 --output run",
    "keras-pg2 finetune --data train.jsonl --eval-data val.jsonl --recipe docvqa "
    "--preset pali_gemma2_pt_3b_448 --dtype bfloat16 --output run",
    "keras-pg2 finetune --data train.jsonl --eval-share 0.1 --output run --resume",
)
_add(
    evaluating.evaluate,
    "keras-pg2 evaluate --preset pali_gemma2_pt_3b_448 --adapter run --recipe docvqa "
    "--data docvqa/ --output report",
    "keras-pg2 evaluate --data val.jsonl --metric exact_match --output report",
    "keras-pg2 evaluate --predictions answers.jsonl --recipe docvqa --data docvqa/ "
    "--output report",
    "keras-pg2 evaluate --merge part0 --merge part1 --output report",
)
_add(
    comparing.compare,
    "keras-pg2 compare before after",
    "keras-pg2 compare before after --metric anls --only-common --output compared.md",
    "keras-pg2 compare a.jsonl b.jsonl --recipe docvqa --data docvqa/",
)
_add(
    demo.demo,
    "keras-pg2 demo",
    "keras-pg2 demo --image photo.jpg -l cat --preset pg2-mix --dtype bfloat16",
)
