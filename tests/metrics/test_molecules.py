from __future__ import annotations

import pytest

from keras_pg2 import metrics
from keras_pg2.metrics import Answer, Truth
from keras_pg2.metrics.structured.molecules import read_molecule

METRIC = "smiles_exact_match"


def row(said, wanted):
    return metrics.get(METRIC).statistics(Answer(said), Truth(answers=(wanted,)))


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("OCC", "CCO"),
        # RDKit's book: the same pyridine, benzene in two ways, charges.
        ("n1ccccc1", "C1=CC=NC=C1"),
        ("C1=CC=CC=C1", "c1ccccc1"),
        ("[Cl-].[Na+]", "[Na+].[Cl-]"),
        (" CCO\n", "CCO"),
        ("C[C@@H](C(=O)O)N", "N[C@@H](C)C(=O)O"),
        ("F\\C=C\\F", "F/C=C/F"),
    ],
)
def test_the_same_molecule_in_other_words(said, wanted):
    found = row(said, wanted)
    assert found["is_same"]
    assert found["is_valid"]
    assert found["similarity"] == 1


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("C[C@@H](C(=O)O)N", "C[C@H](C(=O)O)N"),
        ("F/C=C\\F", "F/C=C/F"),
    ],
)
def test_without_stereochemistry_the_graph_is_the_same(said, wanted):
    found = row(said, wanted)
    assert not found["is_same"]
    assert found["is_graph"]


@pytest.mark.parametrize(
    "said", ["", " ", "X", "C(", "c1cccc1", "C(C)(C)(C)(C)C", "CCO name"]
)
def test_what_is_no_molecule_is_wrong_and_told(said, capfd):
    found = row(said, "CCO")
    assert found == {
        "is_same": False,
        "is_graph": False,
        "is_text": False,
        "is_valid": False,
        "similarity": 0.0,
        "kind": "",
    }
    # RDKit writes its complaints past Python.
    assert capfd.readouterr() == ("", "")


def test_a_text_that_rdkit_cannot_read_equals_itself():
    found = row("[Foo]", "[Foo]")
    assert found["is_same"]
    assert not found["is_valid"]


def test_figures():
    metric = metrics.get(METRIC)
    rows = [row("OCC", "CCO"), row("CCO", "CCO"), row("C(", "CCO"), row("CCN", "CCO")]
    figures = metric.result(rows)
    assert list(figures) == [METRIC, "graph_match", "text_match", "valid", "tanimoto"]
    assert figures[METRIC] == figures["graph_match"] == 0.5
    assert figures["text_match"] == 0.25
    assert figures["valid"] == 0.75
    assert 0.5 < figures["tanimoto"] < 0.75


def test_long_texts_take_no_time():
    assert read_molecule("C" * 20_000) is None


@pytest.mark.parametrize("truth", [(), ("",), ("C", "CC")])
def test_a_truth_that_is_not_one_text_is_refused(truth):
    with pytest.raises(ValueError, match="expected one SMILES"):
        metrics.get(METRIC).statistics(Answer("C"), Truth(answers=truth))
