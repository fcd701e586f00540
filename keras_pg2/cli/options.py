"""The options that commands share, each described once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from keras_pg2.catalogue.names import NANO_ALIAS
from keras_pg2.checks.dtypes import POLICIES, check_dtype
from keras_pg2.cli.messages import reported_errors
from keras_pg2.start.backends import Backend

MODEL, ANSWERS = "Model", "Answers"
BATCH_SIZE = 8
AUTO = "auto"


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes a class of options field by field.

    Typer sees an option for each field of an argument that is a dataclass. Bad input,
    also to such a class, ends the command with one message.

    Args:
        command: Its annotated arguments are options, or dataclasses of these.
    """
    parameters: list[inspect.Parameter] = []
    classes: dict[str, Any] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        shown, kind = [parameter], parameter.annotation
        if is_dataclass(kind):
            classes[parameter.name] = kind
            made = inspect.signature(cast(type, kind), eval_str=True)
            shown = list(made.parameters.values())
        parameters += [each.replace(kind=each.KEYWORD_ONLY) for each in shown]

    @wraps(command)
    def run(**values: Any) -> None:
        with reported_errors():
            for name, options in classes.items():
                own = {field.name: values.pop(field.name) for field in fields(options)}
                values[name] = options(**own)
            command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _read_dtype(text: str) -> str:
    try:
        return check_dtype(text, POLICIES)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Pictures = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER",
        help="Picture files, folders of them, or addresses (https://...).",
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
BackendName = Annotated[
    Backend | None,
    typer.Option(
        help="Backend of Keras. Default: KERAS_BACKEND, else the first installed.",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]
DTypeName = Annotated[
    str,
    typer.Option(
        "--dtype",
        parser=_read_dtype,
        metavar=f"<{'|'.join(POLICIES)}>",
        help="Type of the weights; bfloat16 halves the memory. auto: bfloat16 on an "
        "accelerator, float32 on a CPU. mixed_ types store float32.",
        rich_help_panel=MODEL,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.")
]


Adapters = Annotated[
    list[Path] | None,
    typer.Option(
        "--adapter",
        metavar="ADAPTER",
        help="LoRA adapter on the model: the folder of a run, its adapter.safetensors, "
        "or a directory of PEFT. Several are taken in the order in which they were "
        "trained, each on the result of those before it. Where no model is named they "
        "go on the base that the first one knows.",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]


@dataclass(frozen=True)
class ModelChoice:
    """Which model a command uses, and on what.

    Attributes:
        preset: What the user calls it, as `find_model` takes it; None for the bundled
            model, or the base of the adapters.
        adapter: LoRA adapters on it, in their order.
        backend: Backend of Keras; None finds one.
        dtype: Dtype policy.
    """

    preset: Annotated[
        str | None,
        typer.Option(
            help="Name of a preset, Hugging Face id, hf:// or kaggle:// address, "
            "directory or file of any format that is read, the folder of a run of "
            f"finetune, an adapter, or an exported directory. Default: {NANO_ALIAS}.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None
    adapter: Adapters = None
    backend: BackendName = None
    dtype: DTypeName = AUTO


def _drawing(help: str, **kwargs: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=ANSWERS, **kwargs)


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn from a model's probabilities.

    Attributes:
        max_new_tokens: Most tokens of an answer; None for the preset's length.
        temperature: 0 takes the likeliest token.
        top_k: Number of likeliest tokens to draw among; None for all.
        top_p: Probability of the tokens to draw among; None for all.
        seed: Seed of the draws; None for a fresh one.

    Raises:
        ValueError: if an option is given that has no effect.
    """

    max_new_tokens: Annotated[
        int | None,
        _drawing(
            "Most tokens of an answer. Default: as many as the preset was made for.",
            min=1,
            show_default=False,
        ),
    ] = None
    temperature: Annotated[
        float,
        _drawing(
            "0 takes the likeliest token; 1 draws by the model's probabilities.",
            min=0.0,
        ),
    ] = 0.0
    top_k: Annotated[
        int | None,
        _drawing("Draw among the K likeliest tokens.", min=1, show_default=False),
    ] = None
    top_p: Annotated[
        float | None,
        _drawing(
            "Draw among the likeliest tokens that together reach probability P.",
            min=0.0,
            max=1.0,
            show_default=False,
        ),
    ] = None
    seed: Annotated[
        int | None,
        _drawing(
            "Seed of the draws: the same seed gives the same answers.",
            min=0,
            show_default=False,
        ),
    ] = None

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
