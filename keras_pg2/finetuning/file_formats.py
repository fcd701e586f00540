"""Kinds of data files, and what tells them from each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from keras_pg2.datasets.labelme import labelme_files
from keras_pg2.datasets.text_files import read_json_object, to_utf8
from keras_pg2.datasets.yolo import find_data_yaml
from keras_pg2.files.json_files import read_file
from keras_pg2.finetuning.public_rows import find_public

FORMATS: Mapping[str, str] = {
    "jsonl": "JSON lines of image, prefix, suffix, or a JSON list of them",
    "table": "CSV or TSV with columns image, prefix, suffix",
    "coco": "COCO instances as boxes",
    "coco-masks": "COCO instances as boxes and masks",
    "yolo": "a YOLO folder with data.yaml, as boxes",
    "yolo-masks": "a YOLO folder of polygons, as boxes and masks",
    "labelme": "a folder of LabelMe files, as boxes",
    "labelme-masks": "a folder of LabelMe files, as boxes and masks",
    "vqav2": "questions of VQAv2 and OK-VQA, with a file of annotations",
    "textvqa": "TextVQA",
}
"""Kinds of data files."""

_BY_ENDING = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "table",
    ".tsv": "table",
    ".yaml": "yolo",
    ".yml": "yolo",
}
_OF_OTHERS = (".parquet", ".arrow", ".feather", ".xlsx", ".xls", ".ods")
"""Tables that other libraries read."""
_BY_KEY = {
    "annotations": "coco",
    "questions": "vqav2",
    "data": "textvqa",
    "shapes": "labelme",
}
MASKS = "-masks"
"""Ending of formats that have masks beside boxes."""


def find_format(path: Path, option: str = "--format") -> str:
    """The kind of a data file, by its ending, and what is in a .json file or a folder.

    Args:
        path: the file or folder.
        option: what the command calls its format, for errors.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is of no known kind.
    """
    if path.is_dir():
        return _find_format_of_folder(path, option)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a data file, but there is no {str(path)!r}. Check its path."
        )
    found = _BY_ENDING.get(path.suffix.lower())
    if found is None and path.suffix.lower() == ".json":
        if to_utf8(read_file(path), path).lstrip()[:1] == b"[":
            return "jsonl"
        content = read_json_object(path)
        # COCO's files have "images" too, those of VQAv2's answers have not.
        is_coco = "images" in content and "annotations" in content
        keys = ("annotations",) if is_coco else ("questions", "data", "shapes")
        found = next((_BY_KEY[key] for key in keys if key in content), None)
    if path.suffix.lower() in _OF_OTHERS:
        raise ValueError(
            f"Expected a data file of {', '.join(_BY_ENDING)} or .json, received "
            f"{str(path)!r}. Read its records in Python, with pandas or the library "
            "datasets, and pass them to read_records: fit takes these rows, and "
            "write_jsonl writes those of picture files for this command."
        )
    if found is None:
        raise ValueError(
            f"Expected a data file that tells what it is ({', '.join(_BY_ENDING)}, or "
            "a .json of rows, COCO, LabelMe, VQAv2 or TextVQA), received "
            f"{str(path)!r}. Pass its format ({option}): {', '.join(FORMATS)}."
        )
    return found


def _find_format_of_folder(folder: Path, option: str) -> str:
    """YOLO's has a data.yaml, LabelMe's a JSON file of shapes; others have a table."""
    try:
        if find_data_yaml(folder).suffix:
            return "yolo"
    except FileNotFoundError:
        pass
    has_table = any(folder.glob("*.[ct]sv"))
    files = [] if has_table else labelme_files(folder)
    if any(map(_is_of_labelme, files)):
        return "labelme"
    if not has_table:
        others = [p.name for p in sorted(folder.iterdir()) if p.name[0] != "."]
        others.sort(key=lambda name: ".json" not in name)
        raise ValueError(
            "Expected a folder of YOLO (with data.yaml) or LabelMe (with its JSON "
            f"files), or with one table (.csv, .tsv), received {str(folder)!r} with "
            f"{', '.join(others[:5]) or 'nothing in it'}. Pass the path of the file, "
            f"or what is missing; or name the public data set ({option} docvqa)."
        )
    return "table"


def _is_of_labelme(file: Path) -> bool:
    """Whether a file has shapes; not of one that is damaged, which is told later."""
    try:
        return "shapes" in read_json_object(file)
    except (ValueError, OSError):
        return False


def has_splits(path: Path, format: str | None) -> bool:
    """Return whether data is divided into splits, as YOLO's and public data sets are.

    Args:
        path: the file or folder.
        format: as for `read_rows`.

    Raises:
        FileNotFoundError, ValueError: as `find_format`.
    """
    if find_public(format, path) is not None:
        return True
    found = find_format(path) if format is None else format
    return found.removesuffix(MASKS) == "yolo"
