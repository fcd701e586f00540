"""Drawn examples of metrics of boxes, masks, and texts with a structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_pg2.codecs import Detections
from keras_pg2.metrics.metric import Answer, Truth
from tests.support.metric_cases import Draw

LABELS = ("cat", "dog", "cow")
SIDE = 120
MOLECULES = (
    *("CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "F/C=C/F"),
    *("F/C=C\\F", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "[Na+].[Cl-]", "C#N", "O=C=O"),
    *(
        "OCC(O)C1OC(=O)C(O)=C1O",
        "C1CC1",
        "[13CH4]",
        "B(O)(O)c1ccccc1",
        "CC(C)Cc1ccccc1",
    ),
)
NOTES = ("4c", "8dd#", "16ee-L", "2.r", "=", "4C 4E", ".", "*clefG2", "*M4/4", "1G;")
WORDS = ("Stop", "stop", "EXIT", "24h", "Café", "no.", "a", "of the")


def pick(random: np.random.Generator, values: Sequence[str]) -> str:
    """Return one of the values."""
    return values[int(random.integers(len(values)))]


def corners(random: np.random.Generator, count: int) -> np.ndarray:
    """Return float32[count, 4] boxes, a few without a pixel, some outside."""
    first = random.integers(0, SIDE, (count, 2))
    size = random.integers(0, SIDE, (count, 2))
    return np.concatenate([first, first + size], axis=1).astype(np.float32)


def near(random: np.random.Generator, boxes: np.ndarray) -> np.ndarray:
    """Return boxes some pixels beside others."""
    moved = boxes + random.integers(-4, 5, boxes.shape)
    sorted_corners = np.sort(moved.reshape(-1, 2, 2), axis=1)
    return sorted_corners.reshape(-1, 4).astype(np.float32)


def masks_in(random: np.random.Generator, boxes: np.ndarray) -> np.ndarray:
    """Return bool[N, 40, 40], a random part of each box in pixels of three."""
    masks = np.zeros((len(boxes), 40, 40), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, (boxes / 3).astype(int).clip(0, 40)):
        mask[y1:y2, x1:x2] = True
        mask &= random.random(mask.shape) < 0.9
    return masks


def picture(
    random: np.random.Generator, has_masks: bool = False
) -> tuple[Answer, Truth]:
    """Return detections near what is there, with crowds; some pictures are empty."""
    there = corners(random, int(random.integers(0, 4)))
    labels = [pick(random, LABELS) for _ in there]
    found = np.concatenate([near(random, there), corners(random, 2)])
    found = np.concatenate([found, found[:1]])
    said = [*labels, pick(random, LABELS), pick(random, (*LABELS, "unicorn"))]
    said += said[:1]
    scores = random.random(len(found)).astype(np.float32)
    keep = np.flatnonzero(random.random(len(found)) < 0.7)
    crowds = corners(random, int(random.integers(4) == 0))

    def things(names: Sequence[str], boxes: np.ndarray) -> Detections:
        masks = masks_in(random, boxes) if has_masks else None
        return Detections(tuple(names), boxes, masks)

    answer = things(said, found)
    answer = Detections(answer.labels, answer.boxes_xyxy, answer.masks, scores)
    details = {"crowds": things([pick(random, LABELS) for _ in crowds], crowds)}
    return (
        Answer("", things=answer.take(keep)),
        Truth(things=things(labels, there), size=(SIDE, SIDE), details=details),
    )


def picture_of_masks(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return the same with masks."""
    return picture(random, has_masks=True)


def boxes_text(random: np.random.Generator, bins: np.ndarray, names: Sequence[str]):
    """Return boxes as tokens, int[N, 4] in 0..1023 as y1, x1, y2, x2."""
    tokens = ["".join(f"<loc{n:04d}>" for n in row) for row in bins.tolist()]
    return " ; ".join(f"{row} {name}" for row, name in zip(tokens, names))


