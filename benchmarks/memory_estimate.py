"""`keras_pg2.estimate_memory` beside what a training step takes.

    python -m benchmarks.memory_estimate            # 290M parameters, five settings
    python -m benchmarks.memory_estimate --settings lora

Each setting is measured in a process of its own, on JAX:

- analysis_gb: arguments, results and temporaries of the compiled step, as XLA tells
  (beside the estimate without its part `runtime`);
- process_gb: the peak of resident memory in two steps above what there was before the
  model, in the first of which the compiler runs (Linux).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.sides import SHAPES, architecture_of
from benchmarks.train import forget_peak, memory
from benchmarks.training_sides import make_rows

SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora_checkpointed": {"checkpointed": True, "batch_size": 8},
    "lora_decoder_448px": {
        "parts": ["text_decoder"],
        "image_size": 448,
        "batch_size": 1,
    },
    "qlora_int8_text_256": {"quantized": "int8", "text_length": 256, "batch_size": 2},
    "full_batch_2": {"rank": None, "batch_size": 2},
}
"""What differs from LoRA of rank 8, float32, batches of 4, texts of 64 tokens."""


def measure(setting: dict[str, Any], shape: str) -> dict[str, float]:
    """Estimate and measurements of a setting, in this process."""
    import jax
    import keras

    from keras_pg2 import PaliGemma2Backbone, PaliGemma2CausalLM, estimate_memory

    architecture = architecture_of(shape)
    if "image_size" in setting:
        vision = {**architecture["vision_encoder"], "image_size": setting["image_size"]}
        architecture = {**architecture, "vision_encoder": vision}
    batch_size, length = setting.get("batch_size", 4), setting.get("text_length", 64)
    jax.block_until_ready(jax.numpy.zeros(3) + 1)
    before = memory("VmRSS")
    model = PaliGemma2CausalLM(PaliGemma2Backbone(**architecture))
    if setting.get("quantized"):
        model.quantize(setting["quantized"])
    if setting.get("rank", 8) is not None:
        model.enable_lora(setting.get("rank", 8), parts=setting.get("parts"))
    if setting.get("checkpointed"):
        model.backbone.checkpoint_activations = ("vision_encoder", "text_decoder")
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    estimate = estimate_memory(model, batch_size, length)
    rows = tuple(make_rows(architecture, batch_size, length, length // 2))
    gc.collect()
    forget_peak()
    keras.Model.fit(model, *rows[:2], batch_size, 2, 0, sample_weight=rows[2])
    process = memory("VmHWM") - before
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state, data = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
        (tuple([v.value for v in each] for each in variables), rows),
    )
    step = jax.jit(model.train_step, donate_argnums=0).lower(state, data).compile()
    found = step.memory_analysis()
    analysis = found.argument_size_in_bytes + found.temp_size_in_bytes
    analysis += found.output_size_in_bytes - found.alias_size_in_bytes
    print(estimate, file=sys.stderr)
    return {
        "estimate_gb": estimate.total / 1e9,
        "runtime_gb": estimate.runtime / 1e9,
        "analysis_gb": analysis / 1e9,
        "process_gb": process / 1e9,
        "temporaries_gb": found.temp_size_in_bytes / 1e9,
    }


def main() -> None:
    """Measures all settings in turn and prints a table; --output keeps it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="290m")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(SETTINGS[args.child], args.shape)))
        return
    print(f"{'setting':22}{'estimate':>10}{'analysis':>16}{'process':>16}   GB (ratio)")
    record: dict[str, Any] = {"shape": args.shape, "settings": {}}
    for name in args.settings.split(","):
        command = [sys.executable, "-m", "benchmarks.memory_estimate"]
        command += ["--shape", args.shape, "--child", name]
        environment = {**os.environ, "KERAS_BACKEND": "jax"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE)
        if done.returncode:
            sys.exit(f"{name} failed")
        each = json.loads(done.stdout.splitlines()[-1])
        record["settings"][name] = each
        whole = each["estimate_gb"]
        beside = {"analysis_gb": whole - each["runtime_gb"], "process_gb": whole}
        cells = "".join(
            f"{each[key]:9.3f} ({estimate / each[key]:.2f})"
            for key, estimate in beside.items()
        )
        print(f"{name:22}{each['estimate_gb']:10.3f}{cells}", flush=True)
    if args.output is not None:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
