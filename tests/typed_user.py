"""What type checkers know of a user's program; mypy reads it, nobody runs it."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
from PIL.Image import Image

import keras_pg2
from keras_pg2 import deploy, finetuning

model = keras_pg2.PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
assert_type(model, keras_pg2.PaliGemma2CausalLM)
picture = keras_pg2.open_image("scene.png")
assert_type(picture, Image)
pixels, several = np.zeros((84, 84, 3)), np.zeros((2, 84, 84, 3))

assert_type(model.generate("caption en"), str)
assert_type(model.generate(["caption en", "ocr"], max_new_tokens=8), list[str])
assert_type(model.generate({"images": picture, "prompts": "ocr"}), str)
assert_type(
    model.generate({"images": ["a.png", Path("b.png")], "prompts": ["ocr", "ocr"]}, 32),
    list[str],
)
assert_type(
    model.generate({"images": pixels, "prompts": "ocr"}, return_scores=True),
    keras_pg2.ScoredAnswer,
)
assert_type(
    model.generate({"images": several, "prompts": ["a", "b"]}, return_scores=True),
    list[keras_pg2.ScoredAnswer],
)
question: dict[str, object] = {"images": picture, "prompts": "ocr"}
assert_type(model.generate(question), str | list[str])
arrays = {"token_ids": np.zeros((1, 3)), "padding_mask": np.ones((1, 3))}
assert_type(model.generate(arrays), dict[str, np.ndarray])
encoded = model.encode_images(picture)
assert_type(encoded, keras_pg2.EncodedImages)
assert_type(model.generate({"images": encoded, "prompts": "ocr"}), str)

for piece in model.stream({"images": picture, "prompts": "ocr"}, seed=1):
    assert_type(piece, str)
for pieces in model.stream(["caption en"]):
    assert_type(pieces, list[str])
assert_type(
    model.choose({"images": picture, "prompts": "answer en ?"}, ["yes", "no"]),
    dict[str, float],
)

assert_type(
    model.decide(picture, ["is there a star?", keras_pg2.Question.number("when?")]),
    list[keras_pg2.Decision],
)
assert_type(model.decide(encoded, ["is there a star?"]), list[keras_pg2.Decision])
assert_type(
    model.decide("a.png", {"star": "is there a star?"}), dict[str, keras_pg2.Decision]
)
assert_type(
    model.decide([picture, picture], {"star": {"question": "is there a star?"}}),
    list[dict[str, keras_pg2.Decision]],
)
assert_type(
    model.decide(["a.png", "b.png"], [["is it day?"], ["is it night?"]]),
    list[list[keras_pg2.Decision]],
)
checked = model.check_caption(picture, "a red star")
assert_type(checked, keras_pg2.CheckedCaption)
assert_type(checked.things[0].probability, float)

assert_type(model.detect(picture, ["star"]), keras_pg2.Detections)
assert_type(model.detect(io.BytesIO(), ["star"]), keras_pg2.Detections)
assert_type(model.detect(b"", ["star"]), keras_pg2.Detections)
row: dict[str, object] = {"bytes": b"", "path": None}
assert_type(model.detect(row, ["star"]), keras_pg2.Detections)
assert_type(model.detect([row, picture], ["star"]), list[keras_pg2.Detections])
paths = ["a.png", "b.png"]
assert_type(model.detect(paths, ["star"], asked="both"), list[keras_pg2.Detections])
assert_type(model.detect(iter(paths), ["star"]), Iterator[keras_pg2.Detections])
found = model.segment("a.png", ["star"], max_overlap=0.5)
assert_type(found[:3], keras_pg2.Detections)
assert_type(found.plot("a.png"), Image)
assert_type(found, keras_pg2.Detections)
assert_type(found.boxes_xyxy, np.ndarray)
assert_type(found.masks, np.ndarray | None)
assert_type(keras_pg2.draw_detections(picture, found), Image)

rows = keras_pg2.read_jsonl("train.jsonl")
model.enable_lora(8)
model.compile(optimizer="adam")
model.fit(keras_pg2.RowBatches(rows, batch_size=8, seed=0), epochs=3)
assert_type(model.adapters.names, list[str])
assert_type(model.adapters.save("captions.safetensors"), None)
assert_type(model.save_to_preset("tuned"), None)
assert_type(keras_pg2.write_model(model, "tuned-hf", "hf"), Path)
assert_type(
    keras_pg2.estimate_memory(model, batch_size=4, text_length=64),
    keras_pg2.MemoryEstimate,
)
assert_type(
    finetuning.finetune(model, rows, rows, finetuning.Settings(epochs=1), "run"),
    finetuning.Result,
)

deploy.export_litert(model, "exported")
exported = deploy.LiteRTModel("exported")
assert_type(exported.generate("scene.png", "caption en"), str)
assert_type(exported.detect("scene.png", ["star"]), keras_pg2.Detections)
