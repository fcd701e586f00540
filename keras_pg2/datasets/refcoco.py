"""RefCOCO, RefCOCO+ and RefCOCOg: an expression, and the one thing it refers to.

The official layout is a pickle of references, `refs(unc).p` or `refs(umd).p`, beside
the boxes and masks in `instances.json`, a COCO file (github.com/lichengunc/refer). The
same list is found as JSON. A reference names an annotation and has several sentences:

    {"ref_id": 1, "ann_id": 11, "image_id": 7, "split": "train",
     "sentences": [{"sent": "left dog"}, {"sent": "dog with a ball"}], ...}

PaliGemma's transfer (arXiv:2407.07726 appendix B.22; big_vision `refcoco_seg.py`) asks
the bare expression, without "segment", and answers four `<loc....>` and sixteen
`<seg...>` tokens, without a name. It joined the three data sets and left pictures of
the other splits out of the training split (big_vision `datasets/refcoco/refcoco.py`),
which `join_references` does too.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_pg2.checks.texts import printable, shown
from keras_pg2.codecs.detections import Detections
from keras_pg2.datasets.coco import CocoFile
from keras_pg2.datasets.coco_entries import CocoAnnotation, CocoId
from keras_pg2.datasets.coco_pictures import find_images
from keras_pg2.datasets.detection_rows import EncodeMask, instance_text
from keras_pg2.datasets.rows import Row
from keras_pg2.files.json_files import load_json, read_file

# Python 2 wrote the official files and had other names for the builtin module.
_BUILTIN_MODULES = ("builtins", "__builtin__")
_ADMITTED_NAMES = ("set", "frozenset", "complex")


class Reference(NamedTuple):
    """A thing in a picture and what people called it.

    id: "ref_id" of the file.
    annotation_id: of the COCO file.
    image_id: likewise.
    split: "train", "val", "test", "testA" or "testB".
    sentences: the expressions, without space around them; none is empty.
    """

    id: CocoId
    annotation_id: CocoId
    image_id: CocoId
    split: str
    sentences: tuple[str, ...]


def read_references(path: str | Path) -> tuple[Reference, ...]:
    """Reads `refs(....).p` or a JSON list of the same entries.

    Pickles can run any code when they are loaded. This reader admits texts, numbers
    and builtin containers alone. Sentences without a word are left out.

    Args:
        path: a file whose name ends in `.json`; any other is read as a pickle.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is damaged, holds anything else, or a key is missing;
            names the file and the reference.
    """
    path = Path(path)
    content = load_json(path) if path.suffix.lower() == ".json" else _read_pickle(path)
    if not isinstance(content, (list, tuple)):
        raise ValueError(
            f"Expected a list of references in {path}, received "
            f"{type(content).__name__}. Boxes and masks are in instances.json, which "
            "read_coco reads."
        )
    found: dict[CocoId, Reference] = {}
    for i, entry in enumerate(content):
        reference = _reference(entry, i, path)
        if reference.id in found:
            raise ValueError(
                f"{path}: reference {reference.id!r}: expected every ref_id once, "
                "received it twice."
            )
        found[reference.id] = reference
    return tuple(found.values())


def join_references(sets: Iterable[Sequence[Reference]]) -> tuple[Reference, ...]:
    """Several data sets as one, in which no training picture is in another split.

    "testA" and "testB" become "test". Ids of references may occur more than once.
    """
    joined = [reference for references in sets for reference in references]
    held_out = {r.image_id for r in joined if r.split != "train"}
    return tuple(
        r._replace(split="test" if r.split in ("testA", "testB") else r.split)
        for r in joined
        if r.split != "train" or r.image_id not in held_out
    )


def refcoco_rows(
    references: Sequence[Reference],
    coco: CocoFile,
    image_folder: str | Path,
    encode_mask: EncodeMask,
    split: str = "train",
) -> Iterator[Row]:
    """One row per expression: `{"images", "prompts", "responses"}`.

    Args:
        references: of `read_references` or `join_references`.
        coco: `instances.json`, with the boxes and masks.
        image_folder: the folder that its file names are in; only pictures of the
            split need to be there.
        encode_mask: gives the sixteen `<seg...>` tokens of a mask bool[H, W] within a
            box_xyxy float[4] in pixels.
        split: which references to take.

    Raises:
        FileNotFoundError: when a picture is not there; before the first row.
        ValueError: when the split is unknown or a reference does not fit the COCO
            file, before the first row; when a mask cannot be encoded.
    """
    pairs = of_split(references, coco, split)
    paths = find_images(coco, image_folder, {item.image_id for _, item in pairs})

    def rows() -> Iterator[Row]:
        for reference, item in pairs:
            response = instance_text(coco, item, encode_mask)
            for sentence in reference.sentences:
                yield {
                    "images": str(paths[item.image_id]),
                    "prompts": sentence,
                    "responses": response,
                }

    return rows()


def refcoco_truths(
    references: Sequence[Reference], coco: CocoFile, split: str = "val"
) -> Iterator[Detections]:
    """What each row of `refcoco_rows` refers to, in the same order, with its mask.

    Raises:
        ValueError: as `refcoco_rows`.
    """
    pairs = of_split(references, coco, split)

    def truths() -> Iterator[Detections]:
        for reference, item in pairs:
            truth = coco.as_detections([item], "masks")
            for _ in reference.sentences:
                yield truth

    return truths()


class _PlainUnpickler(pickle.Unpickler):
    """Reads values that have no code of their own."""

    def find_class(self, module: str, name: str) -> Any:
        if module in _BUILTIN_MODULES and name == "bytearray":
            return _bytearray
        if module in _BUILTIN_MODULES and name in _ADMITTED_NAMES:
            return super().find_class("builtins", name)
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}, but only texts, numbers and builtin "
            "containers are admitted, since other pickles can run any code"
        )


def _bytearray(content: bytes | str = b"", *encoding: str) -> bytearray:
    """Return what a pickle has; of a number it would be as long as that says."""
    if isinstance(content, str):
        content = content.encode(*encoding)
    if not isinstance(content, bytes):
        raise pickle.UnpicklingError("a bytearray of something other than bytes")
    return bytearray(content)


def _words(error: Exception) -> str:
    """Return what is wrong; a bare MemoryError is of a length that nothing has."""
    return printable(error) or f"one that ends in {type(error).__name__}"


def _read_pickle(path: Path) -> Any:
    content = io.BytesIO(read_file(path))
    try:
        return _PlainUnpickler(content, encoding="utf-8").load()
    # Damaged pickles raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"Expected a pickle of references in {path}. Received: {_words(error)}."
        ) from error


def _reference(entry: object, index: int, path: Path) -> Reference:
    known = entry if isinstance(entry, Mapping) else {}
    name = f"{path}: reference {shown(known.get('ref_id', f'at position {index}'))}"
    values: dict[str, Any] = {}
    for key, kinds in (
        ("ref_id", (int, str)),
        ("ann_id", (int, str)),
        ("image_id", (int, str)),
        ("split", (str,)),
        ("sentences", (list, tuple)),
    ):
        value = known.get(key)
        if not isinstance(value, kinds) or isinstance(value, bool):
            expected = " or ".join(kind.__name__ for kind in kinds)
            received = shown(value) if key in known else "nothing"
            raise ValueError(
                f"{name}: expected {key!r} as {expected}, received {received}."
            )
        values[key] = value
    sentences = []
    for sentence in values["sentences"]:
        text = sentence.get("sent") if isinstance(sentence, Mapping) else None
        if not isinstance(text, str):
            raise ValueError(
                f'{name}: expected sentences as {{"sent": text}}, received '
                f"{shown(sentence)}."
            )
        if text.strip():
            sentences.append(text.strip())
    return Reference(
        id=values["ref_id"],
        annotation_id=values["ann_id"],
        image_id=values["image_id"],
        split=values["split"],
        sentences=tuple(sentences),
    )


def of_split(
    references: Sequence[Reference], coco: CocoFile, split: str
) -> list[tuple[Reference, CocoAnnotation]]:
    """Return the references of a split with their annotations, all of them checked.

    Raises:
        ValueError: if the split is unknown, or a reference does not fit the COCO file.
    """
    splits = sorted({reference.split for reference in references})
    if split not in splits:
        raise ValueError(
            f"Expected split to be one of {', '.join(splits)}, received {split!r}."
        )
    # A few expressions refer to a group that COCO marks as a crowd.
    parts = (coco.annotations, coco.crowds)
    by_id = {item.id: item for part in parts for of in part.values() for item in of}
    pairs = []
    for reference in references:
        if reference.split != split:
            continue
        item = by_id.get(reference.annotation_id)
        if item is None or item.image_id != reference.image_id:
            received = "no such annotation" if item is None else item.image_id
            raise ValueError(
                f"Reference {reference.id!r}: expected annotation "
                f"{reference.annotation_id!r} of image {reference.image_id!r} in "
                f"{coco.path}, received {received}. Is it the instances.json that "
                "belongs to the references?"
            )
        pairs.append((reference, item))
    return pairs
