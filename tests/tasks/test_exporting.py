"""Keras' and KerasHub's ways to export lead to those that write all of a model."""

from __future__ import annotations

import inspect
import re

import keras
import numpy as np
import pytest
import transformers
from keras import ops

from keras_pg2 import PaliGemma2CausalLM, deploy
from tests.support.tiny_models import random_task


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task()


@pytest.mark.parametrize("format", ["tf_saved_model", "onnx", "litert"])
def test_keras_export_names_ours(task, format):
    with pytest.raises(NotImplementedError, match="'folder/m'") as error:
        task.export("folder/m", format=format, verbose=False)
    [name] = re.findall(r"deploy\.(\w+)\(", str(error.value))
    assert callable(getattr(deploy, name))
    assert format.removeprefix("tf_") in name


def test_another_format_is_told(task):
    with pytest.raises(ValueError, match=r"onnx.*'openvino'"):
        task.export("m", "openvino")
    theirs = inspect.signature(keras.Model.export).parameters
    ours = inspect.signature(task.export).parameters
    for name in ("filepath", "format"):
        assert ours[name].default == theirs[name].default


def test_a_network_alone_is_read_by_transformers(task, tmp_path):
    task.backbone.export_to_transformers(tmp_path / "model")
    loaded = transformers.PaliGemmaForConditionalGeneration.from_pretrained(
        tmp_path / "model"
    )
    ours = ops.convert_to_numpy(task.backbone.token_embedding.embeddings)
    # Rows after these are for tokens that transformers adds.
    theirs = loaded.get_input_embeddings().weight.detach().numpy()[: len(ours)]
    np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize("name", ["tokenizer", "preprocessor"])
def test_a_tokenizer_alone_is_read_by_transformers(task, tmp_path, name):
    tokenizer = task.preprocessor.tokenizer
    part = tokenizer if name == "tokenizer" else task.preprocessor
    part.export_to_transformers(tmp_path / name)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / name)
    text = "detect cat ; dog <loc0012>"
    theirs = loaded(text, add_special_tokens=False).input_ids
    assert theirs == list(tokenizer.tokenize(text))
