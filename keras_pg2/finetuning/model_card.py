"""The README.md of a run: what was trained on what, how good it is, how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_pg2.catalogue.released import PRESETS
from keras_pg2.files.whole_files import write_text
from keras_pg2.tasks.adapters.base import hub_name

CARD_FILE = "README.md"
_LOAD = {
    True: """
import keras_pg2

model = keras_pg2.PaliGemma2CausalLM.from_preset("{base}")
model.adapters.load("{folder}/adapter.safetensors")
model.generate({{"images": "picture.jpg", "prompts": "{prompt}"}}, strip_prompt=True)
""",
    False: """
import keras_pg2

model = keras_pg2.PaliGemma2CausalLM.from_preset("{folder}/preset")
model.generate({{"images": "picture.jpg", "prompts": "{prompt}"}}, strip_prompt=True)
""",
}


def write_model_card(
    folder: Path,
    record: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any] | None,
    prompt: str,
) -> None:
    """Writes the card of a finished run.

    Args:
        folder: of the run.
        record: as in `settings.json`: "model", "data" and "settings".
        evaluations: of the run, in their order.
        best: the one whose weights are kept; None where nothing was evaluated.
        prompt: of a row, as an example.
    """
    model, data = record["model"], record["data"]
    is_lora = model["lora"] is not None
    base = model["base"] or "a model"
    origin = [f"base_model: {hub_name(base)}", "license: gemma"]
    lines = [
        "---",
        "library_name: keras-hub",
        "pipeline_tag: image-text-to-text",
        *(origin if base in PRESETS else ()),
        "tags:",
        "- paligemma",
        "- keras_pg2",
        "---",
        "",
        f"# {folder.absolute().name}: {base}, fine-tuned",
        "",
        f"{'A LoRA adapter' if is_lora else 'All weights'} of {base}, trained by "
        "`keras-pg2 finetune`. The licence of the base applies, for released weights "
        "the [Gemma terms](https://ai.google.dev/gemma/terms).",
        "",
        "```python",
        _LOAD[is_lora]
        .format(base=base, folder=folder.name, prompt=_quoted(prompt))
        .strip(),
        "```",
        "",
        "## Data",
        "",
        f"{data['num_rows']:,} rows to train on ({data['num_skipped']:,} more could "
        f"not be used), {data['num_eval_rows']:,} to evaluate on.",
        "",
        "## Training",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {_cell(value)} |" for key, value in model.items()),
        *(f"| {key} | {_cell(value)} |" for key, value in record["settings"].items()),
        "",
    ]
    if best is not None:
        lines += [
            "## Evaluation",
            "",
            f"The weights are those of step {best['step']}, the best by "
            f"{best['metric']}.",
            "",
            f"| step | loss | token accuracy | {best['metric']} |",
            "|---|---|---|---|",
            *(
                f"| {one['step']} | {one['loss']:.4f} | {one['accuracy']:.4f} | "
                f"{one['score']:.4f} |"
                for one in evaluations
            ),
            "",
        ]
    write_text("\n".join(lines), folder / CARD_FILE)


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return escaped
