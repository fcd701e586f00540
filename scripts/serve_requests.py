"""Sends mixed requests to an exported SavedModel, and compares with the model.

    KERAS_BACKEND=jax python scripts/serve_requests.py prepare build/serve
    python scripts/serve_requests.py client build/serve

`prepare` exports the small preset, draws requests, and writes the model's own answers.
`client` is what a user's server would be: it imports TensorFlow and TensorFlow Text
alone. It prints how many answers are the same, how many wrong requests got an error
beside right ones in their batch, and the memory of its process.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

NUM_REQUESTS = 500
BATCH_SIZES = (1, 4, 8)
"""A SavedModel of JAX is compiled anew for each."""
PRESET = "pali_gemma2_nano_84"
MAX_NEW_TOKENS = 16
PROMPT_LENGTH = 32


def prepare(folder: Path) -> None:
    """Writes `folder/model` and `folder/requests.json`."""
    from keras_pg2 import PaliGemma2CausalLM
    from keras_pg2.deploy import export_saved_model

    model = PaliGemma2CausalLM.from_preset(PRESET, dtype="float32")
    print(
        export_saved_model(model, folder / "model", MAX_NEW_TOKENS, PROMPT_LENGTH),
        flush=True,
    )
    requests = [draw_request(index) for index in range(NUM_REQUESTS)]
    right = [request for request in requests if not request["is_wrong"]]
    for start in range(0, len(right), 8):
        group = right[start : start + 8]
        texts = model.generate(
            {
                "images": [open_picture(request["image"]) for request in group],
                "prompts": [request["prompt"] for request in group],
            },
            max_new_tokens=MAX_NEW_TOKENS,
            strip_prompt=True,
        )
        for request, text in zip(group, texts, strict=True):
            request["text"] = text
    (folder / "requests.json").write_text(json.dumps(requests))


def draw_request(index: int) -> dict[str, Any]:
    """A scene as a file and a prompt; one in ten is not to be answered.

    Args:
        index: of the request, which decides all.
    """
    import numpy as np
    from PIL import Image

    from keras_pg2.datasets import scenes

    rng = np.random.default_rng((7, index))
    scene = scenes.sample_scene(scenes.scene_generator(7, index))
    picture = Image.fromarray(scenes.render(scene, int(rng.integers(60, 400))))
    file = io.BytesIO()
    picture.save(file, ["PNG", "JPEG"][index % 2])
    data = file.getvalue()
    question = scenes.questions(scene, rng)[0].question
    prompt = ["caption en", f"answer en {question}", ""][int(rng.choice(3, p=WEIGHTS))]
    is_wrong = index % 10 == 9
    if is_wrong:
        kind = index // 10 % 4
        if kind == 0:
            prompt = "caption en " * 40
        else:
            data = [b"", b"no picture", data[: len(data) // 2]][kind - 1]
    return {
        "image": base64.b64encode(data).decode(),
        "prompt": prompt,
        "is_wrong": is_wrong,
        "text": "",
    }


WEIGHTS = (0.45, 0.45, 0.1)


def open_picture(image: str) -> Any:
    """A PIL image of base64 text."""
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(image)))


def client(folder: Path) -> None:
    """Sends all requests in batches of changing size, and prints what came back."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    requests = json.loads((folder / "requests.json").read_text())
    serve = tf.saved_model.load(str(folder / "model")).signatures["serving_default"]
    num_right = num_same = num_errors = sent = 0
    is_after_100 = False
    while sent < len(requests):
        size = BATCH_SIZES[sent // 7 % len(BATCH_SIZES)]
        batch = requests[sent : sent + size]
        if len(batch) < size:
            batch += requests[: size - len(batch)]
        answers = serve(
            image_bytes=tf.constant([base64.b64decode(r["image"]) for r in batch]),
            prompt=tf.constant([r["prompt"] for r in batch]),
        )
        rows = zip(batch, answers["text"].numpy(), answers["error"].numpy())
        for request, text, error in list(rows)[: len(requests) - sent]:
            if request["is_wrong"]:
                num_errors += bool(error) and not text
            else:
                num_right += 1
                num_same += not error and text.decode() == request["text"]
        sent += size
        if sent >= 100 and not is_after_100:
            is_after_100 = True
            print(f"resident memory after {sent} requests: {resident_mb():.0f} MB")
    num_wrong = len(requests) - num_right
    print(f"right requests with the model's answer: {num_same} of {num_right}")
    print(f"wrong requests with an error and no text: {num_errors} of {num_wrong}")
    print(f"resident memory at the end: {resident_mb():.0f} MB")


def resident_mb() -> float:
    """Of this process, in MB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise OSError("Expected /proc/self/status to have VmRSS. Received: none.")


if __name__ == "__main__":
    {"prepare": prepare, "client": client}[sys.argv[1]](Path(sys.argv[2]))
