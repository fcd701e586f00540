"""Cached generation against the plain forward pass, and batches against rows alone."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from keras import ops

from keras_pg2.generation.compilation import (
    bucket_length,
    bucket_rows,
    bucket_text,
    compile_function,
)
from keras_pg2.generation.decoding import (
    Generated,
    Plan,
    Request,
    decode_step,
    generate_tokens,
    prefill,
)
from keras_pg2.generation.recording import recording
from keras_pg2.generation.samplers import Sampler
from keras_pg2.modeling.backbone import with_image_axis
from keras_pg2.modeling.cpu import scheduling
from tests.support.tiny_networks import random_backbone, random_inputs, randomize

NUM_STEPS = 6


@functools.cache
def compiled(backbone, num_steps):
    """`prefill` and `decode_step`, compiled once for all calls of the same shape."""

    def start(inputs):
        return tuple(prefill(backbone, inputs, num_steps))

    def step(token, slot, cache, layout):
        return decode_step(backbone, token, slot, cache, layout)

    return compile_function(start, backbone), compile_function(step, backbone)


def greedy_steps(backbone, inputs, num_steps=NUM_STEPS):
    """Greedy tokens int[B, N] and the logits float[N, B, V] they were chosen from."""
    start, step = compiled(backbone, num_steps)
    logits, cache, layout = start(with_image_axis(inputs))
    first_slot = layout.positions.shape[1] - num_steps
    tokens, all_logits = [], []
    for i in range(num_steps):
        token = ops.cast(ops.argmax(logits, axis=-1), "int32")
        tokens.append(ops.convert_to_numpy(token))
        all_logits.append(ops.convert_to_numpy(logits))
        slot = ops.convert_to_tensor(first_slot + i, dtype="int32")
        logits, cache = step(token, slot, cache, layout)
    return np.stack(tokens, axis=1), np.stack(all_logits)


def pad_to_bucket(inputs):
    extra = bucket_length(inputs["token_ids"].shape[1]) - inputs["token_ids"].shape[1]
    return {
        name: value if name == "images" else np.pad(value, ((0, 0), (0, extra)))
        for name, value in inputs.items()
    }


def row_alone(inputs, i):
    """Row i without its padding, padded to its own bucket."""
    length = int(inputs["padding_mask"][i].sum())
    return pad_to_bucket(
        {
            name: value[i : i + 1] if name == "images" else value[i : i + 1, :length]
            for name, value in inputs.items()
        }
    )


@pytest.mark.parametrize("num_responses", [0, 2])
def test_cached_steps_equal_the_uncached_forward(backbone, num_responses):
    inputs = random_inputs([7], num_responses=num_responses)
    tokens, logits = greedy_steps(backbone, inputs)
    token_ids = np.concatenate([inputs["token_ids"], tokens[:, :-1]], axis=1)
    place = np.arange(token_ids.shape[1])[None]
    hidden = backbone(
        {
            "images": inputs["images"],
            "token_ids": token_ids,
            "padding_mask": np.ones_like(token_ids, bool),
            "response_mask": place >= 7 - num_responses,
        }
    )
    expected = ops.convert_to_numpy(backbone.project_to_vocabulary(hidden))
    expected = expected[0, -NUM_STEPS:]
    np.testing.assert_allclose(logits[:, 0], expected, atol=1e-5 * abs(expected).max())
    np.testing.assert_array_equal(tokens[0], expected.argmax(axis=-1))


def test_each_row_of_a_ragged_batch_gets_what_it_gets_alone():
    backbone = random_backbone()
    rng = np.random.default_rng(5)
    for batch in range(20):
        randomize(backbone, seed=batch)
        lengths = rng.permutation(np.arange(2, 30))[:8].tolist()
        inputs = random_inputs(lengths, seed=batch)
        tokens, logits = greedy_steps(backbone, pad_to_bucket(inputs))
        for i in range(8):
            alone_tokens, alone_logits = greedy_steps(backbone, row_alone(inputs, i))
            np.testing.assert_array_equal(tokens[i], alone_tokens[0])
            scale = abs(alone_logits).max()
            np.testing.assert_allclose(
                logits[:, i], alone_logits[:, 0], atol=1e-5 * scale
            )


@functools.cache
def compiled_loop(backbone, with_scores, tokens_at_a_time):
    """The greedy loop, compiled once for all calls of the same shape."""
    plan = Plan(Sampler(), with_scores)
    return compile_function(
        functools.partial(generate_tokens, backbone, plan), backbone
    )


def run_loop(backbone, inputs, limits, stop, num_new=8, with_scores=False):
    """Tokens, their number and their log-probabilities, of the greedy loop."""
    batch_size = len(inputs["token_ids"])
    request = Request(
        with_image_axis(inputs),
        np.zeros((batch_size, num_new), "float32"),
        np.array(limits, "int32"),
        np.array(stop, "int32"),
        Sampler().parameters,
        None,
        np.zeros(batch_size, "int32"),
    )
    run = compiled_loop(backbone, with_scores, scheduling.TOKENS_AT_A_TIME)
    answers = run(request)
    return Generated(*(ops.convert_to_numpy(part) for part in answers))


def test_loop_gives_the_greedy_tokens_up_to_each_limit(backbone):
    inputs = random_inputs([3, 6, 4])
    expected, _ = greedy_steps(backbone, inputs, 8)
    tokens, counts, *_ = run_loop(backbone, inputs, [8, 2, 5], [])
    assert counts.tolist() == [8, 2, 5]
    for i, count in enumerate(counts):
        np.testing.assert_array_equal(tokens[i, :count], expected[i, :count])
        assert not tokens[i, count:].any()


def test_loop_stops_each_row_at_its_stop_token(backbone):
    inputs = random_inputs([3, 6, 4])
    expected, _ = greedy_steps(backbone, inputs, 8)
    stop = [int(expected[0, 2]), int(expected[1, 4])]
    tokens, counts, *_ = run_loop(backbone, inputs, [8, 8, 8], stop)
    for i in range(3):
        first = next((t for t in range(8) if expected[i, t] in stop), 7)
        assert counts[i] == first + 1
        np.testing.assert_array_equal(tokens[i, : first + 1], expected[i, : first + 1])


def test_padding_of_the_prompt_changes_nothing(backbone):
    inputs = random_inputs([3, 6])
    expected, expected_logits = greedy_steps(backbone, inputs)
    tokens, logits = greedy_steps(backbone, pad_to_bucket(inputs))
    np.testing.assert_array_equal(tokens, expected)
    scale = abs(expected_logits).max()
    np.testing.assert_allclose(logits, expected_logits, atol=1e-5 * scale)


def test_scores_are_those_of_a_full_forward_pass(backbone):
    inputs = random_inputs([3, 6, 4])
    answers = run_loop(backbone, inputs, [8, 5, 8], [], with_scores=True)
    for row, count in enumerate(answers.num_generated):
        length = int(inputs["padding_mask"][row].sum())
        tokens = answers.tokens[row, :count]
        token_ids = np.concatenate([inputs["token_ids"][row, :length], tokens])[None]
        hidden = backbone(
            {
                "images": inputs["images"][row : row + 1],
                "token_ids": token_ids,
                "padding_mask": np.ones_like(token_ids, bool),
                "response_mask": np.arange(length + count)[None] >= length,
            }
        )
        logits = ops.convert_to_numpy(backbone.project_to_vocabulary(hidden))
        logits = logits[0, -count - 1 : -1].astype("float64")
        chosen = np.take_along_axis(logits, tokens[:, None], axis=1)[:, 0]
        expected = chosen - np.log(np.exp(logits).sum(axis=1))
        np.testing.assert_allclose(
            answers.log_probabilities[row, :count], expected, atol=1e-4
        )
        assert not answers.log_probabilities[row, count:].any()


def test_recorded_steps_equal_the_layers(monkeypatch):
    """On PyTorch; elsewhere nothing is recorded."""
    inputs = random_inputs([3, 6, 4])
    backbone = random_backbone()
    expected = run_loop(backbone, inputs, [8, 8, 8], [], with_scores=True)
    monkeypatch.setattr(recording, "CALLS_BEFORE_RECORDING", 1)
    for seed in (0, 1):
        randomize(backbone, seed=seed)
        answers = run_loop(backbone, inputs, [8, 8, 8], [], with_scores=True)
        if seed == 0:
            for ours, theirs in zip(answers, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)
    # New weights in a recording.
    fresh = run_loop(random_backbone(seed=1), inputs, [8, 8, 8], [])
    np.testing.assert_array_equal(answers.tokens, fresh.tokens)


def test_buckets():
    assert [bucket_length(n) for n in (1, 16, 17, 100, 1024)] == [16, 16, 32, 128, 1024]
    assert [bucket_text(n, 1) for n in (8, 9, 17, 64, 65)] == [8, 16, 64, 64, 128]
    assert [bucket_text(n, 2) for n in (1, 65)] == [64, 128]
    assert [bucket_rows(n) for n in (1, 2, 3, 5, 8, 9, 17)] == [1, 2, 4, 8, 8, 16, 24]


@pytest.mark.two_backends("how rows are split is of NumPy")
def test_rows_a_few_at_a_time_are_the_rows_alone(monkeypatch, backbone):
    inputs = random_inputs([3, 6, 4, 9, 2, 7, 5, 8])
    alone = [
        run_loop(backbone, row_alone(inputs, row), [6], [], with_scores=True)
        for row in range(8)
    ]
    for tokens_at_a_time in (1, 40, 10**6):
        monkeypatch.setattr(scheduling, "TOKENS_AT_A_TIME", tokens_at_a_time)
        answers = run_loop(backbone, inputs, [6] * 8, [], with_scores=True)
        for row, expected in enumerate(alone):
            np.testing.assert_array_equal(answers.tokens[row], expected.tokens[0])
            np.testing.assert_allclose(
                answers.log_probabilities[row], expected.log_probabilities[0], atol=1e-4
            )
