"""The parts of a LiteRT-LM file, given what LiteRT-LM 0.18 gives them.

Axes: I image tokens, P pieces of the text of an image, L rows of a prefill, S slots of
the cache, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.deploy.comparison import (
    NUM_ANSWER_TOKENS,
    LogitComparison,
    compare_logits,
    random_inputs,
)
from keras_pg2.modeling import PaliGemma2Backbone
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer

MASKED = -1e9


class LiteRTLMParts:
    """Files before they are joined.

    Args:
        files: the file of each signature: embedder, vision_<size>, vision_adapter,
            prefill_<rows> and decode.
        pieces: tokens of the text that stands for an image.
    """

    def __init__(self, files: Mapping[str, Path], pieces: Sequence[int]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreters = {file: Interpreter(str(file)) for file in set(files.values())}
        self._signatures = {
            name: interpreters[file].get_signature_runner(name)
            for name, file in files.items()
        }
        self._pieces = list(pieces)

    def compare(
        self, backbone: PaliGemma2Backbone, tokenizer: PaliGemma2Tokenizer, length: int
    ) -> LogitComparison:
        """Compare the parts with the model on random pictures and prompts.

        Args:
            backbone: The model's network.
            tokenizer: The model's.
            length: Tokens of the longest prompt; it and a shorter one are run.
        """
        decode = self._signatures["decode"].get_input_details()
        # The last slot holds the position of the newline.
        cache_length = int(decode["mask"]["shape"][-1]) - 1
        cache_left = cache_length - backbone.num_image_tokens - length
        examples = random_inputs(
            backbone,
            sorted({max(length - 3, 2), length}),
            num_answer=min(NUM_ANSWER_TOKENS, cache_left),
            seed=0,
        )
        for _, token_ids, count in examples:
            token_ids[0] = tokenizer.start_token_id
            token_ids[count - 1] = tokenizer.separator_id
        return compare_logits(backbone, self._logits, examples)

    def _logits(
        self, images: np.ndarray, token_ids: np.ndarray, count: int
    ) -> np.ndarray:
        """float32[1 + answer, V] of bos, prompt, newline and answer."""
        name, prefill = self._find("prefill_")
        _, vision = self._find("vision_", other_than="vision_adapter")
        features = vision(images=(images + 1) / 2)["features"]
        adapter = self._signatures["vision_adapter"]
        image = adapter(soft_tokens=features)["mm_embedding"]
        # All but the newline, which is decoded.
        rows = [self._embed(token) for token in [token_ids[0], *self._pieces]]
        rows += [image, *map(self._embed, token_ids[1 : count - 1])]
        embeddings = np.concatenate(rows, axis=1)
        num_tokens, num_rows = embeddings.shape[1], int(name.rpartition("_")[2])
        details = prefill.get_input_details()
        mask = np.full(details["mask"]["shape"], MASKED, np.float32)
        mask[0, 0, :num_tokens][np.tri(num_tokens, mask.shape[-1], dtype=bool)] = 0
        cache = prefill(
            embeddings=np.pad(embeddings, ((0, 0), (0, num_rows - num_tokens), (0, 0))),
            input_pos=np.arange(num_rows, dtype=np.int32)
            * (np.arange(num_rows) < num_tokens).astype(np.int32),
            mask=mask,
            **{
                key: np.zeros(value["shape"], np.float32)
                for key, value in details.items()
                if key.startswith("kv_cache")
            },
        )
        results = []
        for i, token in enumerate(token_ids[count - 1 :]):
            position = num_tokens + i
            mask = np.full((1, 1, 1, mask.shape[-1]), MASKED, np.float32)
            mask[..., : position + 1] = 0
            cache = self._signatures["decode"](
                embeddings=self._embed(token),
                input_pos=np.array([position], np.int32),
                mask=mask,
                **cache,
            )
            results.append(cache.pop("logits")[0, 0])
        return np.stack(results)

    def _embed(self, token: int) -> np.ndarray:
        ids = np.array([[token]], np.int32)
        return self._signatures["embedder"](token_ids=ids)["embeddings"]

    def _find(self, prefix: str, other_than: str = "") -> tuple[str, Any]:
        return next(
            (name, runner)
            for name, runner in self._signatures.items()
            if name.startswith(prefix) and name != other_than
        )
