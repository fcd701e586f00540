"""Checks of a runner's prompts and pictures, with the messages of the model.

Needs numpy and Pillow; no Keras.
"""

from __future__ import annotations

from keras_pg2.preprocessing.examples import normalize_examples
from keras_pg2.preprocessing.images import ImageInput


def check_prompt(prompt: str) -> str:
    """Return a prompt that the model takes too.

    Raises:
        TypeError: if it is not text.
        ValueError: if it contains `<image>` or invalid Unicode.
    """
    if not isinstance(prompt, str):
        raise TypeError(
            f"Expected a prompt as text, one at a time. Received: {prompt!r}."
        )
    [text] = normalize_examples(prompt).prompts
    return text


def check_image(image: ImageInput) -> ImageInput:
    """Raises TypeError for the bytes of a file, which would be taken for its name."""
    if isinstance(image, bytes | bytearray):
        raise TypeError(
            "Expected image as a path, a PIL image or an array. Received: "
            f"{type(image).__name__}. Open the bytes of a file with "
            "PIL.Image.open(io.BytesIO(...)) first."
        )
    return image
