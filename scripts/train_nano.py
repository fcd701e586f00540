"""Trains the bundled nano preset on procedural scenes.

    python scripts/train_nano.py --output nano --codec mask_codec.npz --minutes 150
    python scripts/train_nano.py --output nano --codec mask_codec.npz --minutes 60 \
        --start presets/pali_gemma2_nano_84

From scratch, or from the weights of a preset (`--start`); then the heads of the dense
targets, which no preset holds, are fitted first. `mask_codec.npz` is what
`scripts/train_mask_codec.py` writes.

JAX only, on whatever device JAX finds. Scenes are drawn ahead by a second
process into the work folder; checkpoints are written there every few minutes,
and `--resume` goes on from the last one. What makes it fast enough for two CPU
cores:

- the encoder first learns dense targets for each patch (shape, colour, box,
  letter), and keeps them beside the text loss;
- location tokens begin as smooth functions of their coordinate, and a target
  bin shares its label mass with its neighbours;
- one pass of the encoder serves all prompts of a scene, and examples of like
  length go together.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
import nano_data
import numpy as np
import typer

from keras_pg2 import PaliGemma2Backbone
from keras_pg2.datasets import scenes
from keras_pg2.files.whole_files import replaced

VISION_ENCODER = {
    "image_size": scenes.CANVAS_SIZE,
    "patch_size": nano_data.PATCH_SIZE,
    "num_layers": 4,
    "num_heads": 4,
    "hidden_dim": 128,
    "intermediate_dim": 512,
}
TEXT_DECODER = {
    "num_layers": 4,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_dim": 160,
    "intermediate_dim": 576,
    "query_pre_attn_scalar": 32,
    "attention_logit_soft_cap": 50.0,
    "final_logit_soft_cap": 30.0,
    "sliding_window": 4096,
}
HEADS = {
    "shape": len(nano_data.SHAPE_CLASSES),
    "color": len(nano_data.COLOR_CLASSES),
    "box": 4 * TEXT_DECODER["hidden_dim"],
    "character": len(nano_data.CHARACTER_CLASSES),
    "order": 1 + scenes.MAX_CHARACTERS,
    "place": len(scenes.POSITIONS) ** 2,
}
"""Outputs of each dense head; the heads are thrown away after training."""
TARGETS = ("shape", "color", "box", "character")
"""Columns of a shard that the dense targets are made of."""

_STEPS = (np.arange(nano_data.GRID) + 0.5) / nano_data.GRID
_YS, _XS = np.meshgrid(_STEPS, _STEPS, indexing="ij")
PATCH_CENTERS = np.stack([_YS, _XS, _YS, _XS], -1).reshape(-1, 4).astype("float32")
"""Centre of each patch as (y, x, y, x) in [0, 1]."""

IMAGES_PER_STEP = {
    "dense": 128,
    "short": 20,
    "middle": 28,
    "long": 28,
    "masks": 40,
    "all_masks": 28,
}
PEAK_LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 0.05
DENSE_WEIGHT = 0.3
HEAD_STEPS = 150
"""Steps for the dense heads where the backbone's weights are given."""
LOCATION_SPREAD = 6.0
"""Standard deviation, in bins, of the label mass around a location bin."""
ENCODER_SHARE = 0.08
"""Share of the training that the encoder spends on dense targets alone."""
DECAY_SHARE = 0.35
"""Share of the training, at its end, in which the learning rate falls to 0."""
FINE_TUNING_RATE = 5e-4
"""Peak where there are weights to start from; three times as much forgets them."""
FINE_TUNING_DECAY_SHARE = 0.75
EARLY_GROUPS = {"short": 0.55, "middle": 0.4, "long": 0.05}
"""Shares of the steps for each group, until `EARLY_SHARE` of the training."""
EARLY_SHARE = 0.4
GROUPS = {"short": 0.1, "middle": 0.27, "long": 0.26, "masks": 0.21, "all_masks": 0.16}
"""From then on, and where there are weights to start from."""


