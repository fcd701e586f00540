"""The command `finetune`: from a data file to an adapter."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from keras_pg2.cli import options
from keras_pg2.cli.finetuning_choices import RANK, Files, Trained
from keras_pg2.cli.finetuning_start import run_finetuning
from keras_pg2.cli.loading import choose_checkpoint
from keras_pg2.cli.messages import INTERRUPTED, print_result
from keras_pg2.cli.options import ModelChoice, with_options
from keras_pg2.cli.outputs import expand_user
from keras_pg2.start.backends import use_backend

if TYPE_CHECKING:
    from keras_pg2.finetuning import Result, Settings

Kind = TypeVar("Kind", Files, Trained, "Settings")
DATA, TRAINING, WEIGHTS, RUN = "Data", "Training", "What is trained", "Run"


def _option(panel: str, help: str, *names: str, **kwargs: Any) -> Any:
    return typer.Option(
        *names, help=help, rich_help_panel=panel, show_default=False, **kwargs
    )


@with_options
def finetune(
    *,
    data: Annotated[
        Path,
        _option(
            DATA,
            "JSON lines of image, prefix, suffix; a CSV or TSV table of these; COCO "
            "instances; a YOLO or LabelMe folder; VQAv2 or TextVQA questions; the "
            "directory of a public data set (--format).",
            "--data",
        ),
    ],
    output: Annotated[
        Path, _option(RUN, "Directory of the run.", "--output", "-o", metavar="DIR")
    ],
    choice: ModelChoice,
    eval_data: Annotated[
        Path | None,
        _option(
            DATA,
            "A file or folder of rows to evaluate on; the val split of a data.yaml.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        _option(
            DATA, "Split of a YOLO or public data set to train on. Default: train."
        ),
    ] = None,
    eval_split: Annotated[
        str | None,
        _option(
            DATA,
            "Split to evaluate on, of --eval-data or else of --data. Default with "
            "--eval-data: val.",
        ),
    ] = None,
    eval_share: Annotated[
        float | None,
        _option(
            DATA,
            "Share of the pictures of --data to evaluate on instead; copies of a "
            "picture stay on one side.",
        ),
    ] = None,
    image_folder: Annotated[
        Path | None,
        _option(DATA, "Folder of the pictures. Default: that of the data file."),
    ] = None,
    format: Annotated[
        str | None,
        _option(
            DATA,
            "jsonl, table, coco, yolo, labelme, coco-masks, yolo-masks, labelme-masks, "
            "vqav2 or textvqa, by the file where it is left out, without masks; or the "
            "name of the public data set whose directory --data is, as docvqa, which "
            "also chooses the recipe.",
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        _option(DATA, "Answers of VQAv2. Default: the file beside the questions."),
    ] = None,
    prompt: Annotated[
        str | None,
        _option(
            DATA,
            "Prompt of rows that have none, or of questions; keys or columns of the "
            "row in braces are filled in, as {question}. Default: the recipe's.",
        ),
    ] = None,
    image_key: Annotated[
        str | None, _option(DATA, "Key or column of pictures. Default: image.")
    ] = None,
    prompt_key: Annotated[
        str | None, _option(DATA, "Key or column of prompts. Default: prefix.")
    ] = None,
    response_key: Annotated[
        str | None, _option(DATA, "Key or column of answers. Default: suffix.")
    ] = None,
    encoding: Annotated[
        str | None, _option(DATA, "Encoding of a table, as cp1252. Default: UTF-8.")
    ] = None,
    absent_share: Annotated[
        float | None,
        _option(
            DATA,
            "How often labels of COCO, YOLO or LabelMe are asked for in pictures that "
            "have none of them, in [0, 1]; 0 also leaves out pictures without objects. "
            "Default: 0.5, or 0 by a recipe of referring expressions.",
        ),
    ] = None,
    max_overhang: Annotated[
        float | None,
        _option(
            DATA,
            "Most pixels of a COCO box beyond its picture, which are cut off. Default: "
            "5, or 2 % of the longer side.",
        ),
    ] = None,
    skip_bad: Annotated[
        bool,
        _option(
            DATA, "Leave out rows that cannot be used, and count them.", "--skip-bad"
        ),
    ] = False,
    text_length: Annotated[
        int | None,
        _option(
            DATA,
            "Most tokens of prompt and answer. Default: what fits all rows, at most "
            "the recipe's.",
            min=1,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        _option(
            TRAINING,
            "Transfer task of the papers whose settings are taken, as docvqa. Default: "
            "that of the public data set, else what the papers say to try first.",
        ),
    ] = None,
    epochs: Annotated[int | None, _option(TRAINING, "Passes over the rows.")] = None,
    batch_size: Annotated[int | None, _option(TRAINING, "Rows of a step.")] = None,
    accumulate: Annotated[
        int | None, _option(TRAINING, "Steps of an update of the weights.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        _option(
            TRAINING,
            "Highest learning rate. Default: the recipe's, of LoRA x 10, and higher in "
            "a decoder narrower than the papers', by as much as it is narrower.",
        ),
    ] = None,
    label_smoothing: Annotated[
        float | None, _option(TRAINING, "In [0, 1). Default: the recipe's.")
    ] = None,
    dropout: Annotated[
        float | None,
        _option(TRAINING, "In the decoder, in [0, 1). Default: the recipe's."),
    ] = None,
    augment: Annotated[
        bool,
        _option(
            TRAINING, "Mild crops, which boxes follow, and JPEG's traces.", "--augment"
        ),
    ] = False,
    seed: Annotated[
        int,
        _option(TRAINING, "Of orders, crops, dropout and LoRA's first factors.", min=0),
    ] = 0,
    rank: Annotated[
        int | None, _option(WEIGHTS, f"Of LoRA's factors. Default: {RANK}.")
    ] = None,
    alpha: Annotated[
        float | None, _option(WEIGHTS, "LoRA's scale times rank. Default: the rank.")
    ] = None,
    targets: Annotated[
        str | None,
        _option(
            WEIGHTS,
            "Layers with LoRA, with commas between. Default: query_dense,value_dense.",
        ),
    ] = None,
    parts: Annotated[
        str | None,
        _option(
            WEIGHTS,
            "Parts with LoRA, commas between: vision_encoder, projection, text_decoder",
        ),
    ] = None,
    full: Annotated[
        bool,
        _option(
            WEIGHTS, "Train all weights, not LoRA; by default in float32.", "--full"
        ),
    ] = False,
    freeze: Annotated[
        str | None, _option(WEIGHTS, "Parts that stay as they are, as vision_encoder.")
    ] = None,
    quantize: Annotated[
        str | None,
        _option(
            WEIGHTS,
            "int8 or int4: LoRA beside kernels of whole numbers (QLoRA), to spare "
            "memory.",
        ),
    ] = None,
    cache_features: Annotated[
        bool,
        _option(
            WEIGHTS,
            "Run the vision tower, which must be frozen, once over each picture, and "
            "keep what it makes in files.",
            "--cache-features",
        ),
    ] = False,
    checkpoint_activations: Annotated[
        bool,
        _option(
            WEIGHTS,
            "Compute blocks again in backward, to spare memory.",
            "--checkpoint-activations",
        ),
    ] = False,
    metric: Annotated[
        str,
        _option(
            RUN, "exact_match, anls, relaxed_accuracy, ap50, perplexity; auto chooses."
        ),
    ] = "auto",
    eval_rows: Annotated[int, _option(RUN, "Most rows of an evaluation.")] = 200,
    eval_steps: Annotated[
        int | None, _option(RUN, "Steps between evaluations. Default: an epoch.")
    ] = None,
    patience: Annotated[
        int | None, _option(RUN, "Stop after so many evaluations without a better one.")
    ] = None,
    checkpoint_minutes: Annotated[
        float, _option(RUN, "Most minutes between checkpoints.")
    ] = 10.0,
    checkpoint_steps: Annotated[
        int | None, _option(RUN, "Most steps between checkpoints.")
    ] = None,
    resume: Annotated[
        bool, _option(RUN, "Go on with the run in --output.", "--resume")
    ] = False,
) -> None:
    """Train on your own data: an adapter, evaluated, that can go on after a stop."""
    given = locals()
    use_backend(choice.backend)
    from keras_pg2.finetuning import Settings
    from keras_pg2.finetuning.public_rows import recipe_of_format

    if recipe is None:
        given["recipe"] = recipe_of_format(format, expand_user(data))
    given |= {name: _split(given[name]) for name in ("targets", "parts", "freeze")}
    # Whole weights in bfloat16 would lose small updates, so auto is float32 there.
    is_auto = choice.dtype == options.AUTO
    result = run_finetuning(
        choose_checkpoint(choice).found,
        "float32" if full and is_auto else choice.dtype,
        _named(Files, given),
        _named(Trained, given),
        _named(Settings, given),
        expand_user(output),
        resume=resume,
        checkpoint_activations=checkpoint_activations,
    )
    if not result.is_finished:
        raise typer.Exit(INTERRUPTED)
    print_result(_summary(result))


def _named(kind: type[Kind], given: dict[str, Any]) -> Kind:
    """Return a dataclass with the options that are named as its fields are."""
    return kind(**{f.name: given[f.name] for f in fields(kind) if f.name in given})


def _split(text: str | None) -> list[str] | None:
    """Return the names in a text with commas between them; None of None."""
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]


def _summary(result: Result) -> str:
    product = result.output / "adapter.safetensors"
    shown = product if product.exists() else result.output / "preset"
    if result.best is None:
        return f"{shown}: step {result.step}, not evaluated"
    best = result.best
    return (
        f"{shown}: {best['metric']} {best['score']:.4f}, loss {best['loss']:.4f} at "
        f"step {best['step']}"
    )
