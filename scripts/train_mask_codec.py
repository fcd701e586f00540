"""Trains the mask codec of the nano preset from scratch on procedural masks.

    KERAS_BACKEND=torch python scripts/train_mask_codec.py --output mask_codec.npz

The network first learns to copy masks without a codebook; then the codebook begins at
the clusters of the encoder's vectors, and what no mask uses is moved to where vectors
are, now and then. PyTorch is three times as fast as JAX for it on a CPU.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from keras import ops
from PIL import Image
from rich.progress import track
from sampled_masks import sample_mask
from scipy.cluster.vq import kmeans2

from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.mask_network import (
    MASK_SIZE,
    MaskNetwork,
    MaskNetworkConfig,
)
from keras_pg2.codecs.segment_tokens import NUM_CODES

TRAINING_SEED, HELD_OUT_SEED = 1, 3
NUMBERS = MaskNetworkConfig(
    codebook_dim=64, hidden_dim=64, encoder_dims=(32, 64, 64, 64)
)
BATCH_SIZE = 64
PEAK_LEARNING_RATE = 1.5e-3
COMMITMENT = 0.25
COPYING_SHARE = 0.12
"""Share of the training before there is a codebook."""


class Trainer(keras.Model):
    """The network as something that `fit` trains.

    Args:
        network: what is trained.
    """

    def __init__(self, network: MaskNetwork) -> None:
        super().__init__()
        self.network = network
        self.is_quantized = False

    def call(self, masks: Any) -> Any:
        vectors = self.network.encoder(masks)
        if not self.is_quantized:
            return self.network.decoder(vectors)
        codes = self.network.nearest_codes(vectors)
        chosen = ops.take(self.network.codebook, codes, axis=0)
        chosen = ops.reshape(chosen, ops.shape(vectors))
        pull = ops.mean(ops.square(ops.stop_gradient(vectors) - chosen))
        commitment = ops.mean(ops.square(vectors - ops.stop_gradient(chosen)))
        self.add_loss(pull + COMMITMENT * commitment)
        # The encoder learns as if nothing had been replaced.
        return self.network.decoder(vectors + ops.stop_gradient(chosen - vectors))


def draw_crops(count: int, seed: int) -> np.ndarray:
    """uint8[count, 64, 64], the share of each pixel covered, of 255."""
    rng = np.random.default_rng(seed)
    crops = np.zeros((count, MASK_SIZE, MASK_SIZE), np.uint8)
    for i in track(range(count), description="Drawing masks"):
        picture = Image.fromarray(sample_mask(rng).astype(np.uint8) * 255)
        size = (MASK_SIZE, MASK_SIZE)
        crops[i] = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    return crops


def to_batch(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random batch, each mask flipped and turned at random: float32[B, 64, 64, 1]."""
    batch = crops[rng.integers(len(crops), size=BATCH_SIZE)]
    for axis in (1, 2):
        if rng.random() < 0.5:
            batch = np.flip(batch, axis)
    if rng.random() < 0.5:
        batch = batch.swapaxes(1, 2)
    return (batch.astype(np.float32) / 127.5 - 1)[..., None]


def encode_vectors(network: MaskNetwork, masks: np.ndarray) -> np.ndarray:
    """The encoder's vectors of float32[B, 64, 64, 1]: float32[B * 16, D]."""
    vectors = ops.convert_to_numpy(ops.stop_gradient(network.encoder(masks)))
    return vectors.reshape(-1, vectors.shape[-1])


def move_unused(network: MaskNetwork, masks: np.ndarray, seed: int) -> int:
    """Moves entries that no vector is near to random vectors; says how many."""
    vectors = encode_vectors(network, masks)
    codes = ops.convert_to_numpy(network.encode(masks)).reshape(-1)
    unused = np.flatnonzero(np.bincount(codes, minlength=NUM_CODES) == 0)
    codebook = ops.convert_to_numpy(network.codebook).copy()
    rng = np.random.default_rng(seed)
    codebook[unused] = vectors[rng.integers(len(vectors), size=len(unused))]
    network.codebook.assign(codebook)
    return len(unused)


def mean_iou(codec: MaskCodec, count: int = 1000) -> tuple[float, float]:
    """Mean and worst IoU of held-out masks and what comes back, at their own size."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    overlaps = []
    for _ in range(count):
        mask = sample_mask(rng)
        height, width = mask.shape
        box = np.array([[0, 0, width, height]])
        [back] = codec.decode(codec.encode(mask[None], box), box, width, height)
        overlaps.append((mask & back).sum() / (mask | back).sum())
    return float(np.mean(overlaps)), float(np.min(overlaps))


def main(
    output: Annotated[Path, typer.Option(help="File to write, .npz.")],
    minutes: Annotated[float, typer.Option(help="Wall time to train for.")] = 20.0,
    num_masks: Annotated[int, typer.Option("--masks", help="Masks to draw.")] = 60_000,
) -> None:
    """Trains the mask codec and writes it in the layout of `vae-oid.npz`."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(TRAINING_SEED)
    crops = draw_crops(num_masks, TRAINING_SEED)
    network = MaskNetwork(NUMBERS)
    trainer = Trainer(network)
    optimizer = keras.optimizers.Adam(PEAK_LEARNING_RATE, clipnorm=1.0)
    trainer.compile(optimizer, "mse")
    start = time.time()
    step, losses, shown = 0, [], 0.0
    while (progress := (time.time() - start) / (60 * minutes)) < 1:
        if not trainer.is_quantized and progress > COPYING_SHARE:
            many = np.concatenate([to_batch(crops, rng) for _ in range(24)])
            centers, _ = kmeans2(
                encode_vectors(network, many), NUM_CODES, minit="++", seed=0
            )
            network.codebook.assign(centers)
            trainer.is_quantized = True
            trainer.compile(optimizer, "mse")  # Trace the step anew.
        optimizer.learning_rate = PEAK_LEARNING_RATE * min(1.0, (1 - progress) / 0.6)
        batch = to_batch(crops, rng)
        losses.append(float(trainer.train_on_batch(batch, batch)))
        step += 1
        if trainer.is_quantized and step % 200 == 0 and progress < 0.8:
            many = np.concatenate([to_batch(crops, rng) for _ in range(8)])
            moved = move_unused(network, many, step)
            print(f"{moved} unused entries moved", flush=True)
        if time.time() - shown > 20:
            shown = time.time()
            print(
                f"{progress:4.0%} step {step}: {np.mean(losses[-100:]):.4f}", flush=True
            )
    codec = MaskCodec(network)
    codec.save(output)
    mean, worst = mean_iou(codec)
    print(f"{step} steps; held-out masks: mean IoU {mean:.4f}, worst {worst:.4f}")


if __name__ == "__main__":
    typer.run(main)