def text_of_boxes(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return boxes as text, with the probability of the answer."""
    bins = random.integers(0, 1024, (int(random.integers(1, 4)), 4))
    names = [pick(random, LABELS) for _ in bins]
    said = np.clip(bins + random.integers(-40, 41, bins.shape), 0, 1023)
    text = boxes_text(random, said, [*names[:-1], pick(random, LABELS)])
    length = int(random.integers(1, 30))
    return (
        Answer(text, log_probability=-float(random.random() * 9), num_tokens=length),
        Truth(answers=(boxes_text(random, bins, names),)),
    )


def referring(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return a mask and box near the truth's, or none."""
    boxes = corners(random, 1)
    there = masks_in(random, boxes)
    there[0, int(random.integers(40)), int(random.integers(40))] = True
    count = int(random.integers(5) > 0)
    said = near(random, boxes)[:count]
    kind = pick(random, ("testA", "testB"))
    return (
        Answer("", things=Detections(("",) * count, said, masks_in(random, said))),
        Truth(things=Detections(("",), boxes, there), kind=kind),
    )


def altered(random: np.random.Generator, units: Sequence[str], of: Sequence[str]):
    """Return units with some left out, added or changed."""
    found: list[str] = []
    for unit in units:
        kind = random.integers(10)
        if kind == 0:
            continue
        found.append(pick(random, of) if kind == 1 else unit)
        if kind == 2:
            found.append(pick(random, of))
    return found


def music(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return lines of **kern music with tabs."""
    lines = [
        [pick(random, NOTES), pick(random, NOTES)]
        for _ in range(int(random.integers(0, 8)))
    ]
    said = ["\t".join(altered(random, line, NOTES)) for line in lines]
    said = altered(random, said, ("=\t=", "", "4c"))
    text = "\n".join("\t".join(line) for line in lines)
    return Answer("\n".join(said)), Truth(answers=(text,), kind=pick(random, ("", "a")))


def sentence(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return words with blanks around and between."""
    wanted = [pick(random, WORDS) for _ in range(int(random.integers(0, 9)))]
    said = altered(random, wanted, WORDS)
    return Answer(f" {'  '.join(said)}"), Truth(answers=(" ".join(wanted),))


def cells(random: np.random.Generator) -> list[list[str]]:
    """Return rows of cells as HTML, some with spans, boxes and tags inside."""
    rows, columns = (int(number) for number in random.integers(1, 4, 2))
    return [[_cell(random, i, j) for j in range(columns)] for i in range(rows)]


def _cell(random: np.random.Generator, row: int, column: int) -> str:
    tag = "td" if random.integers(12) else "th"
    span = pick(random, ("", "", "", "", ' colspan="2"', ' rowspan="2"'))
    text = "".join(random.choice(list("abc 1."), int(random.integers(0, 6))))
    if random.integers(6) == 0:
        text = f"<b>{text}</b>&amp;<i>x</i>"
    box = ""
    if text and random.integers(3):
        x, y = 100 * column, 100 * row
        box = f' coords="<loc{x:04d}><loc{y:04d}><loc{x + 50:04d}><loc{y + 30:04d}>"'
    return f"<{tag}{span}{box}>{text}</{tag}>"


def as_table(rows: Sequence[Sequence[str]]) -> str:
    """Return the HTML of rows of cells, the first as its head."""
    head, *body = (f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"


def table(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return a table near another; cut, nested, empty or none now and then."""
    wanted = cells(random)
    said = [list(row) for row in wanted]
    for _ in range(int(random.integers(0, 4))):
        row = said[int(random.integers(len(said)))]
        column = int(random.integers(len(row)))
        row[column] = _cell(random, 0, column) if random.integers(3) else ""
    if random.integers(5) == 0:
        said.insert(int(random.integers(len(said) + 1)), said[0])
    if random.integers(8) == 0:
        said[0][0] = f"<td>{as_table(cells(random))}</td>"
    text = as_table(said)
    kind = random.integers(12)
    if kind == 0:
        text = text[: int(random.integers(len(text)))]
    elif kind == 1:
        text = pick(random, ("", "none", "<table></table>", "<td colspan=two>1</td>"))
    return Answer(text), Truth(
        answers=(as_table(wanted),), kind=pick(random, ("", "p"))
    )


def molecule(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return a molecule written in another way, another one, or no molecule."""
    from rdkit import Chem, rdBase

    wanted = pick(random, MOLECULES)
    said = wanted if random.integers(3) else pick(random, MOLECULES)
    if random.integers(3):
        with rdBase.BlockLogs():
            atoms = Chem.MolFromSmiles(said)
            order = random.permutation(atoms.GetNumAtoms()).tolist()
            renumbered = Chem.RenumberAtoms(atoms, order)
            said = Chem.MolToSmiles(renumbered, canonical=False)
    if random.integers(4) == 0:
        at = int(random.integers(len(said)))
        said = said[:at] + pick(random, ("", "C", "(", "1", "X", "=")) + said[at + 1 :]
    return Answer(said), Truth(answers=(wanted,), kind=pick(random, ("", "large")))


def words_in_a_picture(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return words with boxes near polygons, some illegible, some that cross."""
    there = corners(random, int(random.integers(0, 5)))
    names = tuple(pick(random, WORDS) for _ in there)
    polygons = [_polygon(random, box) for box in there.tolist()]
    found = np.concatenate([near(random, there), corners(random, 1)])
    said = [*altered(random, names, WORDS), *names, "more"][: len(found)]
    keep = np.flatnonzero(random.random(len(found)) < 0.8)
    answer = Detections(tuple(said), found).take(keep)
    ignored = (random.random(len(there)) < 0.2).tolist()
    return (
        Answer("", things=answer),
        Truth(
            things=Detections(names, there),
            details={"polygons": polygons, "ignored": ignored},
        ),
    )


def _polygon(random: np.random.Generator, box: list[float]) -> list[list[float]] | None:
    x1, y1, x2, y2 = box
    if random.integers(3) == 0:
        return None
    points = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
    if random.integers(8) == 0:
        points[0], points[1] = points[1], points[0]
    if random.integers(4) == 0:
        points.insert(1, [(x1 + x2) / 2, y1 + (y2 - y1) / 8])
    return points


def report(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return two reports of a few findings."""
    findings = ("no effusion.", "cardiomegaly.", "edema.", "clear lungs.")
    said = [pick(random, findings) for _ in range(int(random.integers(0, 4)))]
    wanted = [pick(random, findings) for _ in range(int(random.integers(1, 4)))]
    return Answer(" ".join(said)), Truth(answers=(" ".join(wanted),))


CASES: Mapping[str, Draw] = {
    "coco_ap": picture,
    "coco_ap_masks": picture_of_masks,
    "ap50": text_of_boxes,
    "mask_iou": referring,
    "box_accuracy": referring,
    "cer": music,
    "wer": sentence,
    "ser": music,
    "ler": music,
    "teds": table,
    "teds_structure": table,
    "grits_con": table,
    "grits_top": table,
    "smiles_exact_match": molecule,
    "text_spotting": words_in_a_picture,
    "radgraph_f1": report,
}
