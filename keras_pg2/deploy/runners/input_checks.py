"""Checks of a runner's prompts, with the messages of the model.

Needs numpy and Pillow; no Keras.
"""

from __future__ import annotations

from keras_pg2.preprocessing.examples import normalize_examples


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