def make_backbone(vocabulary_size: int, seed: int) -> PaliGemma2Backbone:
    """A random backbone whose location tokens are smooth in their coordinate."""
    keras.utils.set_random_seed(seed)
    backbone = PaliGemma2Backbone(
        VISION_ENCODER, {"vocabulary_size": vocabulary_size, **TEXT_DECODER}
    )
    rng = np.random.default_rng(seed)
    width = TEXT_DECODER["hidden_dim"]
    table = rng.normal(0, 0.05, (vocabulary_size, width))
    frequencies = np.exp(rng.uniform(np.log(0.5), np.log(16), width))
    phases = rng.uniform(0, 2 * np.pi, width)
    coordinate = np.linspace(0, 1, 1024)[:, None]
    waves = np.sqrt(2) * np.cos(2 * np.pi * frequencies * coordinate + phases)
    first = first_location(vocabulary_size)
    table[first : first + 1024] = 0.05 * waves
    backbone.token_embedding.embeddings.assign(table.astype("float32"))
    return backbone


def first_location(vocabulary_size: int) -> int:
    """Id of `<loc0000>`; locations and 128 segment tokens close the vocabulary."""
    return vocabulary_size - 1024 - 128


class Losses:
    """Loss functions of the values of the backbone's variables."""

    def __init__(self, backbone: PaliGemma2Backbone) -> None:
        self.backbone = backbone
        self.variables = backbone.trainable_variables
        paths = [variable.path for variable in self.variables]
        self.embedding_index = paths.index(backbone.token_embedding.embeddings.path)
        first = first_location(backbone.vocabulary_size)
        self.locations = slice(first, first + 1024)
        distance = np.arange(1024)[:, None] - np.arange(1024)[None]
        spread = np.exp(-0.5 * (distance / LOCATION_SPREAD) ** 2)
        self.spread = jnp.asarray(spread / spread.sum(1, keepdims=True), jnp.float32)

    def dense(self, params: dict, batch: dict) -> tuple[jax.Array, dict]:
        """The encoder's loss on dense targets alone."""
        with self._scope(params):
            features = self.backbone.vision_encoder(_to_pixels(batch["images"]))
        return self._dense_loss(params, features, batch)

    def heads(self, params: dict, batch: dict) -> tuple[jax.Array, dict]:
        """The loss of the dense heads alone; `batch` has the weights they stand on."""
        return self.dense({"backbone": batch["backbone"], "heads": params}, batch)

    def joint(self, params: dict, batch: dict) -> tuple[jax.Array, dict]:
        """Cross-entropy of response tokens, beside the dense loss."""
        with self._scope(params):
            features = self.backbone.vision_encoder(_to_pixels(batch["images"]))
            logits, targets, weights = self._logits(features, batch)
        text = self._text_loss(logits, targets, weights)
        dense, metrics = self._dense_loss(params, features, batch)
        hit = (jnp.argmax(logits, -1) == targets) | (weights == 0)
        metrics |= {"text": text, "exact": hit.all(-1).mean()}
        return text + DENSE_WEIGHT * dense, metrics

    def predict(self, params: dict, batch: dict) -> tuple[jax.Array, jax.Array]:
        """Likeliest tokens and the wanted ones (-1 outside responses), [B, Q, T]."""
        with self._scope(params):
            features = self.backbone.vision_encoder(_to_pixels(batch["images"]))
            logits, targets, weights = self._logits(features, batch)
        shape = (*batch["ids"].shape[:2], -1)
        tokens = jnp.argmax(logits, -1).reshape(shape)
        return tokens, jnp.where(weights > 0, targets, -1).reshape(shape)

    def _scope(self, params: dict) -> keras.StatelessScope:
        mapping = list(zip(self.variables, params["backbone"], strict=True))
        return keras.StatelessScope(state_mapping=mapping)

    def _logits(self, features: jax.Array, batch: dict) -> tuple:
        """[B * Q, T - 1, V] logits, with the targets and their weights."""
        ids = batch["ids"].astype("int32")
        num_prompts, length = ids.shape[1:]
        image = self.backbone.vision_projection(features)
        image = jnp.repeat(image, num_prompts, axis=0)
        ids = ids.reshape(-1, length)
        starts = batch["starts"].reshape(-1, 1)
        index = jnp.arange(length)[None]
        is_token = ids != 0
        is_response = is_token & (index >= starts)
        inputs = (ids[:, :-1], is_token[:, :-1], is_response[:, :-1])
        hidden = self.backbone.text_decoder(image, *inputs)
        hidden = hidden[:, image.shape[1] :]
        logits = self.backbone.project_to_vocabulary(hidden)
        return logits, ids[:, 1:], is_response[:, 1:].astype("float32")

    def _text_loss(self, logits: jax.Array, targets: jax.Array, weights: jax.Array):
        log_probs = jax.nn.log_softmax(logits)
        hard = jnp.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
        bins = targets - self.locations.start
        is_location = (bins >= 0) & (bins < 1024)
        spread = self.spread[jnp.clip(bins, 0, 1023)]
        soft = (spread * log_probs[..., self.locations]).sum(-1)
        picked = jnp.where(is_location, soft, hard)
        return -(picked * weights).sum() / weights.sum()

    def _dense_loss(
        self, params: dict, features: jax.Array, batch: dict
    ) -> tuple[jax.Array, dict]:
        """The encoder's loss; boxes are asked for in the words of the decoder.

        The box head points each patch of an object at the embeddings of its four
        location tokens, so that the decoder finds them ready to be copied.
        """
        heads = params["heads"]
        locations = params["backbone"][self.embedding_index][self.locations]
        out = {name: features @ w + b for name, (w, b) in heads.items()}
        is_object = (batch["shape"] > 0).astype("float32")
        count = is_object.sum() + 1.0
        shape = _cross_entropy(out["shape"], batch["shape"]).mean()
        color = (_cross_entropy(out["color"], batch["color"]) * is_object).sum() / count
        # [B, patches, 4, D] -> [B, patches, 4, 1024]
        pointers = out["box"].reshape(*out["box"].shape[:2], 4, -1)
        log_probs = jax.nn.log_softmax(pointers @ locations.T)
        bins = jnp.round((batch["box"] + PATCH_CENTERS) * 1023).astype("int32")
        spread = self.spread[jnp.clip(bins, 0, 1023)]
        error = -(spread * log_probs).sum(-1).mean(-1) * is_object
        letters = _cross_entropy(out["character"], batch["character"])
        is_letter = batch["character"] > 0
        # Texts are one line, so patches in reading order count its letters.
        order = jnp.cumsum(is_letter, axis=1) * is_letter
        orders = jnp.where(is_letter, _cross_entropy(out["order"], order), 0)
        corners = (batch["box"] + PATCH_CENTERS).reshape(*is_letter.shape, 2, 2)
        ninth = jnp.clip(corners.mean(2) * 3, 0, 2).astype("int32")
        places = _cross_entropy(out["place"], 3 * ninth[..., 0] + ninth[..., 1])
        place = (places * is_object).sum() / count
        # Most patches hold no letter: each kind of patch has half of the weight.
        letter = jnp.where(is_letter, letters, 0).sum() / (is_letter.sum() + 1)
        blank = jnp.where(is_letter, 0, letters).sum() / ((~is_letter).sum() + 1)
        box = error.sum() / count
        turn = orders.sum() / (is_letter.sum() + 1)
        metrics = {"shape": shape, "box": box, "turn": turn, "place": place}
        return shape + color + 3 * box + letter + blank + turn + place, metrics


