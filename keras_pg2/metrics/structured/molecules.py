"""Molecules written as SMILES, compared by their canonical form.

As MolScribe is scored (github.com/thomas0809/MolScribe, `molscribe/evaluate.py`), whose
test set and figure PaliGemma 2 takes: a text that RDKit cannot read stays as it is, so
that it still equals itself; an empty answer equals nothing. MolScribe writes groups
that RDKit does not know ("[R1]", "[Ph]") as "*" first; here texts are read as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_pg2.checks.packages import import_packages
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    Kinds,
    PreparedMetric,
    Statistics,
    Truth,
    column,
    mean,
    with_kinds,
)

_ADVICE = "Run: pip install 'keras-pg2[molecules]'"
_MOST_CHARACTERS = 10_000
"""RDKit takes long over texts that no formula is as long as."""


def read_molecule(text: str) -> Any:
    """Return RDKit's molecule of a SMILES, None if there is none.

    RDKit writes nothing to the log, and an empty text is no molecule.
    """
    from rdkit import Chem, rdBase

    text = text.strip()
    # RDKit takes what follows a blank for the molecule's name.
    if not text or len(text) > _MOST_CHARACTERS or len(text.split()) > 1:
        return None
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(text)


@dataclass(frozen=True, kw_only=True)
class SmilesExactMatch(PreparedMetric):
    """Share of answers that are the molecule of the truth."""

    name: str = "smiles_exact_match"
    meaning: str = "share of answers that are the right molecule, by canonical SMILES"
    source: str = "MolScribe `molscribe/evaluate.py`, canon_smiles_em; RDKit"
    is_higher_better: bool = True

    def check(self) -> None:
        """Raise ImportError if RDKit is not installed."""
        import_packages("rdkit", advice=_ADVICE)

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return whether the answer is the molecule, and how near it is.

        "is_graph" is equality without stereochemistry, "similarity" Tanimoto's of
        RDKit's path fingerprints, 0 where one of them is no molecule.

        Raises:
            ValueError: if the truth is not one text.
        """
        if len(truth.answers) != 1 or not truth.answers[0].strip():
            raise ValueError("expected one SMILES as truth, received none or several.")
        from rdkit import Chem, DataStructs

        texts = [answer.text.strip(), truth.answers[0].strip()]
        given, wanted = (read_molecule(text) for text in texts)

        def canonical(stereo: bool) -> list[str]:
            return [
                text if one is None else Chem.MolToSmiles(one, isomericSmiles=stereo)
                for text, one in zip(texts, (given, wanted))
            ]

        is_same = len(set(canonical(True))) == 1
        similarity = 0.0
        if is_same:
            similarity = float(given is not None)
        elif given is not None and wanted is not None:
            prints = [Chem.RDKFingerprint(one) for one in (given, wanted)]
            similarity = float(DataStructs.TanimotoSimilarity(*prints))
        return {
            "is_same": is_same,
            "is_graph": is_same or len(set(canonical(False))) == 1,
            "is_text": texts[0] == texts[1],
            "is_valid": given is not None,
            "similarity": similarity,
            "kind": truth.kind,
        }

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], 1.0 for the right molecule."""
        return column(rows, "is_same")

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to shares of answers.

        "graph_match" leaves stereochemistry out, "text_match" is letter by letter,
        "valid" the share of answers that are molecules, "tanimoto" the mean similarity.
        Then comes the share of right molecules of each kind.
        """
        columns = {
            self.name: column(rows, "is_same"),
            "graph_match": column(rows, "is_graph"),
            "text_match": column(rows, "is_text"),
            "valid": column(rows, "is_valid"),
            "tanimoto": column(rows, "similarity"),
        }
        kinds = Kinds(row["kind"] for row in rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            means = {name: mean(own, counts) for name, own in columns.items()}
            return with_kinds(means, kinds.means(columns[self.name], counts))

        return figures


METRICS = (SmilesExactMatch(),)
