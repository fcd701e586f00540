"""Training data of the nano preset: vocabulary, and scenes drawn ahead in shards.

A shard is an .npz file of scenes at the model's size, with the tokens of their
prompts and responses, and dense targets for every patch of the image encoder.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import sentencepiece
from PIL import Image
from sentencepiece import sentencepiece_model_pb2

from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.segment_tokens import codes_to_text
from keras_pg2.datasets import scenes
from keras_pg2.files.whole_files import replaced

PATCH_SIZE = 14
GRID = scenes.CANVAS_SIZE // PATCH_SIZE
TRAINING_SEED = 1
"""Series of scenes to train on."""
VALIDATION_SEED = 2
"""Series of scenes that the training's own curve is measured on."""
HELD_OUT_SEED = 3
"""Series of scenes for the final evaluation, seen by nothing else."""
SHARD_SIZE = 4096

# Examples of one length go together, so that little is padded.
GROUPS = {
    "short": (6, 15),
    "middle": (3, 28),
    "long": (2, 44),
    "masks": (1, 62),
    "all_masks": (1, 88),
}
"""Examples of a scene, and their text length, for each group of tasks."""

SHAPE_CLASSES = ("", *scenes.SHAPES)
COLOR_CLASSES = tuple(scenes.COLORS)
CHARACTER_CLASSES = ("", *scenes.CHARACTERS)


def train_vocabulary(num_scenes: int = 4000, vocabulary_size: int = 500) -> bytes:
    """Trains the small SentencePiece vocabulary, in Gemma's manner.

    Identity normalisation, byte fallback, no dummy prefix, the newline a piece of
    its own; then 1024 location and 128 segmentation pieces, as big_vision appends
    them (`pp/ops_text.py`).

    Returns:
        A serialised SentencePiece model.
    """
    texts = []
    for index in range(num_scenes):
        rng = scenes.scene_generator(TRAINING_SEED, index)
        scene = scenes.sample_scene(rng)
        for example in scenes.examples(scene, rng):
            response = example.response
            if example.task == "detect":
                response = response.split(">")[-1]
            texts += [example.prompt, response]
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in texts if text]),
        model_writer=stream,
        model_type="bpe",
        vocab_size=vocabulary_size,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        split_digits=True,
        # Letters of texts in pictures stay single pieces: reading is by letter.
        user_defined_symbols=["\n", *scenes.CHARACTERS],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(stream.getvalue())
    added = [f"<loc{i:04d}>" for i in range(1024)] + [
        f"<seg{i:03d}>" for i in range(128)
    ]
    for piece in added:
        model.pieces.add(
            piece=piece,
            score=0.0,
            type=sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED,
        )
    return model.SerializeToString()


def draw_at_model_size(scene: scenes.Scene, rng: np.random.Generator) -> np.ndarray:
    """A scene as the image converter would give it, uint8[84, 84, 3].

    Drawn at a random size, a quarter of them narrow or flat, and squeezed by the same
    bicubic filter as every picture is, so that small, large and narrow pictures of
    users look alike to the model.
    """
    size = int(rng.choice([84, 112, 168, 336], p=[0.35, 0.3, 0.25, 0.1]))
    picture = Image.fromarray(scenes.render(scene, size))
    side = scenes.CANVAS_SIZE
    if rng.random() < 0.25:
        squeezed = [int(rng.integers(40, 85)), int(rng.integers(84, 337))]
        rng.shuffle(squeezed)
        picture = picture.resize(squeezed, Image.Resampling.BICUBIC)
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))


