"""How near to the memory bandwidth the bare products of one token come in XLA.

    KERAS_BACKEND=jax python -m benchmarks.token_products    # the 290M shape

A token of an answer multiplies one row with every matrix of the decoder, and with the
whole vocabulary. Here only these products are compiled, one after another, with no
attention, norms or cache between them: as whole matrices, and in parts as the model
computes them (`keras_pg2/modeling/cpu/products.py`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.limits import read_bandwidth
from benchmarks.sides import architecture_of
from keras_pg2.modeling.cpu.products import multiply_by_kernel


def make_weights(sizes: dict[str, Any]) -> list[list[jax.Array]]:
    """Random matrices of each layer, in the order of their products."""
    dim, inner = sizes["hidden_dim"], sizes["intermediate_dim"]
    query = sizes["num_query_heads"] * sizes["head_dim"]
    key = sizes["num_key_value_heads"] * sizes["head_dim"]
    shapes = [(dim, query), (dim, key), (dim, key), (query, dim)]
    shapes += [(dim, inner), (dim, inner), (inner, dim)]
    rng = np.random.default_rng(0)
    return [
        [jnp.asarray(rng.standard_normal(s, np.float32) * 0.02) for s in shapes]
        for _ in range(sizes["num_layers"])
    ]


def run_products(
    multiply: Callable[[jax.Array, jax.Array], jax.Array],
    layers: list[list[jax.Array]],
    embeddings: jax.Array,
    x: jax.Array,
) -> jax.Array:
    """All products of a token, each waiting for what the last one gave."""
    for matrices in layers:
        for matrix in matrices:
            height = matrix.shape[0]
            # A row as wide as the matrix is high, made of the last result.
            row = jnp.tile(x, (1, -(-height // x.shape[1])))[:, :height]
            x = multiply(row, matrix)
    return jnp.argmax(x[:, : embeddings.shape[1]] @ embeddings.T)


def measure(
    multiply: Callable[[jax.Array, jax.Array], jax.Array],
    sizes: dict[str, Any],
    num_runs: int,
) -> dict[str, float]:
    """Seconds of a token's products, and their share of the bandwidth around them."""
    layers = make_weights(sizes)
    shape = (sizes["vocabulary_size"], sizes["hidden_dim"])
    embeddings = jnp.asarray(
        np.random.default_rng(1).standard_normal(shape, np.float32)
    )
    num_bytes = embeddings.nbytes + sum(m.nbytes for layer in layers for m in layer)
    compiled = jax.jit(partial(run_products, multiply))
    x = jnp.ones((1, sizes["hidden_dim"]), jnp.float32)
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
    sizes = architecture_of(args.shape)["text_decoder"]
    kinds = {"whole matrices": jnp.matmul, "in parts": multiply_by_kernel}
    for name, multiply in kinds.items():
        figures = measure(multiply, sizes, args.runs)
        print(
            f"{name:16} {figures['milliseconds']:6.1f} ms a token, "
            f"{100 * figures['share_of_reading']:.0f} % of the reading bandwidth"
        )


if __name__ == "__main__":
    main()
