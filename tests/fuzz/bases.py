"""A small whole file of each format, written without building a network."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.conversion.adapters.archive import FILE as ARCHIVE
from keras_pg2.conversion.adapters.archive import KeptAdapters, write_kept
from keras_pg2.conversion.adapters.files import Adapter, Base, Factors, write_adapter
from keras_pg2.conversion.adapters.peft import write_peft
from keras_pg2.conversion.convert import convert
from keras_pg2.conversion.huggingface.config import write_config
from keras_pg2.conversion.huggingface.weights import weight_rows
from keras_pg2.conversion.keras import keras_hub, weight_files
from keras_pg2.deploy.runners.files import VOCABULARY
from keras_pg2.deploy.runners.onnx import GRAPHS
from keras_pg2.preprocessing.preset_files import CALIBRATION_FILE, DECISION_FILE
from tests.support import drawn_layouts
from tests.support.tiny_vocabulary import gemma_like_proto

VISION: dict[str, Any] = {
    "image_size": 8,
    "patch_size": 4,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 12,
}
TEXT: dict[str, Any] = {
    "vocabulary_size": 24,
    "num_layers": 2,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "hidden_dim": 8,
    "intermediate_dim": 12,
    "query_pre_attn_scalar": 4,
    "attention_logit_soft_cap": 50.0,
    "final_logit_soft_cap": 30.0,
    "sliding_window": 16,
    "has_post_norms": True,
}
ARCHITECTURE = {"vision_encoder": VISION, "text_decoder": TEXT}
LAYERS = (
    "text_decoder/block_0/attention/query",
    "text_decoder/block_1/mlp/linear",
)
Write = Callable[[Path], Any]


@cache
def proto() -> bytes:
    return gemma_like_proto()


@cache
def architecture_with_words() -> dict[str, Any]:
    words = 0
    from sentencepiece import SentencePieceProcessor

    words = SentencePieceProcessor(model_proto=proto()).GetPieceSize()
    return {
        "vision_encoder": VISION,
        "text_decoder": {**TEXT, "vocabulary_size": words},
    }


def write_huggingface(folder: Path, words: bool = False) -> None:
    """A directory of the hub; with the vocabulary, a table of its length."""
    architecture = architecture_with_words() if words else ARCHITECTURE
    folder.mkdir(parents=True, exist_ok=True)
    config = write_config(architecture, "float32")
    (folder / "config.json").write_text(json.dumps(config))
    shapes, rng = variable_shapes(**architecture), np.random.default_rng(0)
    tensors = {
        row.theirs: rng.normal(size=row.stored_shape(shapes[row.ours])).astype("f4")
        for row in weight_rows(**architecture)
    }
    [table] = [key for key in tensors if key.endswith("embed_tokens.weight")]
    extra = np.zeros((64, TEXT["hidden_dim"]), np.float32)
    num_rows = architecture["text_decoder"]["vocabulary_size"]
    if len(tensors[table]) == num_rows:
        tensors[table] = np.concatenate([tensors[table], extra])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    size = {"height": 8, "width": 8}
    picture = {"size": size, "resample": 3, "image_mean": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(picture))
    if words:
        (folder / "tokenizer.model").write_bytes(proto())


def write_shards(folder: Path) -> None:
    """The same in two files with an index."""
    write_huggingface(folder)
    from safetensors.numpy import load_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for i in range(2):
        name = f"model-0000{i + 1}-of-00002.safetensors"
        part = dict(list(tensors.items())[i::2])
        save_file(part, folder / name, {"format": "pt"})
        weight_map.update(dict.fromkeys(part, name))
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_converted(to: str, name: str, words: bool = False) -> Write:
    """Return what writes a checkpoint in another format of ours."""

    def write(folder: Path) -> None:
        source = folder.parent / f"{folder.name}-source"
        write_huggingface(source, words)
        convert(source, folder / name, to, overwrite=True)

    return write


def write_preset(folder: Path) -> None:
    """A preset of ours, with a preprocessor, a note and calibrations."""
    source = folder.parent / f"{folder.name}-source"
    write_huggingface(source, words=True)
    folder.rmdir()
    convert(source, folder, "preset")
    metadata = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps({**metadata, "note": "A note."}))
    write_calibration(folder)
    write_decisions(folder)


def write_keras_shards(folder: Path) -> None:
    """A preset whose weights are in several files with an index."""
    source = folder.parent / f"{folder.name}-source"
    write_huggingface(source)
    folder.rmdir()
    most = weight_files.MAX_SHARD_BYTES
    weight_files.MAX_SHARD_BYTES = 3000
    try:
        convert(source, folder, "preset")
    finally:
        weight_files.MAX_SHARD_BYTES = most


def write_keras_hub(folder: Path) -> None:
    """A preset as KerasHub writes them."""
    config = {
        "vocabulary_size": TEXT["vocabulary_size"],
        "image_size": 8,
        "num_layers": 2,
        "num_query_heads": 2,
        "num_key_value_heads": 1,
        "hidden_dim": 8,
        "intermediate_dim": 24,
        "head_dim": 4,
        "vit_patch_size": 4,
        "vit_num_heads": 2,
        "vit_hidden_dim": 8,
        "vit_num_layers": 1,
        "vit_intermediate_dim": 12,
        "vit_pooling": None,
        "vit_classifier_activation": None,
        "layer_norm_epsilon": 1e-6,
        "dropout": 0,
        "query_head_dim_normalize": True,
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "attention_logit_soft_cap": 50.0,
        "final_logit_soft_cap": 30.0,
        "use_sliding_window_attention": True,
        "sliding_window_size": 16,
    }
    content = {
        "module": "keras_hub.src.models.pali_gemma.pali_gemma_backbone",
        "class_name": "PaliGemmaBackbone",
        "config": config,
        "registered_name": "keras_hub>PaliGemmaBackbone",
    }
    (folder / "config.json").write_text(json.dumps(content))
    converter = {"config": {"crop_to_aspect_ratio": False, "image_size": [8, 8]}}
    (folder / "image_converter.json").write_text(json.dumps(converter))
    (folder / "preprocessor.json").write_text('{"config": {"sequence_length": 32}}')
    shapes, rng = variable_shapes(**ARCHITECTURE), np.random.default_rng(0)
    with h5py.File(folder / "model.weights.h5", "w") as file:
        for row in keras_hub.weight_rows(**ARCHITECTURE):
            if row.theirs not in file:
                shape = row.stored_shape(shapes[row.ours])
                file[row.theirs] = rng.normal(size=shape).astype("f4")


def write_packed_npz(folder: Path) -> None:
    """A file of big_vision as `np.savez_compressed` writes it."""
    write_converted("npz", "model.npz")(folder)
    with np.load(folder / "model.npz") as arrays:
        packed = dict(arrays)
    np.savez_compressed(folder / "model.npz", **packed)


def write_tokenizer_json(folder: Path) -> None:
    """A directory of the hub whose vocabulary is a tokenizer.json alone.

    Without the list of added tokens in tokenizer_config.json, which transformers reads
    and the tokenizers library, the judge of the ids, does not.
    """
    source = folder.parent / f"{folder.name}-source"
    write_huggingface(source, words=True)
    folder.rmdir()
    convert(source, folder, "hf")
    (folder / "tokenizer.model").unlink(missing_ok=True)
    (folder / "tokenizer_config.json").unlink()
    (folder / "model.safetensors").unlink()


def adapter() -> Adapter:
    rng, shapes = np.random.default_rng(0), variable_shapes(**ARCHITECTURE)
    kernels = [path for path in shapes if path.endswith("/kernel")][-3:]
    layers = {}
    for path in kernels:
        inputs, outputs = shapes[path]
        a, b = rng.normal(size=(inputs, 2)), rng.normal(size=(2, outputs))
        layers[path.removesuffix("/kernel")] = Factors(
            a.astype("f4"), b.astype("f4"), 4.0
        )
    base = Base("tiny", ARCHITECTURE, {"table": "0" * 64})
    return Adapter(layers=layers, targets=("q", "v"), base=base, dropout=0.1)


def write_adapter_file(folder: Path) -> None:
    write_adapter(adapter(), folder / "adapter.safetensors")


def write_peft_directory(folder: Path) -> None:
    folder.rmdir()
    write_peft(adapter(), folder, "google/paligemma2-3b-pt-224")


def write_archive(folder: Path) -> None:
    write_kept(KeptAdapters({"one": adapter(), "two": adapter()}, "one"), folder)
    assert (folder / ARCHIVE).is_file()


def write_lora_h5(folder: Path) -> None:
    """Factors as KerasHub's `save_lora_weights` keeps them."""
    with h5py.File(folder / "factors.lora.h5", "w") as file:
        file["lora/vars/rank"] = 2
        for i, factors in enumerate(adapter().layers.values()):
            file[f"lora/{i}/vars/lora_kernel_a"] = factors.a
            file[f"lora/{i}/vars/lora_kernel_b"] = factors.b
            file[f"lora/{i}/vars/lora_alpha"] = factors.alpha


