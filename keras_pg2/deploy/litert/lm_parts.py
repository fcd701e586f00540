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
    compare,
    model_logits,
)

MASKED = -1e9


class LiteRTLMParts:
    """Files before they are joined.

    Args:
        files: the file of each signature: embedder, vision_<size>, vision_adapter,
            prefill_<rows> and decode.
        tokenizer: the model's.
        pieces: tokens of the text that stands for an image.
    """

    def __init__(
        self, files: Mapping[str, Path], tokenizer: Any, pieces: Sequence[int]
    ) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreters = {file: Interpreter(str(file)) for file in set(files.values())}
        self._signatures = {
            name: interpreters[file].get_signature_runner(name)
            for name, file in files.items()
        }
        self._tokenizer = tokenizer
        self._pieces = list(pieces)

    def compare(self, backbone: Any, prefill_length: int) -> LogitComparison:
        """Runs random pictures and prompts through the parts and through the model.

        Args:
            backbone: the model's network.
            prefill_length: tokens of the longest prompt; it and a shorter one are run.
        """
        rng = np.random.default_rng(0)
        size = backbone.image_size
        decode = self._signatures["decode"].get_input_details()
        # The last slot holds the place of the newline.
        cache_length = int(decode["mask"]["shape"][-1]) - 1
        room = cache_length - backbone.num_image_tokens - prefill_length
        num_answer = min(NUM_ANSWER_TOKENS, room)
        total = prefill_length + num_answer
        ours, theirs = [], []
        for count in sorted({max(prefill_length - 3, 2), prefill_length}):
            images = rng.uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
            token_ids = rng.integers(0, backbone.vocabulary_size, count + num_answer)
            token_ids[0] = self._tokenizer.start_token_id
            token_ids[count - 1] = self._tokenizer.separator_id
            ours.append(model_logits(backbone, images, token_ids, count, total))
            theirs.append(self.logits((images + 1) / 2, token_ids.tolist(), count))
        return compare(np.concatenate(ours), np.concatenate(theirs))

    def logits(
        self, images: np.ndarray, token_ids: Sequence[int], count: int
    ) -> np.ndarray:
        """float32[1 + answer, V], after the prompt and after each token of the answer.

        Args:
            images: float32[1, h, w, 3] in [0, 1].
            token_ids: bos, prompt and newline, and the answer.
            count: how many of them are the prompt's.
        """
        name, prefill = self._named("prefill_")
        _, vision = self._named("vision_", but="vision_adapter")
        features = vision(images=images.astype(np.float32))["features"]
        adapter = self._signatures["vision_adapter"]
        image = adapter(soft_tokens=features)["mm_embedding"]
        # All but the newline, which is decoded.
        rows = [self._embed(token) for token in [token_ids[0], *self._pieces]]
        rows += [image, *map(self._embed, token_ids[1 : count - 1])]
        given = np.concatenate(rows, axis=1)
        num_given, num_rows = given.shape[1], int(name.rpartition("_")[2])
        details = prefill.get_input_details()
        mask = np.full(details["mask"]["shape"], MASKED, np.float32)
        mask[0, 0, :num_given][np.tri(num_given, mask.shape[-1], dtype=bool)] = 0
        cache = prefill(
            embeddings=np.pad(given, ((0, 0), (0, num_rows - num_given), (0, 0))),
            input_pos=np.arange(num_rows, dtype=np.int32)
            * (np.arange(num_rows) < num_given).astype(np.int32),
            mask=mask,
            **{
                key: np.zeros(value["shape"], np.float32)
                for key, value in details.items()
                if key.startswith("kv_cache")
            },
        )
        results = []
        for i, token in enumerate(token_ids[count - 1 :]):
            position = num_given + i
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

    def _named(self, beginning: str, but: str = "") -> tuple[str, Any]:
        return next(
            (name, runner)
            for name, runner in self._signatures.items()
            if name.startswith(beginning) and name != but
        )
