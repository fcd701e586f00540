"""Recorded graphs of PyTorch: shorter ones compute what was recorded."""

import keras
import numpy as np
import pytest

if keras.config.backend() != "torch":
    pytest.skip("Graphs are recorded on PyTorch alone.", allow_module_level=True)

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from keras_pg2.generation.recording.graph_tidying import tidy


def tidied(function, *arguments):
    graph = make_fx(function)(*(each.clone() for each in arguments))
    tidy(graph)
    return graph


def targets_of(graph):
    return [n.name for n in graph.graph.nodes if n.op == "call_function"]


def check_equal(function, graph, *arguments):
    """Results, and what is left of arguments that were written to."""
    ours, theirs = ([x.clone() for x in arguments] for _ in range(2))
    with torch.no_grad():
        results = [graph(*ours), function(*theirs)]
    for a, b in zip(*(keras.tree.flatten(r) for r in results), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_views_that_change_nothing_and_repetitions_go():
    def function(x):
        first = x.view(2, 6).expand(2, 6).permute(0, 1)
        again = x.view(2, 6).view(3, 4)
        return first * 2.0 + x.view(2, 6) * 2.0, again + 1.0

    x = torch.arange(12.0)
    graph = tidied(function, x)
    assert targets_of(graph) == ["view", "view_2", "mul", "add", "add_1"]
    check_equal(function, graph, x)


def test_what_is_written_between_two_readings_is_read_twice():
    def function(cache, x):
        rows = cache.view(4, 2)
        before = rows * 1.0
        cache.index_copy_(0, torch.tensor([3]), x)
        return before, rows * 1.0, cache.view(4, 2)

    cache, x = torch.arange(8.0), torch.tensor([-1.0])
    check_equal(function, tidied(function, cache, x), cache, x)


def test_results_that_are_written_to_stay_apart():
    def function(x):
        one, other = x + 1.0, x + 1.0
        one.add_(5.0)
        return one, other, x + 1.0

    x = torch.arange(3.0)
    check_equal(function, tidied(function, x), x)


def test_results_can_be_written_to_afterwards():
    def function(x):
        return torch.zeros(3), torch.zeros(3), x + 1.0, x + 1.0, torch.tensor(2.0)

    x = torch.arange(3.0)
    graph = tidied(function, x)
    for result in graph(x):
        result.add_(7.0)
    check_equal(function, graph, x)


def test_parts_of_a_tensor_share_its_memory():
    def function(x):
        first, second = torch.split(x, 2)
        before = second * 1.0
        x.mul_(2.0)
        return before, second * 1.0, first

    x = torch.arange(4.0)
    check_equal(function, tidied(function, x), x)


def test_views_of_weights_are_made_once_and_see_new_numbers():
    weight = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4))

    def function(x):
        return torch.bmm(x, weight.t().view(1, 4, 3).expand(2, 4, 3))

    x = torch.ones(2, 1, 4)
    graph = tidied(function, x)
    assert targets_of(graph) == ["bmm"]
    with torch.no_grad():
        weight.copy_(-weight.flip(0))
    check_equal(function, graph, x)


def test_a_weight_that_is_written_is_not_kept():
    count = torch.nn.Parameter(torch.zeros(2), requires_grad=False)

    def function(x):
        before = count * 1.0
        count.add_(x)
        return before, count.view(1, 2) * 1.0

    graph = tidied(function, torch.ones(2))
    count.zero_()
    results = [graph(torch.ones(2)) for _ in range(2)]
    np.testing.assert_array_equal(results[1][0], [1, 1])
    np.testing.assert_array_equal(results[1][1], [[2, 2]])


STEPS = (
    lambda x, y: x.reshape(4, 6),
    lambda x, y: x.reshape(2, 3, 4),
    lambda x, y: x.reshape(1, 24).expand(1, 24),
    lambda x, y: x.reshape(4, 6).t(),
    lambda x, y: x.reshape(2, 12).unsqueeze(1).squeeze(1),
    lambda x, y: x.reshape(24) + y.reshape(24),
    lambda x, y: x.reshape(24) * 2.0,
    lambda x, y: torch.cat([x.reshape(24)[12:], y.reshape(24)[:12]]),
    lambda x, y: torch.tanh(x),
    lambda x, y: x.add_(1.0),
    lambda x, y: x.index_copy_(0, torch.tensor([0]), 3.0 * x[:1]),
    lambda x, y: y,
)


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed):
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(STEPS), 30)
    places = rng.integers(0, 1 << 30, (30, 2))
    weight = torch.nn.Parameter(torch.linspace(0, 1, 24), requires_grad=False)

    def program(x):
        values = [x, weight, weight.view(4, 6) * 1.0]
        for pick, (one, other) in zip(picks, places, strict=True):
            first = values[one % len(values)]
            if pick in (9, 10) and first.data_ptr() == weight.data_ptr():
                continue  # A recorded function changes its arguments alone.
            second = values[other % len(values)]
            if pick in (9, 10) and not first.is_contiguous():
                continue
            values.append(STEPS[pick](first, second))
        return values[2:]

    x = torch.linspace(-1, 1, 24)
    check_equal(program, tidied(program, x), x)
