"""What users pass to `fit`, `generate` and `predict`, brought into one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_pg2.checks.texts import around, check_unicode
from keras_pg2.preprocessing.images import (
    holds_texts,
    is_array,
    is_picture,
    to_numpy,
)
from keras_pg2.preprocessing.prompts import ADDED_TOKENS, find_control_token

KEYS = ("images", "prompts", "responses")


class Examples(NamedTuple):
    """One entry per example in each list.

    images: None for text only; else per example one image (whatever
        `images.load_rgb` takes), or a list of M images.
    prompts: the prompt of each example.
    responses: what the answer is, or starts with; None if not given.
    is_batched: False if the user gave one prompt as `str`, so one result is due.
    """

    images: list[Any] | None
    prompts: list[str]
    responses: list[str] | None
    is_batched: bool


def normalize_examples(inputs: Any) -> Examples:
    """Read any accepted form of inputs; the caller's object is left as it is.

    Accepted are a prompt, a list of prompts, and a dict of "prompts" with optional
    "images" and "responses". A prompt given as `str` is one example, and then a list
    of images belongs to that one example, which gets one answer about all of them. With
    a list of prompts, one image alone is asked all of them; otherwise there is one
    entry of images per prompt, each an image or a list of images (also arrays `[B, H,
    W, 3]` and `[B, M, H, W, 3]`).

    Raises:
        TypeError: if a prompt or response is not text.
        ValueError: if keys are missing or unknown, the counts do not match, or a text
            is not valid Unicode or has a control token in it, such as `<eos>`.
    """
    if not isinstance(inputs, Mapping):
        inputs = {"prompts": inputs}
    check_keys(inputs)
    prompts, is_batched = _texts(inputs["prompts"], "prompts")
    if not prompts:
        raise ValueError("Expected at least one prompt, received an empty list.")
    _check_no_control_tokens(prompts, "a prompt")
    responses = inputs.get("responses")
    if responses is not None:
        responses, several = _texts(responses, "responses")
        _check_no_control_tokens(responses, "a response")
        if len(responses) != len(prompts) or several != is_batched:
            raise ValueError(
                "Expected one response per prompt, both as text or both as lists; "
                f"received {len(prompts)} prompts and {len(responses)} responses."
            )
    images = _images(inputs.get("images"), len(prompts), is_batched)
    return Examples(
        images=images, prompts=prompts, responses=responses, is_batched=is_batched
    )


def check_keys(
    inputs: Mapping[str, Any], needed: tuple[str, ...] = ("prompts",)
) -> None:
    """Raise ValueError if a key is missing, None or unknown, TypeError for no dict."""
    if not isinstance(inputs, Mapping):
        raise TypeError(
            f"Expected a dict of {', '.join(KEYS)}, received {type(inputs).__name__}."
        )
    received = ", ".join(repr(key) for key in inputs)
    for key in needed:
        if key in inputs and inputs[key] is None:
            raise ValueError(
                f"Expected {key} as text (str) or a list of texts, received None. "
                "Pass a text; it may be empty."
            )
        if key not in inputs:
            raise ValueError(
                f"Expected the key {key!r} in the inputs, received only "
                f"{received or 'none'}. Pass a dict of {', '.join(KEYS)}."
            )
    for key in inputs:
        if key not in KEYS:
            raise ValueError(
                f"Expected only the keys {', '.join(KEYS)}, received {key!r}. Rename "
                "or leave it out."
            )


def _texts(value: Any, key: str) -> tuple[list[str], bool]:
    """The texts as a list, and whether a list was given."""
    if is_array(value):
        value = to_numpy(value).tolist()
    several = isinstance(value, (list, tuple))
    texts = list(value) if several else [value]
    for i, text in enumerate(texts):
        position = f" at position {i}" if several else ""
        if isinstance(text, (str, bytes)):
            texts[i] = _valid_text(text, key, position)
        else:
            raise TypeError(
                f"Expected {key} as text (str) or a list of texts, received "
                f"{type(text).__name__}{position}."
                ' Pass for example {"images": image, "prompts": "caption en"}.'
            )
    return texts, several


def _check_no_control_tokens(texts: list[str], kind: str) -> None:
    for text in texts:
        token = find_control_token(text)
        if token is not None:
            raise ValueError(
                f"Expected {kind} without {token!r}, received {text!r:.300}. Remove "
                f"it: {ADDED_TOKENS}."
            )


def _valid_text(text: str | bytes, key: str, position: str) -> str:
    """The text as `str`, once it is sure that UTF-8 can hold it."""
    if isinstance(text, str):
        check_unicode(text, key, position)
        return str(text)
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected {key} as text or UTF-8 bytes, received {around(error)!r}"
            f"{position}, which is not UTF-8 at byte {error.start}. Decode it with the "
            "encoding it has, and pass str."
        ) from error


def _images(value: Any, num_prompts: int, is_batched: bool) -> list[Any] | None:
    if value is None:
        return None
    value = unpack_axes(value)
    if not is_batched:
        return [value]
    if not isinstance(value, list):
        return [value] * num_prompts
    if len(value) != num_prompts:
        raise ValueError(
            f"Expected one entry of images per prompt, received {len(value)} for "
            f"{num_prompts} prompts. To ask one picture several prompts, pass the "
            "picture itself, not a list of one."
        )
    if all(entry is None for entry in value):
        return None
    for i, entry in enumerate(value):
        if entry is None:
            raise ValueError(
                f"Expected an image in every example of a batch, received None at "
                f"position {i}. Batch examples without images apart."
            )
    return _of_one_number([unpack_axes(entry) for entry in value])


def _of_one_number(images: list[Any]) -> list[Any]:
    """Entries that are all one picture, or all lists of as many."""
    counts = [num_pictures(entry) for entry in images]
    for i, count in enumerate(counts):
        if count != counts[0]:
            raise ValueError(
                "Expected the same number of images in every example of a batch, "
                f"received {counts[0]} at position 0 and {count} at position {i}. "
                "Batch examples of one kind together."
            )
    if any(isinstance(entry, list) for entry in images):
        return [entry if isinstance(entry, list) else [entry] for entry in images]
    return images


def num_pictures(images: Any) -> int:
    """Return how many pictures an example has, without reading them."""
    if is_array(images) and len(images.shape) in (2, 3):
        return 1
    images = unpack_axes(images)
    if isinstance(images, list):
        return len(images)
    return 0 if images is None else 1


def unpack_axes(value: Any) -> Any:
    """Lists for tuples and for the axes before [H, W, C]; one image stays one."""
    if is_picture(value):
        return value
    if isinstance(value, tuple):
        return list(value)
    if not is_array(value):
        return value
    array = to_numpy(value)
    if holds_texts(array):  # An array of paths.
        return array.tolist()
    return list(array) if array.ndim > 3 else array