def write_calibration(folder: Path) -> None:
    content = {"bias": 0.5, "weights": [1.0, 2.0, 3.0], "fitted_on": "scenes"}
    (folder / CALIBRATION_FILE).write_text(json.dumps(content))


def write_decisions(folder: Path) -> None:
    content = {"boolean": 1.5, "yes_bias": -0.25, "choice": 2.0, "number": 0.5}
    content |= {"fitted_on": "scenes"}
    (folder / DECISION_FILE).write_text(json.dumps(content))


def write_mask_codec(folder: Path) -> None:
    from keras_pg2.codecs.mask_files import write_network
    from keras_pg2.codecs.mask_network import MaskNetwork, MaskNetworkConfig

    network = MaskNetwork(MaskNetworkConfig(8, 16, (4, 4, 8, 8)))
    write_network(network, folder / "mask_codec.npz")


def write_manifest(folder: Path) -> None:
    """What describes an exported model, whose graphs are not opened."""
    values = {
        "files": {name: f"{name}.onnx" for name in GRAPHS},
        "quantization": None,
        "cache_length": 64,
        "image_size": 8,
        "interpolation": "bicubic",
        "antialias": True,
        "separator": "\n",
        "separator_ids": [108],
        "start_token_ids": [2],
        "end_token_id": 1,
        "special_token_ids": [0, 1, 2, 3],
    }
    more = {"num_layers": 2, "cache_shape": [1, 1, 0, 4]}
    (folder / "onnx.json").write_text(json.dumps({**values, **more}))
    for name in GRAPHS:
        (folder / f"{name}.onnx").write_bytes(b"a graph")
    (folder / VOCABULARY).write_bytes(proto())


