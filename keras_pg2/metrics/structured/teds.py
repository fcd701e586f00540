"""TEDS: similarity of tables by the edit distance of their HTML trees.

Source: PubTabNet (Zhong et al. 2020, arXiv:1911.10683;
github.com/ibm-aur-nlp/PubTabNet, `src/metric.py`): 1 - distance / number of nodes of
the larger table. Nodes are the tags; a cell (`td`) has its spans and its content,
characters and tags. Inserting or deleting a node costs 1, and so does changing its tag
or span; changing a cell's content costs the edit distance by the longer length. Without
the content it is called S-TEDS, or TEDS structure.

Sources disagree about the number of nodes. PubTabNet counts the tags below the table,
those inside of cells, too; the package `table-recognition-metric` counts the nodes of
the trees that are compared. The first is "teds", the second "teds_by_tree_size".
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

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
from keras_pg2.metrics.structured.html_tables import (
    check_packages,
    num_tags,
    read_table,
    read_true_table,
)

MOST_TAGS = 2_000
"""Tags of an answer that is compared: time and memory grow by the product of both."""


@dataclass(frozen=True)
class Node:
    """A tag of a table.

    Attributes:
        tag: Its name.
        span: Columns and rows of a cell; None for other tags.
        content: Characters and tags inside of a cell.
        children: Nodes inside; none of a cell.
    """

    tag: str
    span: tuple[int, int] | None = None
    content: tuple[str, ...] = ()
    children: list[Node] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Number of nodes, this one too."""
        return 1 + sum(child.size for child in self.children)


def table_tree(element: Any) -> Node:
    """Return the tree of a table.

    Raises:
        ValueError: if a cell's span is not an integer.
    """
    tag = str(element.tag)
    if tag == "td":
        span = (int(element.get("colspan", "1")), int(element.get("rowspan", "1")))
        return Node(tag, span, tuple(_content(element)))
    return Node(tag, children=[table_tree(child) for child in element])


def without_content(node: Node) -> Node:
    """Return a tree whose cells are empty."""
    children = [without_content(child) for child in node.children]
    return Node(node.tag, node.span, (), children)


def _content(element: Any) -> list[str]:
    """Return characters and tags inside of an element, in order."""
    found = list(element.text or "")
    for child in element:
        # "<unk>" is a token of the source without an end.
        end = [] if child.tag == "unk" else [f"</{child.tag}>"]
        found += [f"<{child.tag}>", *_content(child), *end]
        # A cell inside of a cell loses what follows it, as in the source.
        if child.tag != "td":
            found += child.tail or ""
    return found


@cache
def _costs() -> Any:
    """Return the costs of edits for apted."""
    from apted import Config
    from rapidfuzz.distance import Levenshtein

    class Costs(Config):  # type: ignore[misc]
        valuecls = float

        def rename(self, node1: Node, node2: Node) -> float:
            """Return the cost of changing a node into another, in [0, 1]."""
            if node1.tag != node2.tag or node1.span != node2.span:
                return 1.0
            return Levenshtein.normalized_distance(node1.content, node2.content)

    return Costs()


def tree_distance(first: Node, second: Node) -> float:
    """Return the least cost of edits that make one tree the other."""
    if first == second:
        return 0.0
    from apted import APTED

    return float(APTED(first, second, _costs()).compute_edit_distance())


@dataclass(frozen=True, kw_only=True)
class Teds(PreparedMetric):
    """Mean TEDS of tables; 0 for an answer that has no table or an invalid span.

    So are answers of more tags than `MOST_TAGS` and twice the truth's.

    Attributes:
        name: As for `Metric`.
        meaning: As for `Metric`.
        has_content: Whether "teds" is computed beside "teds_structure".
    """

    name: str
    meaning: str
    has_content: bool
    source: str = "PubTabNet, arXiv:1911.10683, `src/metric.py`"
    is_higher_better: bool = True

    def check(self) -> None:
        """Raise ImportError if lxml, apted or rapidfuzz is not installed."""
        check_packages("apted", "rapidfuzz")

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return the similarity of a table; its content, its structure.

        Raises:
            ValueError: if the truth is not one table as HTML.
        """
        table = read_true_table(truth)
        wanted = table_tree(table)
        found = read_table(answer.text)
        given = None
        if found is not None and num_tags(found) <= max(MOST_TAGS, 2 * num_tags(table)):
            with contextlib.suppress(ValueError):
                given = table_tree(found)
        if given is None:
            scores = dict.fromkeys(self._figures(), 0.0)
        else:
            tags = max(num_tags(found), num_tags(table))
            nodes = max(given.size, wanted.size)
            distance = tree_distance(without_content(given), without_content(wanted))
            scores = {"teds_structure": _similarity(distance, tags)}
            if self.has_content:
                distance = tree_distance(given, wanted)
                scores["teds"] = _similarity(distance, tags)
                scores["teds_by_tree_size"] = _similarity(distance, nodes)
        return {**scores, "is_valid": given is not None, "kind": truth.kind}

    def _figures(self) -> tuple[str, ...]:
        if self.has_content:
            return ("teds", "teds_structure", "teds_by_tree_size")
        return ("teds_structure",)

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], the similarity of each table."""
        return column(rows, self.name)

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to means over tables.

        "valid" is the share of answers that are tables. Then comes each kind's mean.
        """
        columns = {name: column(rows, name) for name in self._figures()}
        columns["valid"] = column(rows, "is_valid")
        kinds = Kinds(row["kind"] for row in rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            means = {name: mean(own, counts) for name, own in columns.items()}
            return with_kinds(means, kinds.means(columns[self.name], counts))

        return figures


def _similarity(distance: float, size: int) -> float:
    """Return 1 - distance / size; of two empty tables 1.0."""
    return 1.0 - distance / size if size else 1.0


METRICS = (
    Teds(
        name="teds",
        meaning="mean similarity of tables by the edit distance of their HTML trees",
        has_content=True,
    ),
    Teds(
        name="teds_structure",
        meaning="the same without the content of cells",
        has_content=False,
    ),
)
