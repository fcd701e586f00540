"""Exported files run in a process where Keras and its backends cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np


def generate_without_keras(
    runner: str, directory: Path, picture: np.ndarray, prompt: str, max_new_tokens: int
) -> str:
    """Return the answer of a class of `keras_pg2.deploy.runners` on uint8[h, w, 3]."""
    code = f"""
import json, sys
blocked = {{"keras", "keras_hub", "tensorflow", "jax", "torch", "onnx"}}
blocked.add("huggingface_hub")

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
import numpy as np
from keras_pg2 import deploy
from keras_pg2.deploy.runners import {runner}
assert deploy.{runner} is {runner}
model = {runner}({str(directory)!r}, num_threads=1)
picture = np.frombuffer(bytes.fromhex({picture.tobytes().hex()!r}), np.uint8)
picture = picture.reshape({picture.shape})
print(json.dumps(model.generate(picture, {prompt!r}, {max_new_tokens})))
assert not blocked & set(sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])
