"""The cells of the official PaliGemma notebooks for Keras, on the bundled model.

Each test is a cell, as a user of it types it: "Generate PaliGemma output with Keras",
and "Fine-tune PaliGemma with Keras" for PaliGemma 1 and 2. Class, preset and pictures
are changed, and what is downloaded is made here. docs/coming_from_keras_hub.md tells
what is different.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import keras_hub
import numpy as np
import PIL.Image
import pytest

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.catalogue.names import resolve
from keras_pg2.codecs import draw_detections, parse_detections
from tests.support.keras_hub_harness import Slices, forms

ROOT = Path(__file__).parents[2]
SCENE = ROOT / "docs" / "images" / "scene.png"
CAPTION = "a purple circle, a yellow star and a purple star"
TARGET_SIZE = (224, 224)


@pytest.fixture(scope="module")
def paligemma() -> PaliGemma2CausalLM:
    return PaliGemma2CausalLM.from_preset("pali_gemma2_nano")


def crop_and_resize(image, target_size):
    """The middle square of a picture, at the size asked for."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize(target_size, box=(left, top, left + side, top + side))


@pytest.fixture(scope="module")
def cow_image(tmp_path_factory) -> np.ndarray:
    """The scene with an alpha channel and margins, read as the notebooks read it."""
    scene = PIL.Image.open(SCENE).convert("RGBA")
    wide = PIL.Image.new("RGBA", (640, 448))
    wide.paste(scene, (96, 0))
    path = tmp_path_factory.mktemp("pictures") / "cow.png"
    wide.save(path)
    image = np.array(crop_and_resize(PIL.Image.open(path), TARGET_SIZE))
    return image[:, :, :3] if image.shape[2] == 4 else image


def parse_bbox_and_labels(detokenized_output):
    """Boxes [N, (y0, x0, y1, x1)] in [0, 1] and labels, by a regular expression."""
    number = r"<loc(\d\d\d\d)>"
    pattern = number * 4 + r" (?P<label>.+?)( ;|$)"
    boxes, labels = [], []
    for match in re.finditer(pattern, detokenized_output):
        boxes.append([float(match[i]) / 1024 for i in range(1, 5)])
        labels.append(match["label"])
    return np.array(boxes), np.array(labels)


def test_backend_and_floatx_are_chosen_first(tmp_path):
    """Cells 1 to 4: environment, imports, `set_floatx`, `from_preset`, `summary`."""
    code = f"""
import os

os.environ["KERAS_BACKEND"] = "{keras.backend.backend()}"
os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = "1.00"
import keras
import keras_hub
import numpy as np
import PIL.Image
import keras_pg2

keras.config.set_floatx("bfloat16")
paligemma = keras_pg2.PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
paligemma.summary()
assert {{weight.dtype for weight in paligemma.weights}} == {{"bfloat16"}}
image = np.array(PIL.Image.open({str(SCENE)!r}))
output = paligemma.generate(inputs={{"images": image, "prompts": "caption en\\n"}})
print("output:", output)
"""
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    printed = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    ).stdout
    assert "pali_gemma2_tokenizer" in printed
    assert printed.endswith(f"output: caption en\n{CAPTION}\n")


def test_model_by_its_kaggle_address_or_name():
    """They are known here too; loading them needs a network."""
    released = resolve("pali_gemma2_mix_3b_224")
    assert released == resolve("google/paligemma2-3b-mix-224")
    address = "kaggle://keras/paligemma2/keras/pali_gemma2_mix_3b_224"
    assert address in str(resolve(address))


def test_the_other_framework_classes_read_our_directory():
    folder = str(ROOT / "presets" / "pali_gemma2_nano_84")
    model = keras_hub.models.CausalLM.from_preset(folder)
    assert type(model) is PaliGemma2CausalLM
    with pytest.raises(ValueError, match="PaliGemma2Backbone"):
        keras_hub.models.PaliGemmaCausalLM.from_preset(folder)


def test_crop_and_resize_to_an_array(cow_image):
    assert cow_image.shape == (224, 224, 3)
    assert cow_image.dtype == np.uint8


@pytest.mark.parametrize("end", ["\n", ""])
def test_caption(paligemma, cow_image, end):
    prompt = "caption en" + end
    output = paligemma.generate(inputs={"images": cow_image, "prompts": prompt})
    assert output == f"caption en\n{CAPTION}"


