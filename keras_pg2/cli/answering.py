"""From picture files and prompts to the model's answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import typer

from keras_pg2.catalogue.names import NANO_ALIAS, locate
from keras_pg2.cli.messages import notice, progress
from keras_pg2.cli.options import BATCH_SIZE, Settings
from keras_pg2.cli.outputs import expand_user

if TYPE_CHECKING:
    from keras_pg2.tasks import PaliGemma2CausalLM


class Answer(NamedTuple):
    """What the model said to one prompt about one picture (None: no picture)."""

    image: Path | None
    prompt: str
    text: str


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, and all pictures of each folder.

    Raises:
        FileNotFoundError: when there is neither a file nor a folder of that name.
        ValueError: when there is no picture in a folder.
    """
    from keras_pg2.preprocessing.image_files import check_image_file
    from keras_pg2.tasks.answering.prediction_rows import list_pictures

    found: list[Path] = []
    for path in map(expand_user, paths):
        if os.path.isdir(path):
            found.extend(list_pictures(path))
        else:
            found.append(check_image_file(path))
    return found


def write_answers(
    images: Sequence[Path],
    prompts: Sequence[str],
    settings: Settings,
    destination: Destination,
) -> None:
    """Asks every prompt about every picture and writes JSON lines.

    Raises:
        ValueError: when there is no picture, or something else in the file.
        OSError: when it cannot be written.
    """
    from keras_pg2.tasks.answering.predictions import predict
    from keras_pg2.tasks.answering.record_file import RecordFile

    output = destination.output
    assert output is not None
    if not images:
        raise ValueError("Expected picture files or folders together with --output.")
    RecordFile(output).done()
    model = load_model(settings)
    done = predict(
        model,
        images,
        prompts,
        output,
        batch_size=destination.batch_size,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
    )
    if destination.as_json:
        record = {"output": str(output), **done._asdict()}
        del record["records"]
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
        return
    parts = [f"{done.num_answered} answered"]
    if done.num_kept:
        parts.append(f"{done.num_kept} were there before")
    if done.num_failed:
        parts.append(f'{done.num_failed} not readable (see "error")')
    typer.echo(f"{', '.join(parts)}: {output}")


def check_pictures(paths: Sequence[Path]) -> list[Path]:
    """Decodes every file once, so that a bad one is told before the model loads.

    Returns:
        The paths, with `~` replaced.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a file is no picture, or damaged.
    """
    from keras_pg2.preprocessing.images import read_image

    expanded = [expand_user(path) for path in paths]
    for path in expanded:
        read_image(path)
    return expanded


def read_picture(path: Path) -> np.ndarray:
    """uint8[H, W, 3] of a file, upright, transparency over white."""
    from keras_pg2.preprocessing.images import load_rgb

    return np.round(load_rgb(path)).astype(np.uint8)


def load_model(settings: Settings) -> PaliGemma2CausalLM:
    """Loads the model and sets its sampler; says so when it is the default one.

    Raises:
        ValueError, FileNotFoundError, OSError: as `PaliGemma2CausalLM.from_preset`.
    """
    directory = locate(settings.preset)
    if settings.preset == NANO_ALIAS:
        notice(
            f"Using the bundled preset {directory.name}, which knows only drawn scenes "
            "of coloured shapes and a short text. For photographs pass --preset; "
            "`keras-pg2 presets` lists the released models."
        )
    with progress(f"Loading {directory.name}"):
        from keras_pg2.generation import Sampler
        from keras_pg2.tasks import PaliGemma2CausalLM

        sampler = Sampler(settings.temperature, settings.top_k, settings.top_p)
        model = PaliGemma2CausalLM.from_preset(
            str(directory), dtype=settings.dtype.value
        )
        model.compile(sampler=sampler)
    return model


def ask_model(
    model: PaliGemma2CausalLM,
    images: Sequence[Path | None],
    prompts: Sequence[str],
    settings: Settings,
) -> Iterator[Answer]:
    """Asks every prompt about every picture, and gives each answer as it comes.

    Args:
        model: the model.
        images: picture files; None asks without a picture.
        prompts: the raw prompts.
        settings: limits and seed.

    Raises:
        ValueError: when a prompt is too long.
    """
    for i, image in enumerate(images):
        inputs: dict[str, object] = {"prompts": list(prompts)}
        if image is not None:
            inputs["images"] = read_picture(image)
        place = f" ({i + 1} of {len(images)})" if len(images) > 1 else ""
        with progress(f"Answering{f' about {image}' if image else ''}{place}"):
            texts = model.generate(
                inputs,
                strip_prompt=True,
                max_new_tokens=settings.max_new_tokens,
                seed=settings.seed,
            )
        for prompt, text in zip(prompts, texts):
            yield Answer(image, prompt, text)


def split_question(
    arguments: Sequence[str], questions: list[str]
) -> tuple[list[Path], list[str]]:
    """Picture files and questions; the last argument is the question by default.

    Raises:
        ValueError: when there is no question, or no picture.
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


class Destination(NamedTuple):
    """Where answers go.

    Attributes:
        as_json: whether to print one JSON document in the end.
        output: a file of JSON lines; None prints the answers.
        batch_size: pictures at a time, with a file.
    """

    as_json: bool
    output: Path | None = None
    batch_size: int = BATCH_SIZE


def print_answers(
    images: Sequence[Path],
    prompts: Sequence[tuple[str, str]],
    settings: Settings,
    destination: Destination,
) -> None:
    """Asks and prints. One answer is printed alone, several say what they are of.

    Args:
        images: picture files and folders; none to ask without a picture.
        prompts: each raw prompt and what it is called in the output.
        settings: model and limits.
        destination: prints, or writes to a file.
    """
    images = find_pictures(images)
    if destination.output is not None:
        write_answers(images, [prompt for prompt, _ in prompts], settings, destination)
        return
    as_json = destination.as_json
    images = check_pictures(images)
    model = load_model(settings)
    records = []
    raw_prompts = [prompt for prompt, _ in prompts]
    answers = ask_model(model, images or [None], raw_prompts, settings)
    for answer, (_, name) in zip(answers, cycle(prompts)):
        image = None if answer.image is None else str(answer.image)
        records.append({"image": image, "prompt": answer.prompt, "text": answer.text})
        if as_json:
            continue
        origin = [image] if image and len(images) > 1 else []
        origin += [name] if len(prompts) > 1 else []
        typer.echo(": ".join([*origin, answer.text]))
    if as_json:
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
