"""Prompts to token ids and ids to text, inside a TensorFlow graph.

Axes: B batch, T text of the prompt, N new tokens.
"""

from __future__ import annotations

import re
from typing import Any

Tensor = Any

NOT_UNICODE = "Expected prompt as UTF-8. Received: bytes that are not."
IMAGE_TOKEN = (
    "Expected a prompt without '<image>': image tokens are placed by the model. "
    "Received: a prompt with it."
)


class GraphText:
    """The model's tokenizer as operations of TensorFlow Text.

    Args:
        tf: the module `tensorflow`.
        tf_text: the module `tensorflow_text`.
        preprocessor: the model's.
        prompt_length: T, bos and separator among them.
    """

    def __init__(
        self, tf: Any, tf_text: Any, preprocessor: Any, prompt_length: int
    ) -> None:
        tokenizer = preprocessor.tokenizer
        self.tf = tf
        self.prompt_length = prompt_length
        self.tokenizer = tf_text.SentencepieceTokenizer(
            model=tokenizer.proto, out_type=tf.int32
        )
        self.separator = preprocessor.separator
        self.start = [tokenizer.start_token_id] if preprocessor.add_start_token else []
        self.end: list[int] = []
        if self.separator:
            [self.end] = tokenizer.tokenize([self.separator])
        self.pad_token_id = tokenizer.pad_token_id
        self.special_token_ids = list(tokenizer.special_token_ids)
        self.vocabulary_size = tokenizer.vocabulary_size()
        self.too_long = (
            f"Expected a prompt of at most {prompt_length} tokens, bos and newline "
            "among them. Received: one of "
        )

    def tokenize(self, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`[bos] prompt [separator]` of string[B], padded on the right.

        Returns:
            int32[B, T] ids, bool[B, T] where they are no padding, and string[B] what
            is wrong with a prompt ("" for nothing; a wrong one has the ids of none).
        """
        tf = self.tf
        clean = tf.strings.unicode_transcode(prompts, "UTF-8", "UTF-8")
        is_text = clean == prompts
        if self.separator:
            # The last one, and that alone: `str.removesuffix` in RE2.
            pattern = re.escape(self.separator) + r"\z"
            clean = tf.strings.regex_replace(clean, pattern, "")
        ids = self._join(self.tokenizer.tokenize(clean))
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        has_image = tf.strings.regex_full_match(clean, r"(?s).*<image>.*")
        too_long = tf.strings.join([self.too_long, tf.strings.as_string(lengths), "."])
        error = tf.where(lengths > self.prompt_length, too_long, "")
        error = tf.where(has_image, IMAGE_TOKEN, error)
        error = tf.where(is_text, error, NOT_UNICODE)
        is_right = error == ""
        ids = tf.where(is_right[:, None], self._pad(ids), self._pad(self._no_text(ids)))
        empty_length = len(self.start) + len(self.end)
        lengths = tf.where(is_right, lengths, empty_length)
        return ids, tf.sequence_mask(lengths, self.prompt_length), error

    def detokenize(self, token_ids: Tensor) -> Tensor:
        """string[B] of int32[B, N], without special tokens and unknown ids."""
        tf = self.tf
        special = tf.constant(self.special_token_ids, tf.int32)
        is_special = tf.reduce_any(token_ids[..., None] == special, axis=-1)
        is_known = (token_ids >= 0) & (token_ids < self.vocabulary_size)
        kept = tf.ragged.boolean_mask(token_ids, is_known & ~is_special)
        return self.tokenizer.detokenize(kept)

    def _no_text(self, like: Any) -> Any:
        """As many rows as another, of an empty prompt."""
        tf = self.tf
        none = tf.RaggedTensor.from_row_lengths(
            tf.zeros([0], tf.int32), tf.zeros([like.nrows()], tf.int64)
        )
        return self._join(none)

    def _join(self, ids: Any) -> Any:
        tf = self.tf
        count = ids.nrows()
        parts = [
            tf.RaggedTensor.from_tensor(
                tf.tile([tf.constant(ends, tf.int32)], [count, 1])
            )
            for ends in (self.start, self.end)
        ]
        return tf.concat([parts[0], ids, parts[1]], axis=1)

    def _pad(self, ids: Any) -> Tensor:
        shape = [None, self.prompt_length]
        dense = ids.to_tensor(self.pad_token_id, shape=shape)
        return self.tf.ensure_shape(dense, shape)
