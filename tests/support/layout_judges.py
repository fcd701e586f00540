"""What transformers and this package make of a directory, judged by logits."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from keras import ops
from transformers import PaliGemmaForConditionalGeneration

from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.huggingface.config import read_architecture
from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.modeling import PaliGemma2Backbone
from tests.support.checkpoint_layouts import ERROR, NOTED, OTHER, SAME, Layout
from tests.support.layout_writers import Network, hub_network
from tests.support.reference import (
    GEMMA2,
    VOCABULARY_SIZE,
    build_model,
    random_batch,
)

BATCH = random_batch([3, 7], [2, 1])


class Outcome(NamedTuple):
    """What became of a directory, and the note or error that tells it."""

    kind: str
    told: str = ""


class Judge:
    """Writes layouts of one network, and compares what is computed with them."""

    def __init__(self) -> None:
        model = build_model({**GEMMA2, "num_hidden_layers": 2})
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.bfloat16().float())
        self.network: Network = hub_network(model.config.to_dict(), model.state_dict())
        self.logits = _theirs(model)
        # One for all, as to make it takes longer than all else.
        architecture = read_architecture(self.network.config)
        self.backbone = PaliGemma2Backbone(**architecture)

    def judge(self, layout: Layout, folder: Path) -> tuple[str, Outcome]:
        """Return what transformers makes of a layout, and what we do."""
        folder.mkdir()
        layout.write(folder, self.network)
        return self.judge_theirs(folder), self.judge_ours(folder)

    def judge_theirs(self, folder: Path) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = PaliGemmaForConditionalGeneration.from_pretrained(
                    folder, dtype=torch.float32, attn_implementation="eager"
                )
        except Exception:  # Of any kind: what is refused is refused.
            return ERROR
        return SAME if self._is_close(_theirs(model.eval())) else OTHER

    def judge_ours(self, folder: Path) -> Outcome:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                checkpoint = open_checkpoint(folder)
            except (ValueError, OSError) as error:
                return Outcome(ERROR, str(error))
        if not self._is_close(self._ours(checkpoint)):
            return Outcome(OTHER)
        told = [*checkpoint.notes, *(str(warning.message) for warning in warned)]
        return Outcome(NOTED if told else SAME, "; ".join(told))

    def _ours(self, checkpoint: Checkpoint) -> np.ndarray:
        assert checkpoint.architecture == self.backbone.architecture
        for path, value in checkpoint.variables():
            self.backbone.find(path).assign(value.astype("float32"))
        logits = self.backbone.project_to_vocabulary(self.backbone(BATCH.ours))
        return ops.convert_to_numpy(logits)[BATCH.is_real]

    def _is_close(self, logits: np.ndarray) -> bool:
        return bool(np.abs(logits - self.logits).max() < 1e-4)


def _theirs(model: PaliGemmaForConditionalGeneration) -> np.ndarray:
    with torch.no_grad():
        return BATCH.gather(model(**BATCH.theirs).logits)[:, :VOCABULARY_SIZE]