def test_answer_to_a_question(paligemma, cow_image):
    prompt = "answer en where is the yellow star?\n"
    output = paligemma.generate(inputs={"images": cow_image, "prompts": prompt})
    assert output == "answer en where is the yellow star?\ncenter"


def test_text_in_the_picture(paligemma, cow_image):
    output = paligemma.generate(inputs={"images": cow_image, "prompts": "ocr\n"})
    assert output == "ocr\nGPEY"


def test_caption_in_another_language(paligemma, cow_image):
    prompt = "caption es\n"
    output = paligemma.generate(inputs={"images": cow_image, "prompts": prompt})
    assert output.startswith("caption es\n")


def test_detect_and_parse(paligemma, cow_image):
    prompt = "detect purple circle ; yellow star\n"
    output = paligemma.generate(inputs={"images": cow_image, "prompts": prompt})
    boxes, labels = parse_bbox_and_labels(output)
    assert labels.tolist() == ["purple circle", "yellow star"]
    width, height = TARGET_SIZE
    ours = parse_detections(output.removeprefix(prompt), width, height)
    y0, x0, y1, x1 = boxes.T
    theirs = np.stack([x0 * width, y0 * height, x1 * width, y1 * height], axis=-1)
    # They divide by 1024, and the last of 1024 bins, 1023, is the edge.
    np.testing.assert_allclose(theirs, ours.boxes_xyxy, atol=width / 1024)


def test_display_boxes(paligemma, cow_image):
    prompt = "detect yellow star\n"
    output = paligemma.generate(inputs={"images": cow_image, "prompts": prompt})
    [[y0, x0, y1, x1]], _ = parse_bbox_and_labels(output)
    star = cow_image[int(y0 * 224) : int(y1 * 224), int(x0 * 224) : int(x1 * 224)]
    yellow = (cow_image[..., :2] > 180).all(axis=-1) & (cow_image[..., 2] < 120)
    inside = (star[..., :2] > 180).all(axis=-1) & (star[..., 2] < 120)
    assert yellow.sum() > 500
    assert inside.sum() > 0.9 * yellow.sum()


def test_segment_without_big_vision(paligemma, cow_image):
    prompt = "segment yellow star\n"
    output = paligemma.generate(inputs={"images": cow_image, "prompts": prompt})
    assert len(re.findall(r"<seg\d\d\d>", output)) == 16
    found = parse_detections(
        output.removeprefix(prompt), 224, 224, mask_codec=paligemma.mask_codec
    )
    yellow = (cow_image[..., :2] > 180).all(axis=-1) & (cow_image[..., 2] < 120)
    [mask] = found.masks
    assert (mask & yellow).sum() / (mask | yellow).sum() > 0.7
    assert draw_detections(cow_image, found).size == (224, 224)


def test_batch_of_prompts(paligemma, cow_image):
    """Prompts of different length: each answer is the one it has alone."""
    prompts = [
        "answer en where is the yellow star?\n",
        "answer en what color is the circle?\n",
        "caption en\n",
        "ocr\n",
        "detect yellow star\n",
    ]
    images = [cow_image] * len(prompts)
    outputs = paligemma.generate(inputs={"images": images, "prompts": prompts})
    assert outputs[0] == prompts[0] + "center"
    assert outputs[2] == prompts[2] + CAPTION
    assert outputs[3] == prompts[3] + "GPEY"
    assert parse_bbox_and_labels(outputs[4])[1].tolist() == ["yellow star"]
    assert "purple" in outputs[1]


def test_generated_part_alone(paligemma, cow_image):
    """What the notebooks of transformers slice off by the length of the input."""
    inputs = {"images": cow_image, "prompts": "caption en"}
    assert paligemma.generate(inputs, strip_prompt=True) == CAPTION
    assert paligemma.generate(inputs, max_new_tokens=100, strip_prompt=True) == CAPTION


# Fine-tuning.

