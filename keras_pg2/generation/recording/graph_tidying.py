"""A recorded graph of PyTorch with fewer operations, and cheaper calls of them.

One token takes some 220 operations a decoder block, more than half of which only look
at a tensor in another shape, and each 2 to 5 us of Python, whatever it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.fx import Graph, GraphModule

Node = Any

VIEWS = (
    *("view", "_unsafe_view", "alias", "expand"),
    *("permute", "squeeze", "t", "transpose", "unsqueeze"),
)
"""Operations that look at all of a tensor, in another shape or order."""
CALLED_DIRECTLY = (
    *("view", "expand", "permute", "transpose", "unsqueeze", "cat", "where"),
    *("add", "add_", "bmm", "div", "mean", "mm", "mul", "pow", "rsqrt", "tanh"),
)
"""Operations with a function in PyTorch that takes the same arguments, in half of the
time of a call by the operation's name."""


def tidy(module: GraphModule) -> None:
    """Makes a graph of `make_fx` shorter; it computes the same.

    - Views that change nothing go, and a view of a view is one.
    - What is computed twice is computed once.
    - Views of weights and constants are made once; as they are of the same memory,
      new numbers in a weight are seen.

    Args:
        module: a `torch.fx.GraphModule` that draws no random numbers, changed in place.
    """
    _drop_views(module.graph)
    _drop_repetitions(module.graph)
    _make_once(module)
    module.graph.eliminate_dead_code()
    _call_directly(module.graph)
    module.recompile()


def _drop_views(graph: Graph) -> None:
    for node in list(graph.nodes):
        if _name(node) not in VIEWS:
            continue
        source = node.args[0]
        if _looks_of(node) == _looks_of(source):
            _replace(node, source)
        elif _name(node) == "view" and _name(source) in ("view", "_unsafe_view"):
            node.args = (source.args[0], list(node.meta["val"].shape))


def _drop_repetitions(graph: Graph) -> None:
    owners, written = _trace_memory(graph)
    known: dict[str, Node] = {}
    for node in list(graph.nodes):
        # What is written to may be another when it is read again.
        used = {owners[each] for each in (node, *node.all_input_nodes)}
        if not _name(node) or used & written:
            continue
        call = f"{node.target} {node.args} {node.kwargs}"
        first = known.setdefault(call, node)
        if first is not node:
            _replace(node, first)


def _make_once(module: GraphModule) -> None:
    import torch

    owners, written = _trace_memory(module.graph)
    for number, node in enumerate(list(module.graph.nodes)):
        is_copy = _name(node) == "lift_fresh_copy"
        if not (is_copy or _name(node) in VIEWS) or owners[node] in written:
            continue
        source = node.args[0]
        if source.op != "get_attr":
            continue
        value = getattr(module, source.target)
        with torch.no_grad():
            value = value if is_copy else node.target(value, *node.args[1:])
        module.register_buffer(f"made_once_{number}", value, persistent=False)
        with module.graph.inserting_before(node):
            made = module.graph.get_attr(f"made_once_{number}")
        _replace(node, made)


def _call_directly(graph: Graph) -> None:
    import torch

    for node in graph.nodes:
        name = _name(node)
        if name in CALLED_DIRECTLY:
            node.target = getattr(torch, name, None) or getattr(torch.Tensor, name)


def _trace_memory(graph: Graph) -> tuple[dict[Node, Node], set[Node]]:
    """The node whose memory each node looks at, and those of them that are written.

    The caller may write to results, so they count as written.
    """
    owners: dict[Node, Node] = {}
    written = set()
    for node in graph.nodes:
        owners[node] = node
        if _name(node):
            targets = [owners[each] for each in _written_by(node)]
            written.update(targets)
            if targets:
                owners[node] = targets[0]
            elif node.target.is_view:
                owners[node] = owners[node.args[0]]
        elif getattr(node.target, "__name__", "") == "getitem":
            owners[node] = owners[node.args[0]]
    results = next(node for node in graph.nodes if node.op == "output")
    written.update(owners[each] for each in results.all_input_nodes)
    return owners, written


def _written_by(node: Node) -> Iterator[Node]:
    """The arguments that an operation changes in place."""
    for index, argument in enumerate(node.target._schema.arguments):  # noqa: SLF001
        if argument.alias_info is not None and argument.alias_info.is_write:
            is_positional = index < len(node.args)
            yield node.args[index] if is_positional else node.kwargs[argument.name]


def _name(node: Node) -> str:
    """`mul` of `aten.mul.Tensor`; nothing of what is no operation."""
    schema = getattr(node.target, "_schema", None)
    return "" if schema is None else str(schema.name).split("::")[1]


def _looks_of(node: Node) -> tuple:
    value = node.meta["val"]
    return value.shape, value.stride(), value.dtype


def _replace(node: Node, other: Node) -> None:
    node.replace_all_uses_with(other)
    node.graph.erase_node(node)
