"""Drawn structural formulas: rdkit reads back what is said to be in the picture."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from keras_pg2.datasets.drawn import molecules


@pytest.fixture(scope="module")
def drawn():
    return molecules.examples("train", 60, seed=5)


def test_truths_are_canonical_and_of_the_size_that_is_told(drawn) -> None:
    for example in drawn:
        [smiles] = example.truth.answers
        molecule = Chem.MolFromSmiles(smiles)
        assert Chem.MolToSmiles(molecule) == smiles
        assert example.truth.kind == f"{molecule.GetNumAtoms()} atoms"
        assert molecule.GetNumAtoms() <= molecules.MAX_ATOMS
        assert {atom.GetSymbol() for atom in molecule.GetAtoms()} <= set("CNOF")
        assert molecule.GetRingInfo().NumRings() <= 1


def test_the_order_of_the_picture_is_the_same_molecule(drawn) -> None:
    for example in drawn:
        assert (molecules.canonical(example.response),) == example.truth.answers
    # It is another order for most, or it would be of no use.
    others = [e.response != e.truth.answers[0] for e in drawn]
    assert np.mean(others) > 0.3


def test_the_leftmost_atom_comes_first() -> None:
    # rdkit lays a chain out from left to right; both ends are told by their element.
    first = {molecules.reading_order(smiles)[0] for smiles in ("NCCCO", "OCCCN")}
    assert len(first) == 1
    assert first < {"N", "O"}


def test_no_molecule_is_drawn_twice_or_in_two_splits(drawn) -> None:
    assert len({example.id for example in drawn}) == len(drawn)
    others = molecules.examples("test", 4, seed=6)
    assert not {e.id for e in drawn} & {e.id for e in others}


def test_the_same_seed_draws_the_same_pictures(drawn) -> None:
    again = molecules.examples("train", 5, seed=5)
    for example, other in zip(drawn[:5], again, strict=True):
        assert example.truth == other.truth
        np.testing.assert_array_equal(example.images, other.images)
    assert molecules.examples("train", 1, seed=6)[0].id != drawn[0].id


def test_pictures_show_bonds_and_coloured_letters() -> None:
    carbons, with_oxygen = molecules.render("CCCC"), molecules.render("CCCO", 168)
    assert carbons.shape == (84, 84, 3)
    assert carbons.dtype == np.uint8
    assert with_oxygen.shape == (168, 168, 3)
    assert 100 < (carbons < 128).all(2).sum() < 1500  # thick enough, mostly white
    is_red = (with_oxygen[..., 0] > 200) & (with_oxygen[..., 1:] < 80).all(2)
    assert is_red.sum() > 20
    assert not (molecules.render("CCCC") != carbons).any()


def test_what_is_no_smiles_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected a SMILES, received 'C1C'\."):
        molecules.canonical("C1C")
