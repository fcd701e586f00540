"""big_vision's forward pass in NumPy, on the arrays of a .npz as they are.

Written from the formulas of `models/vit.py` (So400m, no pooling), `models/ppp/gemma.py`
and `models/proj/paligemma/paligemma.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


def layer_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale + bias


def rms_norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * (1 + scale)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def rope(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """[T, N, H], the first and the second half of H are the pairs."""
    half = x.shape[-1] // 2
    angles = positions[:, None] / 10_000 ** (np.arange(half) / half)
    sin, cos = np.sin(angles)[:, None], np.cos(angles)[:, None]
    first, second = x[..., :half], x[..., half:]
    return np.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )


def encode_image(params: Arrays, image: np.ndarray) -> np.ndarray:
    """[h, w, 3] in [-1, 1] -> [I, D of the decoder]."""
    kernel = params["img/embedding/kernel"]
    size = kernel.shape[0]
    rows, columns = (side // size for side in image.shape[:2])
    patches = image.reshape(rows, size, columns, size, 3).transpose(0, 2, 1, 3, 4)
    x = np.einsum("rchwk,hwkd->rcd", patches, kernel)
    x = x.reshape(rows * columns, -1) + params["img/embedding/bias"]
    x = x + params["img/pos_embedding"][0]
    prefix = "img/Transformer/encoderblock/"
    block = {k[len(prefix) :]: v for k, v in params.items() if k.startswith(prefix)}
    for i in range(len(block["LayerNorm_0/scale"])):
        at = {name: value[i] for name, value in block.items()}
        y = layer_norm(x, at["LayerNorm_0/scale"], at["LayerNorm_0/bias"])
        name = "MultiHeadDotProductAttention_0/"
        q, k, v = (
            np.einsum("td,dnh->tnh", y, at[f"{name}{which}/kernel"])
            + at[f"{name}{which}/bias"]
            for which in ("query", "key", "value")
        )
        scores = np.einsum("tnh,snh->nts", q, k) / np.sqrt(q.shape[-1])
        y = np.einsum("nts,snh->tnh", softmax(scores), v)
        y = np.einsum("tnh,nhd->td", y, at[name + "out/kernel"])
        x = x + y + at[name + "out/bias"]
        y = layer_norm(x, at["LayerNorm_1/scale"], at["LayerNorm_1/bias"])
        y = gelu(y @ at["MlpBlock_0/Dense_0/kernel"] + at["MlpBlock_0/Dense_0/bias"])
        x = x + y @ at["MlpBlock_0/Dense_1/kernel"] + at["MlpBlock_0/Dense_1/bias"]
    norm = "img/Transformer/encoder_norm/"
    x = layer_norm(x, params[norm + "scale"], params[norm + "bias"])
    return x @ params["img/head/kernel"] + params["img/head/bias"]


def logits(
    arrays: Arrays,
    image: np.ndarray,
    token_ids: np.ndarray,
    num_responses: int,
    query_pre_attn_scalar: float,
    attention_cap: float | None,
    final_cap: float | None,
) -> np.ndarray:
    """[T, V] of one example; the last tokens are the response. No window."""
    params: dict[str, Any] = {
        key.removeprefix("params/"): value.astype(np.float64)
        for key, value in arrays.items()
    }
    table = params["llm/embedder/input_embedding"]
    text = table[token_ids] * np.sqrt(table.shape[1])
    x = np.concatenate([encode_image(params, image), text])
    length = len(x)
    # mask_ar: 0 in the prefix, 1 at every token of the response.
    blocks = np.maximum(np.arange(length) - (length - num_responses) + 1, 0)
    mask = blocks[None, :] <= blocks[:, None]
    prefix = "llm/layers/"
    block = {k[len(prefix) :]: v for k, v in params.items() if k.startswith(prefix)}
    positions = np.arange(length)
    for i in range(len(block["attn/q_einsum/w"])):
        at = {name: value[i] for name, value in block.items()}
        y = rms_norm(x, at["pre_attention_norm/scale"])
        q = np.einsum("td,ndh->tnh", y, at["attn/q_einsum/w"])
        k, v = np.einsum("sd,ckdh->cskh", y, at["attn/kv_einsum/w"])
        q = rope(q, positions) * query_pre_attn_scalar**-0.5
        k = rope(k, positions)
        groups = q.shape[1] // k.shape[1]
        k, v = np.repeat(k, groups, axis=1), np.repeat(v, groups, axis=1)
        scores = np.einsum("tnh,snh->nts", q, k)
        if attention_cap is not None:
            scores = attention_cap * np.tanh(scores / attention_cap)
        scores = np.where(mask, scores, -2.3819763e38)
        y = np.einsum("nts,snh->tnh", softmax(scores), v)
        y = np.einsum("tnh,nhd->td", y, at["attn/attn_vec_einsum/w"])
        if "post_attention_norm/scale" in at:
            y = rms_norm(y, at["post_attention_norm/scale"])
        x = x + y
        y = rms_norm(x, at["pre_ffw_norm/scale"])
        gate, up = at["mlp/gating_einsum"]
        y = (gelu(y @ gate) * (y @ up)) @ at["mlp/linear"]
        if "post_ffw_norm/scale" in at:
            y = rms_norm(y, at["post_ffw_norm/scale"])
        x = x + y
    x = rms_norm(x, params["llm/final_norm/scale"])
    result = x[-len(token_ids) :] @ table.T
    return result if final_cap is None else final_cap * np.tanh(result / final_cap)
