"""Prompts and answers to token ids and ids to text, inside a TensorFlow graph.

Axes: B batch, T text of the prompt, N new tokens.
"""

from __future__ import annotations

import re
from types import ModuleType

from keras_pg2.deploy.preparation import describe_preparation
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.prompts import (
    ADDED_TOKENS,
    BLANKS,
    CONTROL_TOKENS,
    TYPED_NEWLINE,
)
from keras_pg2.typing import Tensor

NOT_UNICODE = "Expected {} as UTF-8. Received: bytes that are not."
CONTROL_TOKEN = (
    f"Expected {{}} without {', '.join(CONTROL_TOKENS)}: {ADDED_TOKENS}. Received: one "
    "with such a token."
)


class GraphText:
    """The model's tokenizer as operations of TensorFlow Text.

    Args:
        tf: the module `tensorflow`.
        tf_text: the module `tensorflow_text`.
        preprocessor: the model's.
        prompt_length: T, bos and separator among them.
        answer_length: N, the end token among them.
    """

    def __init__(
        self,
        tf: ModuleType,
        tf_text: ModuleType,
        preprocessor: PaliGemma2CausalLMPreprocessor,
        prompt_length: int,
        answer_length: int,
    ) -> None:
        tokenizer = preprocessor.tokenizer
        described = describe_preparation(preprocessor)
        self.tf = tf
        self.prompt_length = prompt_length
        self.answer_length = answer_length
        self.tokenizer = tf_text.SentencepieceTokenizer(
            model=tokenizer.proto, out_type=tf.int32
        )
        self.separator = preprocessor.separator
        self.start: list[int] = described["start_token_ids"]
        self.end: list[int] = described["separator_ids"]
        self.pad_token_id = tokenizer.pad_token_id
        self.end_token_id = tokenizer.end_token_id
        self.special_token_ids: list[int] = described["special_token_ids"]
        self.vocabulary_size = tokenizer.vocabulary_size()

    def tokenize(self, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`[bos] prompt [separator]` of string[B], padded on the right.

        Returns:
            int32[B, T] ids, bool[B, T] where they are no padding, and string[B] what
            is wrong with a prompt ("" for nothing; a wrong one has the ids of none).
        """
        tf = self.tf
        clean, error = self._as_text(prompts, "a prompt")
        # What `clean_prompt` does, in RE2.
        if self.separator.isspace():
            pattern = rf"^[{BLANKS}]+|(?:[{BLANKS}]|{TYPED_NEWLINE})+\z"
        else:
            pattern = re.escape(self.separator) + r"\z"
        clean = tf.strings.regex_replace(clean, pattern, "")
        limit = "a prompt of at most {} tokens, bos and newline among them"
        ids, lengths, error = self._pack(
            clean, error, (self.start, self.end), self.prompt_length, limit
        )
        return ids, tf.sequence_mask(lengths, self.prompt_length), error

    def tokenize_answers(self, answers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`answer [eos]` of string[B], padded on the right.

        Returns:
            int32[B, N] ids, int32[B] how many of them are no padding, and string[B]
            what is wrong with an answer, as of a prompt.
        """
        clean, error = self._as_text(answers, "an answer")
        limit = "an answer of at most {} tokens, the end token among them"
        return self._pack(
            clean, error, ([], [self.end_token_id]), self.answer_length, limit
        )

    def detokenize(self, token_ids: Tensor) -> Tensor:
        """string[B] of int32[B, N], without special tokens and unknown ids."""
        tf = self.tf
        special = tf.constant(self.special_token_ids, tf.int32)
        is_special = tf.reduce_any(token_ids[..., None] == special, axis=-1)
        is_known = (token_ids >= 0) & (token_ids < self.vocabulary_size)
        text_ids = tf.ragged.boolean_mask(token_ids, is_known & ~is_special)
        return self.tokenizer.detokenize(text_ids)

    def _as_text(self, texts: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """string[B] that is UTF-8, and string[B] what is wrong with the texts."""
        tf = self.tf
        clean = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
        tokens = "|".join(CONTROL_TOKENS)
        has_token = tf.strings.regex_full_match(clean, rf"(?s).*({tokens}).*")
        error = tf.where(has_token, CONTROL_TOKEN.format(name), "")
        return clean, tf.where(clean == texts, error, NOT_UNICODE.format(name))

    def _pack(
        self,
        texts: Tensor,
        error: Tensor,
        ends: tuple[list[int], list[int]],
        size: int,
        limit: str,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ids int32[B, size] of texts between their ends, lengths int32[B], errors."""
        tf = self.tf
        ids = self._join(self.tokenizer.tokenize(texts), ends)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        message = f"Expected {limit.format(size)}. Received: one of "
        too_long = tf.strings.join([message, tf.strings.as_string(lengths), "."])
        error = tf.where((error == "") & (lengths > size), too_long, error)
        is_valid = error == ""
        empty = self._join(self._empty_rows(ids), ends)
        ids = tf.where(is_valid[:, None], self._pad(ids, size), self._pad(empty, size))
        num_ends = len(ends[0]) + len(ends[1])
        return ids, tf.where(is_valid, lengths, num_ends), error

    def _empty_rows(self, like: Tensor) -> Tensor:
        """Return as many rows as another tensor has, without tokens."""
        tf = self.tf
        lengths = tf.zeros([like.nrows()], tf.int64)
        return tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), lengths)

    def _join(self, ids: Tensor, ends: tuple[list[int], list[int]]) -> Tensor:
        tf = self.tf
        count = ids.nrows()
        first, last = (
            tf.RaggedTensor.from_tensor(
                tf.tile([tf.constant(tokens, tf.int32)], [count, 1])
            )
            for tokens in ends
        )
        return tf.concat([first, ids, last], axis=1)

    def _pad(self, ids: Tensor, size: int) -> Tensor:
        dense = ids.to_tensor(self.pad_token_id, shape=[None, size])
        return self.tf.ensure_shape(dense, [None, size])
