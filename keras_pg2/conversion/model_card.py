"""The README.md of a written checkpoint."""

from __future__ import annotations

from pathlib import Path

from keras_pg2.conversion.tables.checkpoint import Checkpoint

_USE = {
    "transformers": """
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("PATH_OR_ID", dtype="auto")
processor = AutoProcessor.from_pretrained("PATH_OR_ID")
""",
    "keras-hub": """
import keras_pg2

model = keras_pg2.PaliGemma2CausalLM.from_preset("PATH_OR_URI")
model.generate({"images": "picture.jpg", "prompts": "caption en"}, strip_prompt=True)
""",
}


def write_model_card(target: Path, checkpoint: Checkpoint, library: str) -> None:
    """Write a short model card to a directory; users describe their training in it.

    The library is "transformers" or "keras-hub", the hub's `library_name`.
    """
    vision, text = (
        checkpoint.architecture[part] for part in ("vision_encoder", "text_decoder")
    )
    name = "PaliGemma 2" if text["has_post_norms"] else "PaliGemma"
    target.joinpath("README.md").write_text(
        f"""---
library_name: {library}
pipeline_tag: image-text-to-text
license: gemma
tags:
- paligemma
- keras_pg2
---

# {name}, {checkpoint.num_parameters:,} parameters

A {name} model of pictures of {vision["image_size"]} x {vision["image_size"]} pixels,
written by keras_pg2. The [Gemma terms](https://ai.google.dev/gemma/terms) apply to what
is derived from released weights.

```python
{_USE[library].strip()}
```
""",
        encoding="utf-8",
    )
