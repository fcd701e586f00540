"""How near to the memory bandwidth the bare products of one token come in XLA.

    python -m benchmarks.token_products        # the 290M shape of benchmarks.generate

A token of an answer multiplies one row with every matrix of the decoder, and with the
whole vocabulary. Here only these products are compiled, one after another, with no
attention, norms or cache between them: no decoder on XLA's CPU code can read its
weights faster. Also with query, key and value, and gate and up, as one matrix each.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.limits import read_bandwidth
from benchmarks.sides import numbers_of


def make_weights(numbers: dict[str, Any], is_joined: bool) -> list[list[jax.Array]]:
    """Random matrices of each layer, in the order of their products."""
    dim, inner = numbers["hidden_dim"], numbers["intermediate_dim"]
    query = numbers["num_query_heads"] * numbers["head_dim"]
    key = numbers["num_key_value_heads"] * numbers["head_dim"]
    first = [query + 2 * key] if is_joined else [query, key, key]
    second = [2 * inner] if is_joined else [inner, inner]
    shapes = [(dim, n) for n in first] + [(query, dim)]
    shapes += [(dim, n) for n in second] + [(inner, dim)]
    rng = np.random.default_rng(0)
    return [
        [jnp.asarray(rng.standard_normal(s, np.float32) * 0.02) for s in shapes]
        for _ in range(numbers["num_layers"])
    ]


def run_products(
    layers: list[list[jax.Array]], embeddings: jax.Array, x: jax.Array
) -> jax.Array:
    """All products of a token, each waiting for what the last one gave."""
    for matrices in layers:
        for matrix in matrices:
            height = matrix.shape[0]
            # A row as wide as the matrix is high, made of the last result.
            x = jnp.tile(x, (1, -(-height // x.shape[1])))[:, :height] @ matrix
    x = x[:, : embeddings.shape[1]]
    return jnp.argmax(x @ embeddings.T)


def measure(
    numbers: dict[str, Any], is_joined: bool, num_runs: int
) -> dict[str, float]:
    """Seconds of a token's products, and their share of the bandwidth around them."""
    layers = make_weights(numbers, is_joined)
    shape = (numbers["vocabulary_size"], numbers["hidden_dim"])
    embeddings = jnp.asarray(
        np.random.default_rng(1).standard_normal(shape, np.float32)
    )
    num_bytes = embeddings.nbytes + sum(m.nbytes for layer in layers for m in layer)
    compiled = jax.jit(run_products)
    x = jnp.ones((1, numbers["hidden_dim"]), jnp.float32)
    jax.block_until_ready(compiled(layers, embeddings, x))
    shares, seconds = [], []
    for _ in range(num_runs):
        before = read_bandwidth()
        times = []
        for _ in range(10):
            start = time.perf_counter()
            jax.block_until_ready(compiled(layers, embeddings, x))
            times.append(time.perf_counter() - start)
        seconds.append(statistics.median(times))
        bandwidth = max(before, read_bandwidth())
        shares.append(num_bytes / bandwidth / seconds[-1])
    return {
        "milliseconds": 1000 * statistics.median(seconds),
        "share_of_reading": statistics.median(shares),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="290m")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    numbers = numbers_of(args.shape)["text_decoder"]
    for is_joined in (False, True):
        figures = measure(numbers, is_joined, args.runs)
        name = "joined matrices" if is_joined else "as in the model"
        print(
            f"{name:16} {figures['milliseconds']:6.1f} ms a token, "
            f"{100 * figures['share_of_reading']:.0f} % of the reading bandwidth"
        )


if __name__ == "__main__":
    main()
