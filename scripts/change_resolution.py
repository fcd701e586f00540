"""Write a preset for larger or smaller pictures, with the weights of another.

    python scripts/change_resolution.py pali_gemma2_nano 168 nano_168/

All weights stay but the table of positions, a grid that is stretched, as big_vision
does it (models/vit.py, resample_posemb) where a released checkpoint of 224 pixels goes
on to 448. It has to be trained on: a patch shows more or less than it has shown. The
mask codec and the calibrations, which are of the old answers, are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from keras import ops

from keras_pg2 import (
    PaliGemma2Backbone,
    PaliGemma2CausalLM,
    PaliGemma2CausalLMPreprocessor,
    PaliGemma2ImageConverter,
)


def change_resolution(model: PaliGemma2CausalLM, pixels: int) -> PaliGemma2CausalLM:
    """Return a model of the same weights for pictures of `pixels` x `pixels`.

    Raises:
        ValueError: if `pixels` is no multiple of the patch.
    """
    config = model.backbone.get_config()
    config["vision_encoder"] = {**config["vision_encoder"], "image_size": pixels}
    backbone = PaliGemma2Backbone.from_config(config)
    for old, new in zip(model.backbone.weights, backbone.weights, strict=True):
        is_positions = "position_embedding" in new.path
        new.assign(_stretch(old, new.shape[0]) if is_positions else old)
    converter = model.preprocessor.image_converter.get_config()
    return PaliGemma2CausalLM(
        backbone=backbone,
        preprocessor=PaliGemma2CausalLMPreprocessor(
            model.preprocessor.tokenizer,
            PaliGemma2ImageConverter.from_config({**converter, "image_size": pixels}),
            sequence_length=model.preprocessor.sequence_length,
        ),
    )


def _stretch(positions, count: int):
    """Return float[count, hidden] of float[n, hidden], both square grids by rows."""
    old, new = (round(length**0.5) for length in (positions.shape[0], count))
    grid = ops.reshape(positions, (old, old, -1))
    grid = ops.image.resize(grid, (new, new), interpolation="bilinear")
    return ops.reshape(grid, (count, -1))


def main(
    preset: Annotated[str, typer.Argument(help="Name or directory.")],
    pixels: Annotated[int, typer.Argument(help="Height and width of pictures.")],
    output: Annotated[Path, typer.Argument(help="Directory to write.")],
) -> None:
    """Write a preset for pictures of another size."""
    model = PaliGemma2CausalLM.from_preset(preset)
    change_resolution(model, pixels).save_to_preset(output)
    print(f"{output}: {pixels} pixels, to be trained on")


if __name__ == "__main__":
    typer.run(main)
