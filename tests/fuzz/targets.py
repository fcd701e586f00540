"""The formats: what may be damaged, how it is read, and what judges the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sentencepiece

from keras_pg2.codecs.detection_scores import ScoreCalibration
from keras_pg2.codecs.exchange import from_coco_dataset
from keras_pg2.codecs.mask_files import read_network
from keras_pg2.conversion.adapters.archive import read_kept
from keras_pg2.conversion.adapters.files import read_adapter
from keras_pg2.conversion.adapters.peft import read_peft
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.datasets.refcoco import read_references
from keras_pg2.deploy.runners.onnx import ONNXModel
from keras_pg2.files.json_files import load_json
from keras_pg2.finetuning import checkpoints
from keras_pg2.finetuning.data_files import read_rows
from keras_pg2.finetuning.logs import read_log
from keras_pg2.metrics.coco_results import coco_file_average_precision
from keras_pg2.modeling import lora_files
from keras_pg2.preprocessing.images import load_rgb
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from keras_pg2.tasks.answering.record_file import RecordFile
from keras_pg2.tasks.deciding.calibration import DecisionCalibration
from tests.fuzz import bases, oracles
from tests.fuzz.containers import (
    change_hdf5,
    change_npz,
    change_png,
    change_safetensors,
    change_sentencepiece,
)
from tests.fuzz.mutations import (
    Mutation,
    change_bytes,
    change_json,
    change_json_lines,
    change_text,
)
from tests.support import drawn_layouts


class Format(NamedTuple):
    """A format of files.

    Attributes:
        write: Writes a whole one into an empty folder.
        read: Reads it from its folder; what comes is compared with that of others.
        damage: Mutation of each file that may be damaged, by its path in the folder.
        compare: Returns what its own library reads otherwise; None without one.
        share: Part of all inputs, among those of the other formats.
        names_file: Whether its reader knows the path of the file.
        opens_pictures: Whether its reader opens the pictures that it names, which may
            be anywhere: it is the user's own list of pictures.
    """

    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    damage: Mapping[str, Mutation]
    compare: Callable[[Path, Any], str | None] | None = None
    share: float = 1.0
    names_file: bool = True
    opens_pictures: bool = False


def _open(path: Path, with_weights: bool = True) -> dict[str, Any]:
    """Everything that a checkpoint says, and all tensors as they are in the file."""
    checkpoint = open_checkpoint(path, with_weights=with_weights)
    source = checkpoint.source
    names = getattr(source, "names", {})
    said = checkpoint.preprocessing
    return {
        "architecture": checkpoint.architecture,
        "said": (said.tokenizer, said.sequence_length, said.interpolation),
        "antialias": said.antialias,
        "tensors": {
            names.get(key, key): source.read(key) for key in list(source.keys())
        },
    }


def _inside(name: str, folder: Path) -> Any:
    return _open(folder / name)


def _ids(folder: Path) -> Any:
    checkpoint = open_checkpoint(folder, with_weights=False)
    processor = sentencepiece.SentencePieceProcessor(
        model_proto=checkpoint.preprocessing.tokenizer
    )
    return {"ids": [processor.EncodeAsIds(text) for text in oracles.SENTENCES]}


def _vocabulary(folder: Path) -> Any:
    tokenizer = PaliGemma2Tokenizer(folder / "tokenizer.model")
    return [tokenizer(text) for text in oracles.SENTENCES]


def _preprocessor(folder: Path) -> Any:
    preprocessor = PaliGemma2CausalLMPreprocessor.from_preset(str(folder))
    config = preprocessor.get_config()
    return repr({key: config[key] for key in sorted(config) if key != "dtype"})


def _rows(name: str, kind: str | None, folder: Path) -> Any:
    def encode_mask(mask: np.ndarray, *box: Any) -> str:
        return "<seg000>" * 16

    path = folder / name if name else folder
    return list(read_rows(path, format=kind, encode_mask=lambda: encode_mask))


class _Described(ONNXModel):
    """An exported model whose graphs are not opened."""

    def _open(self, path: Path, options: Any) -> Any:
        return path.read_bytes()


def _exported(folder: Path) -> Any:
    model = _Described(folder)
    return [model.manifest, model.tokenize("caption en"), model.detokenize([5, 6])]


def _coco_dataset(folder: Path) -> Any:
    content = load_json(folder / "annotations" / "instances_train2017.json")
    return [repr(picture) for picture in from_coco_dataset(content)]


def _scores(folder: Path) -> Any:
    path = folder / "annotations" / "instances_train2017.json"
    return repr(coco_file_average_precision(path, folder / "results.json"))


def _run(folder: Path) -> Any:
    arrays = checkpoints._read_arrays(folder)
    return [checkpoints.read_progress(folder), arrays, read_log(folder / "log.csv")]


def _mask_codec(folder: Path) -> Any:
    network = read_network(folder / "mask_codec.npz")
    return [np.asarray(v) for v in network.get_weights()]


def _pixels(folder: Path) -> Any:
    return load_rgb(folder / "picture")


def _lora(folder: Path) -> Any:
    return lora_files._read(folder / "factors.lora.h5")


def _decisions(folder: Path) -> Any:
    path = folder / bases.DECISION_FILE
    return DecisionCalibration.from_bytes(path.read_bytes(), path)


def _refs(ending: str, folder: Path) -> Any:
    return read_references(folder / f"refs{ending}")


def _picture(kind: str, mode: str = "RGB", **options: Any) -> Format:
    change = change_png if kind == "PNG" else change_bytes
    write = bases.write_picture(kind, mode, **options)
    return Format(write, _pixels, {"picture": change}, share=0.4)


_TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\1\0\0\0\6\0\0\0\0\0\0\0"
_WEIGHTS = {"model.safetensors": change_safetensors}
_NPZ, _SBS = bases.write_converted("npz", "model.npz"), bases.write_converted
_CONFIGS = dict.fromkeys(("config.json", "preprocessor_config.json"), change_json)
_PRESET = ("config.json", "metadata.json")
_PARTS = (
    *("config.json", "metadata.json", "task.json", "preprocessor.json"),
    *("tokenizer.json", "image_converter.json"),
    *("detection_scores.json", "decisions.json"),
)
_VQA = "v2_OpenEnded_mscoco_train2014_questions.json"

FORMATS: dict[str, Format] = {
    "safetensors": Format(
        bases.write_huggingface, _open, _WEIGHTS, oracles.compare_safetensors, 3
    ),
    "safetensors-index": Format(
        bases.write_shards,
        _open,
        {
            "model.safetensors.index.json": change_json,
            "model-00001-of-00002.safetensors": change_safetensors,
        },
        oracles.compare_safetensors,
        2,
    ),
    "huggingface-config": Format(
        bases.write_huggingface, _open, _CONFIGS, oracles.compare_transformers, 3
    ),
    "huggingface-description": Format(
        bases.write_huggingface,
        partial(_open, with_weights=False),
        _CONFIGS,
        oracles.compare_transformers,
        3,
    ),
    "tokenizer-json": Format(
        bases.write_tokenizer_json,
        _ids,
        {"tokenizer.json": change_json},
        oracles.compare_tokenizers,
        0.3,
    ),
    "tokenizer-model": Format(
        lambda folder: (folder / "tokenizer.model").write_bytes(bases.proto()),
        _vocabulary,
        {"tokenizer.model": change_sentencepiece},
        share=0.5,
    ),
    "preset-config": Format(
        bases.write_preset, _open, dict.fromkeys(_PRESET, change_json), None, 2
    ),
    "preset-parts": Format(
        bases.write_preset, _preprocessor, dict.fromkeys(_PARTS, change_json), None, 0.5
    ),
    "preset-h5": Format(
        bases.write_converted("preset", "preset"),
        partial(_inside, "preset"),
        {"preset/model.weights.h5": change_hdf5},
        lambda folder, result: oracles.compare_hdf5(folder / "preset", result),
        1,
    ),
    "preset-shards": Format(
        bases.write_keras_shards,
        _open,
        {"model.weights.json": change_json, "model_00000.weights.h5": change_hdf5},
        oracles.compare_hdf5,
        1,
    ),
    "keras-hub": Format(
        bases.write_keras_hub,
        _open,
        dict.fromkeys(
            ("config.json", "preprocessor.json", "image_converter.json"), change_json
        ),
        oracles.compare_hdf5,
        2,
    ),
    "npz": Format(
        _NPZ,
        partial(_inside, "model.npz"),
        {"model.npz": change_npz},
        oracles.compare_npz,
        2,
    ),
    "npz-packed": Format(
        bases.write_packed_npz,
        partial(_inside, "model.npz"),
        {"model.npz": change_npz},
        oracles.compare_npz,
        0.5,
    ),
    "sbs": Format(
        bases.write_converted("sbs", "model.sbs", words=True),
        partial(_inside, "model.sbs"),
        {"model.sbs": change_bytes},
        None,
        1,
    ),
    "adapter": Format(
        bases.write_adapter_file,
        lambda folder: read_adapter(folder / "adapter.safetensors"),
        {"adapter.safetensors": change_safetensors},
        oracles.compare_adapter,
        3,
    ),
    "peft": Format(
        bases.write_peft_directory,
        lambda folder: read_peft(folder, bases.ARCHITECTURE),
        {
            "adapter_config.json": change_json,
            "adapter_model.safetensors": change_safetensors,
        },
        None,
        3,
    ),
    "adapter-archive": Format(
        bases.write_archive, read_kept, {bases.ARCHIVE: change_safetensors}, None, 2
    ),
    "lora-h5": Format(
        bases.write_lora_h5, _lora, {"factors.lora.h5": change_hdf5}, None, 1
    ),
    "calibration": Format(
        bases.write_calibration,
        ScoreCalibration.from_directory,
        {bases.CALIBRATION_FILE: change_json},
        None,
        2,
    ),
    "decisions": Format(
        bases.write_decisions,
        _decisions,
        {bases.DECISION_FILE: change_json},
        None,
        2,
    ),
    "mask-codec": Format(
        bases.write_mask_codec, _mask_codec, {"mask_codec.npz": change_npz}, None, 0.1
    ),
    "manifest": Format(
        bases.write_manifest, _exported, {"onnx.json": change_json}, None, 2
    ),
    "coco": Format(
        bases.write_instances,
        partial(_rows, "annotations/instances_train2017.json", "coco-masks"),
        {"annotations/instances_train2017.json": change_json},
        None,
        2,
        opens_pictures=True,
    ),
    "coco-dataset": Format(
        drawn_layouts.write_coco,
        _coco_dataset,
        {"annotations/instances_train2017.json": change_json},
        names_file=False,
    ),
    "coco-results": Format(
        bases.write_results,
        _scores,
        dict.fromkeys(
            ("results.json", "annotations/instances_train2017.json"), change_json
        ),
        None,
        0.5,
    ),
    "labelme": Format(
        bases.write_polygons,
        partial(_rows, "", "labelme-masks"),
        {"a.json": change_json},
        None,
        2,
        opens_pictures=True,
    ),
    "yolo": Format(
        drawn_layouts.write_yolo,
        partial(_rows, "data.yaml", "yolo"),
        {"data.yaml": change_text, "train/labels/a.txt": change_text},
        None,
        1,
    ),
    "jsonl": Format(
        drawn_layouts.write_roboflow_jsonl,
        partial(_rows, "_annotations.train.jsonl", "jsonl"),
        {"_annotations.train.jsonl": change_json_lines},
        None,
        2,
    ),
    "table": Format(
        drawn_layouts.write_excel_csv,
        partial(_rows, "train.csv", "table"),
        {"train.csv": change_text},
        None,
        2,
    ),
    "vqa": Format(
        drawn_layouts.write_vqa,
        partial(_rows, _VQA, "vqav2"),
        dict.fromkeys((_VQA, "v2_mscoco_train2014_annotations.json"), change_json),
        None,
        2,
    ),
    "textvqa": Format(
        bases.write_text_vqa,
        partial(_rows, "textvqa.json", "textvqa"),
        {"textvqa.json": change_json},
        None,
        2,
    ),
    "refcoco": Format(
        bases.write_references(".json"),
        partial(_refs, ".json"),
        {"refs.json": change_json},
        None,
        2,
    ),
    "refcoco-pickle": Format(
        bases.write_references(".p"),
        partial(_refs, ".p"),
        {"refs.p": change_bytes},
        None,
        2,
    ),
    "records": Format(
        bases.write_records,
        lambda folder: dict(RecordFile(folder / "answers.jsonl").done()),
        {"answers.jsonl": change_json_lines},
        None,
        2,
    ),
    "run": Format(
        bases.write_run,
        _run,
        {
            "state.safetensors": change_safetensors,
            "progress.json": change_json,
            "log.csv": change_text,
        },
        None,
        2,
    ),
    "png": _picture("PNG"),
    "png-palette": _picture("PNG", "P", transparency=3),
    "png-16": _picture("PNG", "I;16"),
    "jpeg": _picture("JPEG", exif=_TURNED),
    "tiff": _picture("TIFF", compression="tiff_lzw"),
    "gif": _picture("GIF"),
    "webp": _picture("WEBP"),
    "bmp": _picture("BMP"),
    "ppm": _picture("PPM"),
}
"""All formats by name."""