CAPTIONS = ["two stars and a circle", "a circle, two stars", "stars", "two stars"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """A JSON lines file with the fields image, prefix and suffix; and the pictures."""
    folder = tmp_path_factory.mktemp("longcap")
    scene = PIL.Image.open(SCENE)
    lines = []
    for i, caption in enumerate(CAPTIONS):
        scene.rotate(90 * i).save(folder / f"{i}.jpg")
        lines.append({"image": f"{i}.jpg", "prefix": "", "suffix": caption})
    path = folder / "data_train90.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture(scope="module")
def train_examples(rows) -> list[dict[str, str]]:
    return [json.loads(line) for line in rows.read_text().splitlines()]


@pytest.fixture(scope="module")
def columns(rows, train_examples) -> dict[str, object]:
    """Pictures at the model's size, as arrays; without TensorFlow by Pillow."""
    pictures = [
        np.array(PIL.Image.open(rows.parent / row["image"]).resize((84, 84)))
        for row in train_examples
    ]
    return {
        "images": np.stack(pictures),
        "prompts": ["caption en\n"] * len(train_examples),
        "responses": [row["suffix"] for row in train_examples],
    }


@pytest.fixture(scope="module")
def lm() -> PaliGemma2CausalLM:
    """The model, made ready to train by the cells on LoRA, length and compile."""
    keras.utils.set_random_seed(0)  # For the first factors.
    lm = PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
    lm.backbone.enable_lora(4)
    lm.preprocessor.sequence_length = 32
    lm.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(learning_rate=3e-3),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return lm


def test_pictures_by_tf_image(rows, train_examples, tf):
    def process_image(name):
        raw = tf.io.read_file(str(rows.parent / name))
        image = tf.io.decode_jpeg(raw, channels=3)
        return tf.image.resize(image, (84, 84)).numpy()

    images = np.array([process_image(row["image"]) for row in train_examples])
    assert images.shape == (4, 84, 84, 3)
    assert images.dtype == np.float32
    assert images.max() > 1  # Levels of 0..255, as the converter takes them.


def test_lora_freezes_the_rest(lm):
    assert {variable.name for variable in lm.trainable_variables} == {
        "lora_kernel_a",
        "lora_kernel_b",
    }
    assert lm.count_params() > 20 * sum(
        np.prod(variable.shape) for variable in lm.trainable_variables
    )


def test_sequence_length_is_that_of_the_training_rows(lm, columns):
    inputs, _, _ = lm.preprocessor(columns)
    assert inputs["token_ids"].shape == (4, 32)


@pytest.mark.parametrize("form", forms("tf.data", "PyDataset"))
def test_fit(lm, columns, form):
    """Shuffled and batched by one, as in the notebook; or without TensorFlow."""
    if form == "tf.data":
        import tensorflow as tf

        train_data = tf.data.Dataset.from_tensor_slices(columns).shuffle(4).batch(1)
    else:
        train_data = Slices(columns, 1)
    history = lm.fit(train_data, epochs=2, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert history.keys() == {"loss", "sparse_categorical_accuracy"}


def test_generate_after_training(lm, columns):
    inputs = {"images": columns["images"][0], "prompts": "caption en\n"}
    base = PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
    assert base.generate(inputs) == f"caption en\n{CAPTION}"
    assert lm.generate(inputs).startswith("caption en\n")
    before, after = (
        model.generate(inputs, return_scores=True).log_probability
        for model in (base, lm)
    )
    assert after != pytest.approx(before, rel=1e-3)


def test_lora_weights_are_saved_and_loaded(lm, columns, tmp_path):
    lm.backbone.save_lora_weights(str(tmp_path / "model.lora.h5"))
    other = PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
    other.backbone.load_lora_weights(str(tmp_path / "model.lora.h5"))
    inputs = {"images": columns["images"][0], "prompts": "caption en\n"}
    assert other.generate(inputs) == lm.generate(inputs)


def test_preset_is_saved_and_loaded(lm, columns, tmp_path):
    lm.save_to_preset(str(tmp_path / "preset"))
    other = keras_hub.models.CausalLM.from_preset(str(tmp_path / "preset"))
    assert other.preprocessor.sequence_length == 32
    inputs = {"images": columns["images"][0], "prompts": "caption en\n"}
    assert other.generate(inputs) == lm.generate(inputs)


def test_blocks_of_the_docs(tmp_path, monkeypatch, capsys):
    """Every Python block of docs/coming_from_keras_hub.md runs as it stands."""
    if keras.backend.backend() != "torch":
        pytest.skip("runs on torch")
    text = (ROOT / "docs" / "coming_from_keras_hub.md").read_text("utf-8")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = []
    for block in blocks:
        exec(block, {})
        printed.append(capsys.readouterr().out)
    assert printed[0].startswith(f"caption en\n{CAPTION}\npurple circle [")
    assert "caption en\n" in printed[1]
