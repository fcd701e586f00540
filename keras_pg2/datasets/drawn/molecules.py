"""Structural formulas as rdkit draws them, and their SMILES.

Molecules have up to `MAX_ATOMS` heavy atoms of C, N, O and F, the elements of GDB-9 and
QM9 (Ramakrishnan et al., Scientific Data 1, 2014), in chains, branches and at most one
ring. They are drawn by lot, so most of them are in no catalogue. rdkit is in the extra
`molecules`.

    examples = molecules.examples("train", 100, seed=0)
    examples[0].images                # uint8[84, 84, 3]
    examples[0].truth.answers         # ("CC(=O)N",), canonical
    examples[0].response              # "NC(C)=O", in the order of the picture
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from keras_pg2.checks.packages import import_packages
from keras_pg2.datasets.drawn.splitting import Split, draw_of_split
from keras_pg2.datasets.public.examples import Example, Examples
from keras_pg2.metrics.metric import Truth

PROMPT = "smiles"
MAX_ATOMS = 8
SIZE = 84

_RINGS = {
    **{"C1CC1": 3, "C1CO1": 3, "C1CCC1": 4, "C1CCCC1": 5, "C1CCOC1": 5, "C1CCNC1": 5},
    **{"C1CCCCC1": 6, "c1ccoc1": 5, "c1cc[nH]c1": 5, "c1ccccc1": 6, "c1ccncc1": 6},
    "c1cncnc1": 6,
}
"""Rings to start from, and their numbers of atoms."""
_ELEMENTS = {"C": (6, 4), "N": (7, 3), "O": (8, 2), "F": (9, 1)}
"""Atomic number and number of bonds."""
_ELEMENT_SHARES = (0.58, 0.18, 0.18, 0.06)
_BOND_SHARES = (0.74, 0.2, 0.06)
_RING_SHARE = 0.5


def sample_smiles(rng: np.random.Generator, num_atoms: int) -> str:
    """Return the canonical SMILES of a molecule of `num_atoms` heavy atoms."""
    chem = _rdkit()
    while True:
        molecule = chem.RWMol(chem.MolFromSmiles(_sample_start(rng, num_atoms)))
        while molecule.GetNumAtoms() < num_atoms and _hosts(molecule):
            _add_atom(molecule, rng)
            chem.SanitizeMol(molecule)
        # Some have no hydrogen left that another atom could take the place of.
        if molecule.GetNumAtoms() == num_atoms:
            return str(chem.MolToSmiles(molecule))


def _sample_start(rng: np.random.Generator, num_atoms: int) -> str:
    rings = [ring for ring, size in _RINGS.items() if size <= num_atoms]
    return str(rng.choice(rings)) if rings and rng.random() < _RING_SHARE else "C"


def _hosts(molecule: Any) -> list[Any]:
    return [atom for atom in molecule.GetAtoms() if atom.GetTotalNumHs() > 0]


def _add_atom(molecule: Any, rng: np.random.Generator) -> None:
    """Bond a new atom to one that has hydrogens; to a heteroatom only carbon."""
    chem = _rdkit()
    hosts = _hosts(molecule)
    host = hosts[int(rng.integers(len(hosts)))]
    is_carbon = host.GetSymbol() == "C"
    element = str(rng.choice(list(_ELEMENTS), p=_ELEMENT_SHARES)) if is_carbon else "C"
    number, num_bonds = _ELEMENTS[element]
    order = int(rng.choice([1, 2, 3], p=_BOND_SHARES))
    most = min(num_bonds, host.GetTotalNumHs(), 2 if host.IsInRing() else 3)
    order = 1 if host.GetIsAromatic() else min(order, most)
    host.SetNumExplicitHs(0)  # An aromatic N is read with its hydrogen.
    host.SetNoImplicit(False)
    new = molecule.AddAtom(chem.Atom(number))
    molecule.AddBond(host.GetIdx(), new, chem.BondType.values[order])


def reading_order(smiles: str) -> str:
    """Return the SMILES that starts with the leftmost atom of the picture.

    From there it goes to the atom that is further left first. A canonical SMILES has
    the same atoms in an order that the picture does not show, and is harder to learn.
    """
    chem = _rdkit()
    molecule = _laid_out(smiles)
    points = molecule.GetConformer().GetPositions()
    keys = [(round(x, 1), round(-y, 1)) for x, y, _ in points]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ordered = chem.RenumberAtoms(molecule, order)
    return str(chem.MolToSmiles(ordered, canonical=False, rootedAtAtom=0))


def canonical(smiles: str) -> str:
    """Return rdkit's canonical SMILES.

    Raises:
        ValueError: if it is no SMILES.
    """
    chem = _rdkit()
    molecule = chem.MolFromSmiles(smiles)
    if molecule is None:
        raise ValueError(f"Expected a SMILES, received {smiles!r}.")
    return str(chem.MolToSmiles(molecule))


def render(smiles: str, size: int = SIZE) -> np.ndarray:
    """Return rdkit's drawing, uint8[size, size, 3], with bonds of a sixth of it."""
    drawing = _import("rdkit.Chem.Draw.rdMolDraw2D")
    pen = drawing.MolDraw2DCairo(size, size)
    options = pen.drawOptions()
    options.fixedBondLength = size / 6
    options.bondLineWidth = max(1, round(size / 45))
    options.scaleBondWidth = False
    options.padding = 0.03
    options.minFontSize = options.maxFontSize = round(size / 7.5)
    options.additionalAtomLabelPadding = 0.0
    options.multipleBondOffset = 0.25
    pen.DrawMolecule(_laid_out(smiles))
    pen.FinishDrawing()
    with Image.open(BytesIO(pen.GetDrawingText())) as picture:
        return np.asarray(picture.convert("RGB"))


def examples(split: Split, count: int, seed: int = 0, size: int = SIZE) -> Examples:
    """Return `count` molecules of 2 to `MAX_ATOMS` atoms, no two the same.

    Sizes are about evenly shared until the smallest are used up. A molecule is in one
    split alone, whatever the seed. `truth.kind` is the number of atoms.
    """
    rng = np.random.default_rng([seed, 1])

    def draw() -> tuple[str, int]:
        # There are few small molecules: they would otherwise be drawn again and again.
        num_atoms = int(rng.integers(2, MAX_ATOMS + 1))
        return sample_smiles(rng, num_atoms), num_atoms

    return Examples(
        Example(
            id=smiles,
            images=render(smiles, size),
            fields={"prompt": PROMPT},
            truth=Truth(answers=(smiles,), kind=f"{num_atoms} atoms"),
            response=reading_order(smiles),
        )
        for smiles, num_atoms in draw_of_split(split, count, draw).items()
    )


def _laid_out(smiles: str) -> Any:
    chem = _rdkit()
    molecule = chem.MolFromSmiles(canonical(smiles))
    layout = _import("rdkit.Chem.rdDepictor")
    layout.Compute2DCoords(molecule)
    return molecule


def _rdkit() -> Any:
    return _import("rdkit.Chem")


def _import(name: str) -> Any:
    [module] = import_packages(
        name, advice="Install it: pip install 'keras-pg2[molecules]'."
    )
    return module
