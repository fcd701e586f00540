"""The README.md of a run: what was trained on what, how good it is, how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from keras_pg2.catalogue.released import PRESETS
from keras_pg2.checks.texts import markdown_text, python_text
from keras_pg2.conversion.adapters.files import ADAPTER_FILE
from keras_pg2.files.whole_files import write_text
from keras_pg2.tasks.adapters.base import hub_name

CARD_FILE = "README.md"
_LOAD = {
    True: """
import keras_pg2

model = keras_pg2.PaliGemma2CausalLM.from_preset({base})
model.adapters.load({adapter})
model.generate({{"images": "picture.jpg", "prompts": {prompt}}}, strip_prompt=True)
""",
    False: """
import keras_pg2

model = keras_pg2.PaliGemma2CausalLM.from_preset({preset})
model.generate({{"images": "picture.jpg", "prompts": {prompt}}}, strip_prompt=True)
""",
}
_LOCAL = ("base_path", "base_adapters")
"""What a record says of the base that means nothing on another machine."""


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
    shown = markdown_text(base)
    # On a base with adapters of its own, the folder of the run says which.
    is_beside = is_lora and not model.get("base_adapters")
    result = folder.name if is_lora else f"{folder.name}/preset"
    lines = [
        "---",
        yaml.safe_dump(_describe_for_hub(base), sort_keys=False).strip(),
        "---",
        "",
        f"# {markdown_text(folder.absolute().name)}: {shown}, fine-tuned",
        "",
        f"{'A LoRA adapter' if is_lora else 'All weights'} of {shown}, trained by "
        "`keras-pg2 finetune`. The licence of the base applies, for released weights "
        "the [Gemma terms](https://ai.google.dev/gemma/terms).",
        "",
        "```python",
        _LOAD[is_beside]
        .format(
            base=python_text(base),
            adapter=python_text(f"{folder.name}/{ADAPTER_FILE}"),
            preset=python_text(result),
            prompt=python_text(prompt),
        )
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
        *_table_lines({k: v for k, v in model.items() if k not in _LOCAL}),
        *_table_lines(record["settings"]),
        "",
    ]
    if best is not None:
        lines += [
            "## Evaluation",
            "",
            f"The weights are those of step {best['step']}, the best by "
            f"{markdown_text(best['metric'])}.",
            "",
            f"| step | loss | token accuracy | {markdown_text(best['metric'])} |",
            "|---|---|---|---|",
            *(
                f"| {one['step']} | {one['loss']:.4f} | {one['accuracy']:.4f} | "
                f"{one['score']:.4f} |"
                for one in evaluations
            ),
            "",
        ]
    write_text("\n".join(lines), folder / CARD_FILE)


def _describe_for_hub(base: str) -> dict[str, Any]:
    """Return the front matter of the card, by which the hub lists a model."""
    origin = {"base_model": hub_name(base), "license": "gemma"}
    return {
        "library_name": "keras-hub",
        "pipeline_tag": "image-text-to-text",
        **(origin if base in PRESETS else {}),
        "tags": ["paligemma", "keras_pg2"],
    }


def _table_lines(values: Mapping[str, Any]) -> list[str]:
    return [
        f"| {markdown_text(key)} | {'' if value is None else markdown_text(value)} |"
        for key, value in values.items()
    ]
