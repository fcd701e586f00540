"""`PaliGemma2Tokenizer` beside the conventions of KerasHub's tokenizers."""

from __future__ import annotations

import keras_hub
import pytest

from keras_pg2 import PaliGemma2Backbone, PaliGemma2Tokenizer
from tests.support.keras_hub_harness import (
    assert_equal,
    check_config,
    check_name,
    check_pipelines,
    forms,
)
from tests.support.tiny_vocabulary import gemma_like_proto

TEXTS = ["a red ball", "detect dog", "<loc0003><loc1023> dog", "schläft 猫\n"]


@pytest.fixture(scope="module")
def tokenizer() -> PaliGemma2Tokenizer:
    return PaliGemma2Tokenizer(gemma_like_proto())


def test_config(tokenizer):
    check_config(tokenizer)


def test_name(tokenizer):
    check_name(tokenizer)


def test_classes_name_each_other():
    assert PaliGemma2Tokenizer.backbone_cls is PaliGemma2Backbone


@pytest.mark.parametrize("form", forms("tf.data", "grain"))
def test_pipelines(tokenizer, form):
    check_pipelines(tokenizer, TEXTS, form)


def test_there_and_back(tokenizer):
    assert_equal(tokenizer.detokenize(tokenizer(TEXTS)), TEXTS)
    assert_equal(tokenizer.detokenize(tokenizer(TEXTS[0])), TEXTS[0])


def test_vocabulary(tokenizer):
    vocabulary = tokenizer.get_vocabulary()
    assert len(vocabulary) == tokenizer.vocabulary_size()
    for id in (0, 1, 2, 300, len(vocabulary) - 1):
        assert tokenizer.token_to_id(tokenizer.id_to_token(id)) == id
    assert set(tokenizer.special_tokens) == {"<bos>", "<eos>", "<pad>"}
    assert set(tokenizer.special_token_ids) == {0, 1, 2}
    assert tokenizer.id_to_token(tokenizer.start_token_id) == "<bos>"


@pytest.mark.parametrize("cls", [PaliGemma2Tokenizer, keras_hub.tokenizers.Tokenizer])
def test_preset(tokenizer, preset, cls):
    loaded = cls.from_preset(preset)
    assert type(loaded) is PaliGemma2Tokenizer
    assert_equal(loaded(TEXTS), tokenizer(TEXTS))


def test_files_of_a_preset(tokenizer, tmp_path):
    tokenizer.save_to_preset(str(tmp_path))
    assert (tmp_path / "tokenizer.json").is_file()
    stored = tmp_path / "assets/tokenizer/vocabulary.spm"
    assert stored.read_bytes() == gemma_like_proto()


def test_preset_by_name():
    assert PaliGemma2Tokenizer.from_preset("pali_gemma2_nano").vocabulary_size() == 1652
    with pytest.raises(ValueError, match="clowntown"):
        PaliGemma2Tokenizer.from_preset("clowntown")
