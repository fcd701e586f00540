"""How calls of few tokens are compiled. (JAX.)"""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_pg2.generation import compilation
from keras_pg2.generation.decoding import Request, count_tokens
from keras_pg2.generation.samplers import Sampler
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_inputs

JAX_ONLY = pytest.mark.skipif(
    keras.config.backend() != "jax", reason="Only JAX has options of its compiler."
)


def test_tokens_of_pictures_text_and_padding_are_counted():
    backbone = random_task().backbone
    arrays = random_inputs([3, 9])
    token_ids = arrays["token_ids"]
    images = np.zeros((1, 3, *arrays["images"].shape[-3:]), np.float32)
    embeddings = np.zeros((1, 7, 24), np.float32)
    parameters = Sampler().parameters
    for pictures, expected in (
        ({"images": images}, 2 * (3 * backbone.num_image_tokens + 9)),
        ({"image_embeddings": embeddings}, 2 * (7 + 9)),
    ):
        inputs = {**pictures, "token_ids": token_ids}
        request = Request(inputs, None, None, None, parameters, None, None)
        assert count_tokens(backbone, request) == expected


@JAX_ONLY
def test_calls_of_few_tokens_alone_are_made_to_load_sooner(monkeypatch):
    import jax

    task = random_task()
    task.preprocessor = None
    known, compile_anew = [], jax.jit

    def recording(*args, **kwargs):
        known.append(kwargs["compiler_options"])
        return compile_anew(*args, **kwargs)

    options = compilation._quick_to_load()
    monkeypatch.setattr(jax, "jit", recording)
    monkeypatch.setattr(compilation, "FEW_TOKENS", 16 + task.backbone.num_image_tokens)
    both = random_inputs([9, 16])
    answers = []
    for rows in (slice(1), slice(2)):
        inputs = {name: value[rows] for name, value in both.items()}
        result = task.generate(inputs, max_new_tokens=4, stop_token_ids=None)
        answers.append(result["token_ids"][0, :13])
    assert known == [options, None]
    assert answers[0].tolist() == answers[1].tolist()


@JAX_ONLY
@pytest.mark.parametrize("is_small", [False, True])
def test_compiled_functions_within_other_ones(is_small):
    import jax

    task = random_task()
    compiled = compilation.compile_function(lambda x: 2 * x, task, is_small=is_small)
    assert compiled(np.ones(3)).tolist() == [2.0] * 3
    assert jax.jit(compiled)(np.ones(3)).tolist() == [2.0] * 3
    assert jax.eval_shape(compiled, np.ones(3)).shape == (3,)


@JAX_ONLY
def test_options_leave_out_what_is_slow_to_load():
    import jax

    options = compilation._quick_to_load()
    if options is None:
        pytest.skip("This jaxlib does not know them.")
    matrix = np.ones((256, 256), np.float32)

    def code(options):
        jitted = jax.jit(keras.ops.matmul, compiler_options=options)
        return jitted.lower(matrix, matrix).compile().as_text()

    assert "ynn" in code(None)
    assert "ynn" not in code(options)
