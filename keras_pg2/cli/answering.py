"""The commands `caption`, `ask` and `generate`: from pictures and prompts to texts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from keras_pg2.checks.texts import printable
from keras_pg2.cli import options
from keras_pg2.cli.inputs import (
    check_pictures,
    describe,
    find_pictures,
    read_picture,
)
from keras_pg2.cli.loading import (
    ChosenExport,
    ChosenModel,
    choose_checkpoint,
    choose_model,
)
from keras_pg2.cli.messages import (
    fail_in_part,
    notice,
    print_json,
    print_result,
    print_styled,
    progress,
)
from keras_pg2.cli.options import ModelChoice, Sampling, with_options
from keras_pg2.cli.outputs import expand_user
from keras_pg2.cli.record_files import check_record_file, print_written
from keras_pg2.start.backends import use_backend

if TYPE_CHECKING:
    from keras_pg2.deploy.runners.runner import ExportedModel
    from keras_pg2.tasks import PaliGemma2CausalLM

Language = Annotated[
    str,
    typer.Option(help="Language code of the answer.", rich_help_panel=options.ANSWERS),
]


@dataclass(frozen=True)
class Destination:
    """Where answers go.

    Attributes:
        output: File of JSON lines; None prints the answers.
        batch_size: Pictures at a time, with a file.
        as_json: Whether to print one JSON document in the end.
    """

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.jsonl",
            help="Write one JSON line an answer to this file as they come, many "
            "pictures at a time; a second call goes on where the first stopped. "
            "Default: print.",
            rich_help_panel=options.ANSWERS,
            show_default=False,
        ),
    ] = None
    batch_size: options.BatchSize = options.BATCH_SIZE
    as_json: options.AsJson = False


@with_options
def caption(
    images: options.Pictures,
    *,
    long: Annotated[
        bool, typer.Option("--long", help="A longer description (`describe`).")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Ask for each thing in the caption whether it is there, and show how "
            "probable it is.",
        ),
    ] = False,
    language: Language = "en",
    choice: ModelChoice,
    sampling: Sampling,
    destination: Destination,
) -> None:
    """Say in a sentence what is in a picture."""
    use_backend(choice.backend)
    from keras_pg2.preprocessing import prompts

    prompt = prompts.describe(language) if long else prompts.caption(language)
    if check:
        checkpoint = choose_checkpoint(choice, sampling)
        print_checked(images, prompt, checkpoint, sampling, destination)
        return
    chosen = choose_model(choice, sampling)
    print_answers(images, [(prompt, prompt)], chosen, sampling, destination)


@with_options
def ask(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE|FOLDER|QUESTION",
            help="Picture files, folders or addresses (https://...), and last the "
            "question unless --question is given.",
            show_default=False,
        ),
    ],
    *,
    question: Annotated[
        list[str] | None,
        typer.Option(
            "--question",
            "-q",
            help="A question; several may be given.",
            show_default=False,
        ),
    ] = None,
    language: Language = "en",
    choice: ModelChoice,
    sampling: Sampling,
    destination: Destination,
) -> None:
    """Answer questions about a picture."""
    paths, questions = split_question(images, question or [])
    use_backend(choice.backend)
    from keras_pg2.preprocessing import prompts

    asked = [(prompts.answer(text, language), text) for text in questions]
    chosen = choose_model(choice, sampling)
    print_answers(paths, asked, chosen, sampling, destination)


@with_options
def generate(
    prompt: Annotated[
        list[str],
        typer.Option(
            "--prompt", "-p", help="A prompt; several may be given.", show_default=False
        ),
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE|FOLDER",
            help="Picture files, folders of them, or addresses (https://...); none for "
            "text alone.",
            show_default=False,
        ),
    ] = None,
    *,
    choice: ModelChoice,
    sampling: Sampling,
    destination: Destination,
) -> None:
    """Continue a raw prompt, with a picture or without one."""
    use_backend(choice.backend)
    asked = [(text, text) for text in prompt]
    chosen = choose_model(choice, sampling)
    if not images and isinstance(chosen, ChosenExport):
        raise ValueError(
            f"Expected a picture for the exported model {chosen.title}, which has no "
            "answers without one. Received: a prompt alone. Name a picture, or take "
            "the checkpoint."
        )
    print_answers(images or [], asked, chosen, sampling, destination)


def print_checked(
    images: Sequence[Path],
    prompt: str,
    chosen: ChosenModel,
    sampling: Sampling,
    destination: Destination,
) -> None:
    """Print captions in colours, and how probable the things in them are.

    Raises:
        ValueError: if the captions are not in English, or go into a file.
    """
    if destination.output is not None or not prompt.endswith(" en"):
        raise ValueError(
            "Expected --check without --output and --language: things are found in "
            "English captions, and printed. Add --json for probabilities as data."
        )
    images, errors = check_pictures(find_pictures(images), is_drawn=False)
    model = chosen.load()
    records = []
    for answer in ask_model(model, images, [prompt], sampling):
        assert answer.image is not None
        image, name = read_picture(answer.image), describe(answer.image)
        with progress(f"Checking {name}"):
            checked = model.check_caption(image, answer.text)
        records.append({"image": name, "prompt": prompt, **checked.to_dict()})
        if destination.as_json:
            continue
        print_styled(f"{printable(name)}: " if len(images) > 1 else "", checked)
        for thing in checked.things:
            print_result(f"  {thing.probability:.3f}  {printable(thing.name)}")
    if destination.as_json:
        print_json(records)
    fail_in_part(errors, len(images) + len(errors))


class Answer(NamedTuple):
    """What the model said to one prompt about one picture (None: no picture)."""

    image: Path | None
    prompt: str
    text: str


def print_answers(
    images: Sequence[Path],
    prompts: Sequence[tuple[str, str]],
    chosen: ChosenModel | ChosenExport,
    sampling: Sampling,
    destination: Destination,
) -> None:
    """Ask and print. One answer is printed alone, several say what they are of.

    Args:
        images: Picture files and folders; none to ask without a picture.
        prompts: Each raw prompt and what it is called in the output.
        chosen: Model to ask.
        sampling: Limits, and how answers are drawn.
        destination: Prints, or writes to a file.
    """
    images = find_pictures(images)
    raw_prompts = [prompt for prompt, _ in prompts]
    if destination.output is not None:
        write_answers(
            images, raw_prompts, chosen, sampling, destination, destination.output
        )
        return
    as_json = destination.as_json
    images, errors = check_pictures(images, is_drawn=False)
    model = chosen.load()
    records = []
    answers = ask_model(model, images or [None], raw_prompts, sampling)
    for answer, (_, name) in zip(answers, cycle(prompts)):
        image = None if answer.image is None else describe(answer.image)
        records.append({"image": image, "prompt": answer.prompt, "text": answer.text})
        if as_json:
            continue
        origin = [image] if image and len(images) > 1 else []
        origin += [name] if len(prompts) > 1 else []
        print_result(": ".join([*map(printable, origin), answer.text]))
    if as_json:
        print_json(records)
    fail_in_part(errors, len(images) + len(errors))


def write_answers(
    images: Sequence[Path],
    prompts: Sequence[str],
    chosen: ChosenModel | ChosenExport,
    sampling: Sampling,
    destination: Destination,
    output: Path,
) -> None:
    """Ask every prompt about every picture and write JSON lines to `output`.

    Raises:
        ValueError: if there is no picture, or something else in the file.
        OSError: if it cannot be written.
    """
    from keras_pg2.tasks.answering.exported import predict_exported
    from keras_pg2.tasks.answering.predictions import predict

    if not images:
        raise ValueError("Expected picture files or folders together with --output.")
    check_record_file(output)
    limit = sampling.max_new_tokens
    if isinstance(chosen, ChosenExport):
        if destination.batch_size != options.BATCH_SIZE:
            notice(
                "Exported files answer one picture at a time, whatever --batch-size."
            )
        runner = chosen.load()
        done = predict_exported(runner, images, prompts, output, max_new_tokens=limit)
    else:
        done = predict(
            chosen.load(),
            images,
            prompts,
            output,
            batch_size=destination.batch_size,
            max_new_tokens=limit,
            seed=sampling.seed,
        )
    print_written(done, output, "answered", destination.as_json)


def ask_model(
    model: PaliGemma2CausalLM | ExportedModel,
    images: Sequence[Path | None],
    prompts: Sequence[str],
    sampling: Sampling,
) -> Iterator[Answer]:
    """Ask every prompt about every picture, and give each answer as it comes.

    Args:
        model: The model, or an exported one, which is asked about pictures alone.
        images: Picture files; None asks without a picture.
        prompts: Raw prompts.
        sampling: Limits and seed.

    Raises:
        ValueError: if a prompt is too long.
    """
    from keras_pg2.deploy.runners.runner import ExportedModel

    seen = model if isinstance(model, ExportedModel) else model.preprocessor
    size = None if seen is None else seen.image_size
    for i, image in enumerate(images):
        inputs: dict[str, Any] = {"prompts": list(prompts)}
        if image is not None:
            inputs["images"] = read_picture(image, size)
        count = f" ({i + 1} of {len(images)})" if len(images) > 1 else ""
        about = f" about {describe(image)}" if image else ""
        with progress(f"Answering{about}{count}"):
            if isinstance(model, ExportedModel):
                limit = sampling.max_new_tokens
                texts = model.generate_all(inputs["images"], prompts, limit)
            else:
                texts = model.generate(
                    inputs,
                    strip_prompt=True,
                    max_new_tokens=sampling.max_new_tokens,
                    seed=sampling.seed,
                )
        for prompt, text in zip(prompts, texts):
            yield Answer(image, prompt, text)


def split_question(
    arguments: Sequence[str], questions: list[str]
) -> tuple[list[Path], list[str]]:
    """Return picture files and questions; the last argument is the question by default.

    Raises:
        ValueError: if there is no question, or no picture.
    """
    if questions:
        return [Path(argument) for argument in arguments], questions
    *paths, question = arguments
    # Unlike Path.exists, this takes a text too long for a file name for no file.
    if os.path.exists(expand_user(question)):
        raise ValueError(
            f"Expected a question after the picture files, received the file or folder "
            f"{question!r} last. Write for example: keras-pg2 ask {question} "
            '"how many objects are there?"'
        )
    if not paths:
        raise ValueError(
            f"Expected a picture file and then a question, received only {question!r}. "
            'Write for example: keras-pg2 ask scene.png "how many objects are there?"'
        )
    return [Path(path) for path in paths], [question]
