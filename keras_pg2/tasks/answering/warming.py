"""A request like those to come, which compiles what they need."""

from __future__ import annotations

import numpy as np

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.generation.decoding import Request
from keras_pg2.tasks.answering.requests import AnsweringModel, Options, make_request


def warming_request(
    model: AnsweringModel,
    batch_size: int,
    prompt_length: int,
    max_new_tokens: int | None,
    num_images: int,
) -> Request:
    """Return a request of given sizes; see `PaliGemma2CausalLM.warmup`."""
    for name, number in (
        ("batch_size", batch_size),
        ("prompt_length", prompt_length),
        ("num_images", num_images),
    ):
        check_at_least_one(name, number)
    size = model.backbone.image_size
    shape = (batch_size, num_images, size, size, 3)
    # Different pictures, as they will be.
    index = np.arange(batch_size, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
    is_prompt = np.ones((batch_size, prompt_length), bool)
    arrays = {
        "images": np.broadcast_to(index, shape),
        "token_ids": is_prompt.astype(np.int32),
        "padding_mask": is_prompt,
        "response_mask": ~is_prompt,
    }
    options = Options(
        max_new_tokens=max_new_tokens,
        stop_token_ids=None if model.preprocessor is None else "auto",
    )
    request = make_request(model, arrays, options)
    # Two tokens, as the second is the first that has only the cache.
    return request._replace(
        token_limits=np.minimum(request.token_limits, 2),
        stop_token_ids=np.full_like(request.stop_token_ids, -1),
    )