def _to_pixels(images: jax.Array) -> jax.Array:
    """uint8[B, h, w, 3] -> float32[B, 1, h, w, 3] in [-1, 1]."""
    return images.astype("float32")[:, None] / 127.5 - 1.0


def _cross_entropy(logits: jax.Array, classes: jax.Array) -> jax.Array:
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probs, classes[..., None], -1)[..., 0]


def make_step(loss_function: Any) -> Any:
    """One compiled AdamW step: (params, moments, lr, step, batch) -> the same."""

    def update(
        params: Any, moments: Any, rate: jax.Array, step: jax.Array, batch: dict
    ):
        gradient = jax.grad(loss_function, has_aux=True)
        grads, metrics = gradient(params, batch)
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))
        scale = jnp.minimum(1.0, 1.0 / (norm + 1e-6))

        def moved(p: jax.Array, g: jax.Array, m: jax.Array, v: jax.Array) -> tuple:
            g = g * scale
            m = 0.9 * m + 0.1 * g
            v = 0.98 * v + 0.02 * g**2
            m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.98**step)
            decay = WEIGHT_DECAY * p if p.ndim > 1 else 0.0
            return p - rate * (m_hat / (jnp.sqrt(v_hat) + 1e-8) + decay), m, v

        moves = jax.tree.map(moved, params, grads, *moments)
        params, *moments = jax.tree.transpose(
            jax.tree.structure(params), jax.tree.structure((0, 0, 0)), moves
        )
        return params, tuple(moments), metrics

    return jax.jit(update, donate_argnums=(0, 1))