def dense_targets(scene: scenes.Scene) -> dict[str, np.ndarray]:
    """What each patch of the picture shows, [GRID * GRID] or [GRID * GRID, 4].

    `shape` and `color` (classes of the object whose box covers the patch's centre,
    or is nearest and touches the patch), `box` (its edges relative to the patch
    centre, in canvas widths), `character` (whose cell has its centre in the patch).
    """
    shape = np.zeros((GRID, GRID), np.int32)
    color = np.zeros((GRID, GRID), np.int32)
    box = np.zeros((GRID, GRID, 4), np.float32)
    character = np.zeros((GRID, GRID), np.int32)
    centers = (np.arange(GRID) + 0.5) * PATCH_SIZE
    best = np.full((GRID, GRID), PATCH_SIZE * 0.75)
    for item in scene.objects:
        x0, y0, x1, y1 = item.box_xyxy
        gap_x = np.maximum(np.maximum(x0 - centers, centers - x1), 0)
        gap_y = np.maximum(np.maximum(y0 - centers, centers - y1), 0)
        gap = np.maximum(gap_x[None], gap_y[:, None])
        is_here = gap < np.minimum(best, PATCH_SIZE / 2)
        best = np.where(is_here, gap, best)
        shape[is_here] = SHAPE_CLASSES.index(item.shape)
        color[is_here] = COLOR_CLASSES.index(item.color)
        edges = np.zeros((GRID, GRID, 4))
        edges[..., 0] = (y0 - centers)[:, None]
        edges[..., 1] = (x0 - centers)[None]
        edges[..., 2] = (y1 - centers)[:, None]
        edges[..., 3] = (x1 - centers)[None]
        box[is_here] = (edges / scenes.CANVAS_SIZE)[is_here]
    if scene.text_box_xyxy is not None:
        x0, y0, _, y1 = scene.text_box_xyxy
        row = int((y0 + y1) / 2 // PATCH_SIZE)
        for k, letter in enumerate(scene.text):
            column = int((x0 + (k + 0.5) * PATCH_SIZE) // PATCH_SIZE)
            character[row, column] = CHARACTER_CLASSES.index(letter)
    flat = GRID * GRID
    return {
        "shape": shape.reshape(flat),
        "color": color.reshape(flat),
        "box": box.reshape(flat, 4),
        "character": character.reshape(flat),
    }


class Packer:
    """Examples to `[bos] prompt [newline] response [eos]` rows of a fixed length."""

    def __init__(self, vocabulary: bytes) -> None:
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
        [self.separator] = self.processor.encode("\n")

    def pack(self, prompt: str, response: str, length: int) -> tuple[np.ndarray, int]:
        """int16[length] token ids and the number of prompt tokens.

        Raises:
            ValueError: when the example does not fit.
        """
        head = [self.processor.bos_id(), *self.processor.encode(prompt), self.separator]
        row = [*head, *self.processor.encode(response), self.processor.eos_id()]
        if len(row) > length:
            raise ValueError(f"Expected at most {length} tokens, received {len(row)}.")
        token_ids = np.zeros(length, np.int16)
        token_ids[: len(row)] = row
        return token_ids, len(head)


class MaskTexts:
    """The `<seg...>` tokens of objects of scenes.

    Args:
        codec: the mask codec of the preset.
    """

    def __init__(self, codec: MaskCodec) -> None:
        self._codec = codec
        self._known: dict[tuple[str, int], str] = {}

    def __call__(self, item: scenes.SceneObject) -> str:
        x0, _, x1, _ = item.box_xyxy
        # Objects of one shape and side have one mask.
        key = (item.shape, x1 - x0)
        if key not in self._known:
            lone = scenes.Scene(
                objects=(item,),
                text="",
                text_box_xyxy=None,
                background=((255,) * 3,) * 2,
                is_gradient_vertical=False,
            )
            masks, boxes = scenes.masks(lone, 336), scenes.boxes_xyxy(lone, 336)
            [self._known[key]] = codes_to_text(self._codec.encode(masks, boxes))
        return self._known[key]


def grouped_examples(
    scene: scenes.Scene, rng: np.random.Generator, mask_text: MaskTexts
) -> dict[str, list[scenes.Example]]:
    """The examples of a scene for each group of `GROUPS`."""
    first, second = scenes.examples(scene, rng), scenes.examples(scene, rng)
    tasks = {e.task: e for e in first}
    answers = [e for e in first if e.task == "answer"]
    more = [e for e in second if e.task == "answer"]
    num_answers = GROUPS["short"][0] - 1
    again = next(e for e in second if e.task == "detect")
    wide = _wide_names(scene, rng)
    few = scenes.detection_names(scene, rng)
    while scenes.detection_target(scene, few).count(">") > 8:
        few = few[:1] if len(few) > 1 else [scene.objects[0].name]
    return {
        "short": [*(answers + more)[:num_answers], tasks["ocr"]],
        "middle": [tasks["caption"], tasks["detect"], again],
        "long": [
            tasks["describe"],
            _example("detect", wide, scenes.detection_target(scene, wide)),
        ],
        "masks": [
            _example("segment", few, scenes.detection_target(scene, few, mask_text))
        ],
        "all_masks": [
            _example("segment", wide, scenes.detection_target(scene, wide, mask_text))
        ],
    }


def _wide_names(scene: scenes.Scene, rng: np.random.Generator) -> list[str]:
    """All shapes there are, or all objects of the scene and at times one more."""
    if rng.random() < 0.5:
        return [str(shape) for shape in rng.permutation(scenes.SHAPES)]
    names = [item.name for item in scene.objects]
    if len(names) < scenes.MAX_OBJECTS and rng.random() < 0.5:
        names = list(dict.fromkeys([*names, *scenes.detection_names(scene, rng)]))
        names = [name for name in names if " " in name]
    return [str(name) for name in rng.permutation(names)]


def _example(task: str, names: list[str], response: str) -> scenes.Example:
    return scenes.Example(task, f"{task} {' ; '.join(names)}", response)


def make_shard(
    vocabulary: bytes,
    codec_path: Path,
    seed: int,
    shard: int,
    size: int = SHARD_SIZE,
) -> dict[str, np.ndarray]:
    """Draws and packs scenes `shard * size` and on of the series `seed`."""
    packer = Packer(vocabulary)
    mask_text = MaskTexts(MaskCodec.from_file(codec_path))
    columns: dict[str, list] = {"images": []}
    for index in range(shard * size, (shard + 1) * size):
        rng = scenes.scene_generator(seed, index)
        scene = scenes.sample_scene(rng)
        columns["images"].append(draw_at_model_size(scene, rng))
        for name, target in dense_targets(scene).items():
            columns.setdefault(name, []).append(target)
        for group, examples in grouped_examples(scene, rng, mask_text).items():
            length = GROUPS[group][1]
            packed = [packer.pack(e.prompt, e.response, length) for e in examples]
            columns.setdefault(f"{group}_ids", []).append([p[0] for p in packed])
            columns.setdefault(f"{group}_starts", []).append([p[1] for p in packed])
    return {name: np.array(values) for name, values in columns.items()}


def draw_shards(
    vocabulary: bytes, codec_path: Path, directory: Path, num_shards: int
) -> None:
    """Draws shards ahead, each file whole when it appears; finished ones are kept."""
    for shard in range(num_shards):
        path = shard_path(directory, shard)
        if not path.exists():
            arrays = make_shard(vocabulary, codec_path, TRAINING_SEED, shard)
            with replaced(path) as part:
                np.savez(part, **arrays)


def shard_path(directory: Path, shard: int) -> Path:
    """Where shard number `shard` is."""
    return directory / f"shard_{shard:04d}.npz"
