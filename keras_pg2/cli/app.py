"""The commands of `keras-pg2`.

Every command checks its input first, then loads the model, then prints each
result as soon as it is there.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from keras_pg2.catalogue.names import NANO_ALIAS
from keras_pg2.cli import catalogue, checkpoints, exporting, finetuning, options
from keras_pg2.cli.answering import (
    Destination,
    print_answers,
    split_question,
)
from keras_pg2.cli.backends import use_backend
from keras_pg2.cli.demo import run_demo
from keras_pg2.cli.detecting import Outputs, Search, find_in_pictures
from keras_pg2.cli.messages import reported_errors, silence_libraries
from keras_pg2.cli.options import Settings
from keras_pg2.garbage_collection import search_less_often

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
    """The entry point of the console script."""
    silence_libraries()
    search_less_often()
    app()


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
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


@app.command(
    epilog="Examples:\n\n"
    "keras-pg2 caption scene.png\n\n"
    "keras-pg2 caption photos/*.jpg --preset pg2-mix --dtype bfloat16 --language de\n\n"
    "keras-pg2 caption scene.png --long --json\n\n"
    "keras-pg2 caption photos/ --output captions.jsonl"
)
def caption(
    images: options.Pictures,
    long: Annotated[
        bool, typer.Option("--long", help="A longer description (`describe`).")
    ] = False,
    language: options.Language = "en",
    preset: options.PresetName = NANO_ALIAS,
    backend: options.BackendName = None,
    dtype: options.DTypeName = options.DType.AUTO,
    max_new_tokens: options.MaxNewTokens = None,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    output: options.Output = None,
    batch_size: options.BatchSize = options.BATCH_SIZE,
    as_json: options.AsJson = False,
) -> None:
    """Say in a sentence what is in a picture."""
    with reported_errors():
        settings = Settings(
            preset, dtype, max_new_tokens, temperature, top_k, top_p, seed
        )
        use_backend(backend)
        from keras_pg2.preprocessing import prompts

        prompt = prompts.describe(language) if long else prompts.caption(language)
        print_answers(
            images,
            [(prompt, prompt)],
            settings,
            Destination(as_json, output, batch_size),
        )


@app.command(
    epilog="Examples:\n\n"
    'keras-pg2 ask scene.png "how many objects are there?"\n\n'
    'keras-pg2 ask a.png b.png -q "what color is the star?" -q "is there a circle?"'
)
def ask(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE|FOLDER|QUESTION",
            help="Picture files or folders, and last the question unless --question is "
            "given.",
            show_default=False,
        ),
    ],
    question: Annotated[
        list[str] | None,
        typer.Option(
            "--question",
            "-q",
            help="A question; several may be given.",
            show_default=False,
        ),
    ] = None,
    language: options.Language = "en",
    preset: options.PresetName = NANO_ALIAS,
    backend: options.BackendName = None,
    dtype: options.DTypeName = options.DType.AUTO,
    max_new_tokens: options.MaxNewTokens = None,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    output: options.Output = None,
    batch_size: options.BatchSize = options.BATCH_SIZE,
    as_json: options.AsJson = False,
) -> None:
    """Answer questions about a picture."""
    with reported_errors():
        settings = Settings(
            preset, dtype, max_new_tokens, temperature, top_k, top_p, seed
        )
        paths, questions = split_question(images, question or [])
        use_backend(backend)
        from keras_pg2.preprocessing import prompts

        asked = [(prompts.answer(text, language), text) for text in questions]
        destination = Destination(as_json, output, batch_size)
        print_answers(paths, asked, settings, destination)


@app.command(
    epilog="Examples:\n\n"
    'keras-pg2 detect scene.png --labels "red circle,star"\n\n'
    "keras-pg2 detect photos/ -l cat -l dog --preset pg2-mix --draw boxes/\n\n"
    "keras-pg2 detect photos/ -l cat --min-score 0.5 --coco cats.json --no-draw"
)
def detect(
    images: options.Pictures,
    labels: options.Labels,
    draw: options.Draw = None,
    no_draw: options.NoDraw = False,
    coco: options.Coco = None,
    min_score: options.MinScore = 0.0,
    max_overlap: options.MaxOverlap = None,
    asked: options.AskedLabels = options.Asked.TOGETHER,
    max_detections: options.MaxDetections = 20,
    batch_size: options.BatchSize = options.BATCH_SIZE,
    preset: options.PresetName = NANO_ALIAS,
    backend: options.BackendName = None,
    dtype: options.DTypeName = options.DType.AUTO,
    as_json: options.AsJson = False,
) -> None:
    """Find things in pictures: boxes with scores, also drawn into copies."""
    with reported_errors():
        use_backend(backend)
        numbers = (max_detections, max_overlap, min_score, batch_size)
        find_in_pictures(
            images,
            Search("detect", labels, *numbers, asked.value),
            Settings(preset, dtype),
            Outputs(draw, not no_draw, coco, as_json),
        )


@app.command(
    epilog="Examples:\n\n"
    'keras-pg2 segment scene.png --labels "red circle,star"\n\n'
    "keras-pg2 segment photos/ -l cat --preset pg2-mix --draw masks/ --coco cats.json"
)
def segment(
    images: options.Pictures,
    labels: options.Labels,
    draw: options.Draw = None,
    no_draw: options.NoDraw = False,
    coco: options.Coco = None,
    min_score: options.MinScore = 0.0,
    max_overlap: options.MaxOverlap = None,
    asked: options.AskedLabels = options.Asked.TOGETHER,
    max_detections: options.MaxDetections = 20,
    batch_size: options.BatchSize = options.BATCH_SIZE,
    preset: options.PresetName = NANO_ALIAS,
    backend: options.BackendName = None,
    dtype: options.DTypeName = options.DType.AUTO,
    as_json: options.AsJson = False,
) -> None:
    """Find things in pictures: masks and boxes with scores, also drawn into copies."""
    with reported_errors():
        use_backend(backend)
        numbers = (max_detections, max_overlap, min_score, batch_size)
        find_in_pictures(
            images,
            Search("segment", labels, *numbers, asked.value),
            Settings(preset, dtype),
            Outputs(draw, not no_draw, coco, as_json),
        )


@app.command(
    epilog="Examples:\n\n"
    'keras-pg2 generate scene.png --prompt "ocr"\n\n'
    'keras-pg2 generate scene.png -p "describe en" --temperature 0.8 --seed 1\n\n'
    'keras-pg2 generate --prompt "caption en" --max-new-tokens 16'
)
def generate(
    prompt: Annotated[
        list[str],
        typer.Option(
            "--prompt",
            "-p",
            help="A prompt; several may be given.",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE|FOLDER",
            help="Picture files, or folders of them; none for text alone.",
            show_default=False,
        ),
    ] = None,
    preset: options.PresetName = NANO_ALIAS,
    backend: options.BackendName = None,
    dtype: options.DTypeName = options.DType.AUTO,
    max_new_tokens: options.MaxNewTokens = None,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    output: options.Output = None,
    batch_size: options.BatchSize = options.BATCH_SIZE,
    as_json: options.AsJson = False,
) -> None:
    """Continue a raw prompt, with a picture or without one."""
    with reported_errors():
        settings = Settings(
            preset, dtype, max_new_tokens, temperature, top_k, top_p, seed
        )
        use_backend(backend)
        asked = [(text, text) for text in prompt]
        print_answers(
            images or [], asked, settings, Destination(as_json, output, batch_size)
        )


@app.command(epilog="Examples:\n\nkeras-pg2 presets\n\nkeras-pg2 presets --json")
def presets(as_json: options.AsJson = False) -> None:
    """List the presets: what is bundled, and what can be downloaded."""
    records = catalogue.list_presets()
    if as_json:
        typer.echo(json.dumps(records, indent=2))
    else:
        catalogue.print_presets(records)


app.command(
    epilog="Examples:\n\n"
    "keras-pg2 convert google/paligemma2-3b-pt-224 pg2 --to preset\n\n"
    "keras-pg2 convert my-preset my-model --to hf --dtype bf16\n\n"
    "keras-pg2 convert my-preset my-model.sbs --to sbs --dtype sfp"
)(checkpoints.convert)
app.command(
    epilog="Examples:\n\nkeras-pg2 info pali_gemma2_mix_3b_448\n\n"
    "keras-pg2 info my-model.npz --json"
)(checkpoints.info)
app.command(
    epilog="Examples:\n\n"
    "keras-pg2 export pali_gemma2_nano --to litert --quantize int8 --output nano\n\n"
    "keras-pg2 export pali_gemma2_nano --to litertlm --output nano.litertlm "
    "--adapter run/adapter.safetensors"
)(exporting.export)


app.command(
    epilog="Examples:\n\n"
    "keras-pg2 finetune --data train.jsonl --eval-share 0.1 --output run\n\n"
    "keras-pg2 finetune --data train.jsonl --eval-data val.jsonl --recipe docvqa "
    "--preset pali_gemma2_pt_3b_448 --dtype bfloat16 --output run\n\n"
    "keras-pg2 finetune --data train.jsonl --eval-share 0.1 --output run --resume"
)(finetuning.finetune)


@app.command(
    epilog="Examples:\n\nkeras-pg2 demo\n\n"
    "keras-pg2 demo --image photo.jpg -l cat --preset pg2-mix --dtype bfloat16"
)
def demo(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the drawn scene and the pictures with boxes and masks, "
            "NAME_boxes.png and NAME_masks.png, which are replaced if they are there.",
        ),
    ] = Path("demo-output"),
    image: Annotated[
        Path | None,
        typer.Option(
            help="A picture file of your own. Default: a scene is drawn.",
            show_default=False,
        ),
    ] = None,
    scene: Annotated[
        int, typer.Option(min=0, help="Which scene of the held-out series to draw.")
    ] = 27,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            "--labels",
            "-l",
            help="A thing to look for. Default: things that are in the scene.",
            show_default=False,
        ),
    ] = None,
    preset: options.PresetName = NANO_ALIAS,
    backend: options.BackendName = None,
    dtype: options.DTypeName = options.DType.AUTO,
) -> None:
    """Caption, answers, text, boxes and masks of one picture, step by step."""
    with reported_errors():
        use_backend(backend)
        run_demo(Settings(preset, dtype), output, image, scene, labels)
