"""Given answers to a prompt as a tree of tokens, whose common beginnings stand once.

    the prompt --- top --- left --- end
          |          |---- right -- end
          |------- bottom - left -- end

A node is a token that the network is shown; a branch is one whose probability after a
node, or after the prompt, is asked for. The last token of an answer is a branch alone.

Axes: B batch, N nodes, E branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_pg2.generation.compilation import bucket_rows
from keras_pg2.typing import Tensor


class AnswerTrees(NamedTuple):
    """A tree for each row of a batch, as inputs of a compiled function.

    Attributes:
        tokens: int32[B, N], the token of each node; 0 in nodes that fill up.
        depths: int32[B, N], nodes above it.
        sees: bool[B, N, N], which nodes stand above each one, itself included.
        parents: int32[B, E], the node that a branch is of, from 1; 0 is the prompt.
        branches: int32[B, E], the token of each branch; 0 in those that fill up.
    """

    tokens: Tensor
    depths: Tensor
    sees: Tensor
    parents: Tensor
    branches: Tensor


class Branches:
    """The tree of one prompt's answers, in lists.

    Args:
        answers: Tokens of each answer, at least one.

    Attributes:
        nodes: Token and parent of each node.
        edges: Parent and token of each branch.
        paths: Indices of the branches of each answer.
    """

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self.nodes: list[tuple[int, int]] = []
        self.edges: list[tuple[int, int]] = []
        self.paths: list[list[int]] = []
        node_of: dict[tuple[int, int], int] = {}
        edge_of: dict[tuple[int, int], int] = {}
        for answer in answers:
            parent, path = 0, []
            for i, token in enumerate(answer):
                edge = (parent, token)
                if edge not in edge_of:
                    edge_of[edge] = len(self.edges)
                    self.edges.append(edge)
                path.append(edge_of[edge])
                if i == len(answer) - 1:
                    break
                if edge not in node_of:
                    self.nodes.append((token, parent))
                    node_of[edge] = len(self.nodes)
                parent = node_of[edge]
            self.paths.append(path)


def join_trees(trees: Sequence[Branches], num_rows: int) -> AnswerTrees:
    """Return trees as arrays, both sizes rounded up to buckets.

    Args:
        trees: One for each prompt.
        num_rows: B, at least as many; the other rows are filled up.
    """
    num_nodes = bucket_rows(max(1, *(len(tree.nodes) for tree in trees)))
    num_edges = bucket_rows(max(len(tree.edges) for tree in trees))
    tokens = np.zeros((num_rows, num_nodes), np.int32)
    depths = np.zeros_like(tokens)
    sees = np.zeros((num_rows, num_nodes, num_nodes), bool)
    sees[:] = np.eye(num_nodes, dtype=bool)
    parents = np.zeros((num_rows, num_edges), np.int32)
    branches = np.zeros_like(parents)
    for row, tree in enumerate(trees):
        for node, (token, parent) in enumerate(tree.nodes):
            tokens[row, node] = token
            if parent:
                depths[row, node] = depths[row, parent - 1] + 1
                sees[row, node] |= sees[row, parent - 1]
        parents[row, : len(tree.edges)] = [parent for parent, _ in tree.edges]
        branches[row, : len(tree.edges)] = [token for _, token in tree.edges]
    return AnswerTrees(tokens, depths, sees, parents, branches)