def learning_rate(progress: float, step: int, peak: float, decay_share: float) -> float:
    """Warm-up over 300 steps, constant, then down to 0 at the end."""
    warm = min(1.0, step / 300)
    decay = min(1.0, (1.0 - progress) / decay_share)
    return peak * warm * max(decay, 0.0)


def choose_group(progress: float, rng: np.random.Generator) -> str:
    """Which group of tasks the next step trains on."""
    if progress < ENCODER_SHARE:
        return "dense"
    groups = EARLY_GROUPS if progress < EARLY_SHARE else GROUPS
    return str(rng.choice(list(groups), p=list(groups.values())))


class Shards:
    """Batches out of the shards that are there, a random shard at a time."""

    def __init__(self, directory: Path, rng: np.random.Generator) -> None:
        self.directory = directory
        self.rng = rng
        self.unread: list[Path] = []
        self.rows = np.zeros(0, int)

    def batch(self, group: str) -> dict[str, np.ndarray]:
        """The next scenes, with the examples of `group`."""
        size = IMAGES_PER_STEP[group]
        if len(self.rows) < size:
            self._open_next()
        rows, self.rows = self.rows[:size], self.rows[size:]
        return select(self.shard, rows, group)

    def _open_next(self) -> None:
        if not self.unread:
            self.unread = sorted(self.directory.glob("shard_????.npz"))
            self.rng.shuffle(self.unread)
        self.shard = dict(np.load(self.unread.pop()))
        self.rows = self.rng.permutation(len(self.shard["images"]))


def select(shard: dict, rows: np.ndarray, group: str) -> dict[str, np.ndarray]:
    """Rows of a shard as a batch for `group`."""
    names = {"images": "images", **{name: name for name in TARGETS}}
    if group != "dense":
        names |= {"ids": f"{group}_ids", "starts": f"{group}_starts"}
    return {name: shard[column][rows] for name, column in names.items()}


def validate(predict: Any, params: Any, shard: dict, first: int) -> dict[str, float]:
    """Share of exactly right responses per task; for boxes, of IoU >= 0.5.

    With the right tokens before it, every token of a response is predicted; all
    are right just when greedy decoding gives the response.
    """
    scores = {}
    rows = np.arange(len(shard["images"]))
    for group, names in {
        "short": ["answer"] * 5 + ["ocr"],
        "middle": ["caption", "detect", "detect"],
        "long": ["describe", "detect_all"],
        "masks": ["segment"],
    }.items():
        parts = [
            predict(params, select(shard, part, group)) for part in rows.reshape(-1, 64)
        ]
        tokens, targets = (np.concatenate([p[i] for p in parts]) for i in range(2))
        right = ((tokens == targets) | (targets < 0)).all(-1)
        for name in dict.fromkeys(names):
            columns = [i for i, other in enumerate(names) if other == name]
            scores[name] = float(right[:, columns].mean())
        if group in ("middle", "masks"):
            is_box = [i for i, name in enumerate(names) if name != "caption"]
            scores[f"box_iou50_{group}"] = _box_recall(
                tokens[:, is_box], targets[:, is_box], first
            )
    return scores


def _box_recall(tokens: np.ndarray, targets: np.ndarray, first: int) -> float:
    """Share of target boxes whose predicted box has IoU >= 0.5."""
    hits = []
    for row, target in zip(
        tokens.reshape(-1, tokens.shape[-1]), targets.reshape(-1, targets.shape[-1])
    ):
        indices = np.flatnonzero((target >= first) & (target < first + 1024))
        for box in indices.reshape(-1, 4):
            a, b = row[box] - first, target[box] - first
            low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
            overlap = np.prod(np.maximum(high - low, 0))
            area = np.prod(np.maximum(a[2:] - a[:2], 0))
            union = area + np.prod(b[2:] - b[:2]) - overlap
            hits.append(overlap >= 0.5 * union)
    return float(np.mean(hits))


