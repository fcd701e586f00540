"""A file that LiteRT-LM itself runs, against the model."""

from __future__ import annotations

import litert_lm
import numpy as np
import pytest
from PIL import Image

from keras_pg2.deploy import export_litertlm
from tests.support.tiny_models import random_task


def test_litert_lm_answers_as_the_model(tmp_path):
    task = random_task(
        8, vision_layers=2, num_layers=2, hidden_dim=64, intermediate_dim=96
    )
    path = tmp_path / "model.litertlm"
    comparison = export_litertlm(task, path, prefill_length=12, cache_length=40)
    assert comparison.num_same_choice == comparison.num_tokens
    assert comparison.largest_difference < 2e-4 * comparison.largest_logit
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (28, 28, 3)).astype("uint8")
    Image.fromarray(picture).save(tmp_path / "picture.png")
    litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
    cpu = litert_lm.Backend.CPU()
    with litert_lm.Engine(str(path), backend=cpu, vision_backend=cpu) as engine:
        for prompt in ("caption en", "a red ball"):
            content = [
                {"type": "image", "path": str(tmp_path / "picture.png")},
                {"type": "text", "text": prompt},
            ]
            with engine.create_conversation() as conversation:
                message = {"role": "user", "content": content}
                answer = conversation.send_message(message)
            text = "".join(part.get("text", "") for part in answer["content"])
            wanted = task.generate(
                {"images": picture, "prompts": prompt},
                strip_prompt=True,
                max_new_tokens=24,
            )
            # LiteRT-LM leaves out a newline at the beginning of an answer.
            text, wanted = text.lstrip("\n"), wanted.lstrip("\n")
            assert len(text) > 20
            assert wanted.startswith(text) or text.startswith(wanted)


def test_errors_come_before_work(tmp_path):
    task = random_task()
    path = tmp_path / "model.litertlm"
    with pytest.raises(ValueError, match="float16, int8, int4"):
        export_litertlm(task, path, "int2")
    with pytest.raises(ValueError, match="prefill_length"):
        export_litertlm(task, path, prefill_length=2)
    path.write_text("another's")
    with pytest.raises(FileExistsError):
        export_litertlm(task, path)
    assert path.read_text() == "another's"
