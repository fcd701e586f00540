"""What a prompt asks to be found."""

from __future__ import annotations

from keras_pg2.codecs.searching import DetectionTask
from keras_pg2.preprocessing import prompts


def labels_of(prompt: str, task: DetectionTask) -> tuple[str, ...]:
    """Return the names that a prompt asks for.

    Raises:
        ValueError: if it is no prompt of the task.
    """
    word, _, names = prompt.partition(" ")
    labels = tuple(name.strip() for name in names.split(";"))
    if word != task or not all(labels):
        raise ValueError(
            f"Expected a prompt as '{task} cat ; dog', received {prompt!r}."
        )
    getattr(prompts, task)(labels)
    return labels