def save_checkpoint(path: Path, params: Any, moments: Any, state: dict) -> None:
    """Writes everything needed to go on; a broken write leaves the old file."""
    leaves = {f"p{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(params))}
    for k, moment in enumerate(moments):
        leaves |= {
            f"m{k}_{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(moment))
        }
    with replaced(path) as part:
        np.savez(part, state=json.dumps(state), **leaves)


def load_checkpoint(path: Path, params: Any, moments: Any) -> tuple[Any, Any, dict]:
    """The inverse of `save_checkpoint`, in the structure of the given values."""
    file = np.load(path)
    structure = jax.tree.structure(params)
    count = structure.num_leaves

    def read(prefix: str) -> Any:
        return structure.unflatten(
            [jnp.asarray(file[f"{prefix}{i}"]) for i in range(count)]
        )

    moments = tuple(read(f"m{k}_") for k in range(len(moments)))
    return read("p"), moments, json.loads(str(file["state"]))


def initial_params(backbone: PaliGemma2Backbone, seed: int) -> dict[str, Any]:
    """The backbone's weights and random dense heads."""
    rng = np.random.default_rng(seed)
    width = VISION_ENCODER["hidden_dim"]
    heads = {
        name: (
            jnp.asarray(rng.normal(0, width**-0.5, (width, size)), jnp.float32),
            jnp.zeros(size),
        )
        for name, size in HEADS.items()
    }
    weights = [jnp.array(v.value) for v in backbone.trainable_variables]
    return {"backbone": weights, "heads": heads}


def fit_heads(losses: Losses, params: dict, batches: Shards, num_steps: int) -> None:
    """Fits the dense heads to the backbone as it is, in place."""
    step = make_step(losses.heads)
    heads = params["heads"]
    moments = tuple(jax.tree.map(jnp.zeros_like, heads) for _ in range(2))
    for count in range(1, num_steps + 1):
        batch = {**batches.batch("dense"), "backbone": params["backbone"]}
        heads, moments, metrics = step(heads, moments, 3e-3, float(count), batch)
        if count % 50 == 0:
            shown = " ".join(f"{k} {float(v):.3f}" for k, v in metrics.items())
            print(f"heads, step {count} of {num_steps}: {shown}", flush=True)
    params["heads"] = heads


def write_preset(backbone: PaliGemma2Backbone, vocabulary: Path, output: Path) -> None:
    """Writes the preset: float32 weights, tokenizer and image converter."""
    from keras_pg2 import (
        PaliGemma2CausalLM,
        PaliGemma2CausalLMPreprocessor,
        PaliGemma2ImageConverter,
        PaliGemma2Tokenizer,
    )

    preprocessor = PaliGemma2CausalLMPreprocessor(
        PaliGemma2Tokenizer(vocabulary),
        PaliGemma2ImageConverter(image_size=backbone.image_size),
        sequence_length=64,
    )
    PaliGemma2CausalLM(backbone, preprocessor).save_to_preset(str(output))


def run(
    output: Path,
    codec: Path,
    start_preset: Path | None,
    work: Path,
    minutes: float,
    shards: int,
    seed: int,
    resume: bool,
) -> None:
    """Trains for `minutes` of wall time and writes the preset to `output`."""
    work.mkdir(parents=True, exist_ok=True)
    vocabulary_path = work / "vocabulary.spm"
    if start_preset is not None:
        shutil.copy(start_preset / "assets/tokenizer/vocabulary.spm", vocabulary_path)
    if not vocabulary_path.exists():
        vocabulary_path.write_bytes(nano_data.train_vocabulary())
    vocabulary = vocabulary_path.read_bytes()
    drawing = multiprocessing.get_context("spawn").Process(
        target=nano_data.draw_shards,
        args=(vocabulary, codec, work, shards),
        daemon=True,
    )
    drawing.start()
    schedule = (PEAK_LEARNING_RATE, DECAY_SHARE)
    if start_preset is not None:
        schedule = (FINE_TUNING_RATE, FINE_TUNING_DECAY_SHARE)
    vocabulary_size = nano_data.Packer(vocabulary).processor.vocab_size()
    backbone = make_backbone(vocabulary_size, seed)
    if start_preset is not None:
        backbone.load_weights(start_preset / "model.weights.h5")
    losses = Losses(backbone)
    params = initial_params(backbone, seed)
    moments = tuple(jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    state = {"step": 0, "seconds": 0.0, "examples": 0}
    checkpoint = work / "checkpoint.npz"
    if resume and checkpoint.exists():
        params, moments, state = load_checkpoint(checkpoint, params, moments)
    validation = nano_data.make_shard(
        vocabulary, codec, nano_data.VALIDATION_SEED, 0, 512
    )
    while not nano_data.shard_path(work, 0).exists():
        time.sleep(1)
    rng = np.random.default_rng([seed, state["step"]])
    batches = Shards(work, rng)
    if start_preset is not None and state["step"] == 0:
        fit_heads(losses, params, batches, HEAD_STEPS)
    steps = {
        "dense": make_step(losses.dense),
        "text": make_step(losses.joint),
    }
    predict = jax.jit(losses.predict)
    total = minutes * 60
    first = first_location(vocabulary_size)
    curve = work / "curve.jsonl"
    last_print = last_save = time.time()
    start = time.time() - state["seconds"]
    next_validation = state["seconds"] + total * 0.1
    while state["seconds"] < total:
        progress = state["seconds"] / total
        # Where there are weights to start from, the beginning is behind them.
        age = progress if start_preset is None else max(progress, EARLY_SHARE)
        group = choose_group(age, rng)
        batch = batches.batch(group)
        state["step"] += 1
        rate = learning_rate(progress, state["step"], *schedule)
        kind = "dense" if group == "dense" else "text"
        params, moments, metrics = steps[kind](
            params, moments, rate, float(state["step"]), batch
        )
        state["examples"] += (
            batch["ids"].shape[0] * batch["ids"].shape[1] if "ids" in batch else 0
        )
        state["seconds"] = time.time() - start
        if time.time() - last_print > 15:
            last_print = time.time()
            shown = " ".join(f"{k} {float(v):.3f}" for k, v in metrics.items())
            left = (total - state["seconds"]) / 60
            print(
                f"step {state['step']} {group}: {shown} | lr {rate:.1e}, "
                f"{state['examples'] / max(state['seconds'], 1):.0f} examples/s, "
                f"{left:.1f} min left",
                flush=True,
            )
        if state["seconds"] > next_validation or state["seconds"] >= total:
            next_validation += total * 0.1
            scores = validate(predict, params, validation, first)
            line = {"minutes": round(state["seconds"] / 60, 1), **state, **scores}
            print(json.dumps(line), flush=True)
            with curve.open("a") as file:
                file.write(json.dumps(line) + "\n")
        if time.time() - last_save > 180 or state["seconds"] >= total:
            last_save = time.time()
            save_checkpoint(checkpoint, params, moments, state)
    for variable, value in zip(losses.variables, params["backbone"], strict=True):
        variable.assign(value)
    write_preset(backbone, vocabulary_path, output)


def main(
    output: Annotated[Path, typer.Option(help="Directory of the preset to write.")],
    codec: Annotated[Path, typer.Option(help="Weights of the mask codec, .npz.")],
    start: Annotated[
        Path | None, typer.Option(help="Directory of a preset to go on from.")
    ] = None,
    work: Annotated[
        Path, typer.Option(help="Folder for scenes, checkpoints and the curve.")
    ] = Path("nano-work"),
    minutes: Annotated[float, typer.Option(help="Wall time to train for.")] = 100.0,
    shards: Annotated[int, typer.Option(help="Shards of 4096 scenes to draw.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    resume: Annotated[
        bool, typer.Option(help="Go on from the last checkpoint.")
    ] = False,
) -> None:
    """Trains the nano preset on procedural scenes."""
    run(output, codec, start, work, minutes, shards, seed, resume)


if __name__ == "__main__":
    typer.run(main)