def write_references(ending: str) -> Write:
    """Return what writes references of RefCOCO as a pickle or as JSON."""
    entries = [
        {
            "ref_id": i,
            "ann_id": 100 + i,
            "image_id": i % 2,
            "split": ("train", "testA")[i % 2],
            "sentences": [{"sent": f"the red one {i}", "sent_id": i}],
        }
        for i in range(4)
    ]

    def write(folder: Path) -> None:
        json_ = json.dumps(entries).encode()
        content = json_ if ending == ".json" else pickle.dumps(entries, 2)
        (folder / f"refs{ending}").write_bytes(content)

    return write


def write_instances(folder: Path) -> None:
    """COCO's annotations with the pictures beside them."""
    drawn_layouts.write_coco(folder)
    for picture in (folder / "train2017").iterdir():
        picture.rename(folder / "annotations" / picture.name)


def write_polygons(folder: Path) -> None:
    """LabelMe's files with a polygon around each thing."""
    drawn_layouts.write_labelme(folder)
    for path in folder.glob("*.json"):
        content = json.loads(path.read_text())
        for shape in content["shapes"]:
            (x2, y2), (x1, y1) = shape["points"]
            shape["points"] = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
            shape["shape_type"] = "polygon"
        path.write_text(json.dumps(content))


def write_records(folder: Path) -> None:
    lines = [
        {"id": f"{i}.png", "image": f"{i}.png", "prompt": "caption en", "text": "a cat"}
        for i in range(5)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "answers.jsonl").write_text(text)


def write_results(folder: Path) -> None:
    """COCO's annotations and results."""
    drawn_layouts.write_coco(folder)
    results = [
        {"image_id": i, "category_id": 1, "bbox": [0, 0, 8, 8], "score": 0.5}
        for i in range(3)
    ]
    (folder / "results.json").write_text(json.dumps(results))


def write_run(folder: Path) -> None:
    """The last checkpoint of a fine-tuning run, and its log."""
    arrays = {"weights/0": np.ones((2, 3), "f4"), "random/0": np.arange(2)}
    save_file(arrays, folder / "state.safetensors")
    score = {"step": 2, "epoch": 1.0, "metric": "exact_match"}
    score |= {"loss": 0.5, "accuracy": 0.5, "score": 0.5}
    progress: dict[str, Any] = {"step": 3, "evaluations": [score], "best": score}
    progress |= {"model": {"base": "x"}, "data": {"num_rows": 9}, "settings": {"a": 1}}
    (folder / "progress.json").write_text(json.dumps(progress))
    rows = ["step,epoch,loss,accuracy,learning_rate,seconds", "1,1,0.5,0.5,0.1,2.0"]
    (folder / "log.csv").write_text("\n".join([*rows, "2,1,0.4,0.5,0.1,2.0", ""]))


def write_picture(kind: str, mode: str = "RGB", **options: Any) -> Write:
    """Return what writes a picture file."""
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (24, 40, 3), np.uint8)
    picture = Image.fromarray(levels)
    if mode == "I;16":
        picture = Image.fromarray(levels[..., 0].astype(np.uint16) * 200)
    elif mode != "RGB":
        picture = picture.convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)

    def write(folder: Path) -> None:
        (folder / "picture").write_bytes(buffer.getvalue())

    return write


def write_text_vqa(folder: Path) -> None:
    drawn_layouts.draw_pictures(folder)
    data = [
        {"question_id": i, "image_id": name, "question": "why?", "answers": ["x"] * 10}
        for i, name in enumerate(("a", "b", "c"))
    ]
    for name in ("a", "b", "c"):
        Image.open(folder / f"{name}.png").save(folder / f"{name}.jpg")
    (folder / "textvqa.json").write_text(json.dumps({"data": data}))
