r"""Examples to model inputs: `[bos] prompt [separator] response [eos] padding`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import keras
import keras_hub
import numpy as np

from keras_pg2.files.whole_files import updated
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.preprocessing.examples import Examples, check_keys, normalize_examples
from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.image_features import ImageFeatures
from keras_pg2.preprocessing.images import to_numpy
from keras_pg2.preprocessing.packing import (
    PackedRows,
    check_prompt_length,
    check_weights,
    pad_rows,
    shift_by_one,
)
from keras_pg2.preprocessing.preset_files import OWN_FILES, PresetFiles, read_own_file
from keras_pg2.preprocessing.prompts import clean_prompt
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from keras_pg2.start.preset_loading import PresetNames, preset_loading
from keras_pg2.typing import Tensor

_COUNTING = Lock()
"""Threads of `fit` prepare batches, and count what they cut, together."""


@keras.saving.register_keras_serializable(package="keras_pg2")
class PaliGemma2CausalLMPreprocessor(keras_hub.models.CausalLMPreprocessor):
    r"""Pictures, prompts and responses to the inputs of `PaliGemma2CausalLM`.

    A call prepares training: from a dict of "images", "prompts" and "responses" (one
    example or a batch, see `examples.normalize_examples`) it makes `(x, y,
    sample_weight)` of numpy arrays, without the batch axis for one example:

    - `x["images"]`: float32 [B, h, w, 3], or [B, M, h, w, 3] for several images per
      example; [B, 0, h, w, 3] for text only.
    - `x["token_ids"]`: int32 [B, T]; `x["padding_mask"]`, `x["response_mask"]`: bool
      [B, T], True on real tokens and on response tokens (eos among them).
    - `y`: int32 [B, T], the next token at each position.
    - `sample_weight`: float32 [B, T], 1 where `y` is a response token, times the
      weight of the example if one is given.

    The separator is tokenised by itself, so it never merges with its neighbours. Blanks
    and newlines around a prompt are dropped: "caption en \r\n" is "caption en"
    (`prompts.clean_prompt`). Source: arXiv:2407.07726 section 3.1; big_vision
    `configs/proj/paligemma/transfers/common.py:combine_and_keep_train`.

    Nothing is cut in silence. A prompt that does not fit is an error. A response that
    does not fit is cut and gets no eos, so the model does not learn to stop in
    mid-sentence; `num_cut_responses` counts them and the first one warns.

    The same call works inside `tf.data.Dataset.map` and in Grain pipelines.

    Args:
        tokenizer: a `PaliGemma2Tokenizer`.
        image_converter: a `PaliGemma2ImageConverter`; None takes images as they are,
            float32 in [-1, 1] and of the model's size.
        sequence_length: T, the number of text tokens; image tokens are not counted.
        add_start_token: whether bos comes first.
        add_end_token: whether eos ends a response.
        separator: the text between prompt and response; "" for none, with which
            prompts are taken as they are.

    Raises:
        TypeError: if `image_converter` is of another class.
    """

    backbone_cls = PaliGemma2Backbone
    tokenizer_cls = PaliGemma2Tokenizer
    image_converter_cls = PaliGemma2ImageConverter
    presets = PresetNames()
    image_features: ImageFeatures | None
    """Where training takes what the vision tower made of pictures from, as
    `x["image_features"]` [B, M * I, D] instead of `x["images"]`; None for pixels."""
    preset_files: PresetFiles | None = None
    """What the preset it was loaded from has for detections; None without one."""

    def __init__(
        self,
        tokenizer: PaliGemma2Tokenizer,
        image_converter: PaliGemma2ImageConverter | None = None,
        sequence_length: int = 1024,
        add_start_token: bool = True,
        add_end_token: bool = True,
        separator: str = "\n",
        **kwargs: Any,
    ) -> None:
        if not isinstance(image_converter, PaliGemma2ImageConverter | None):
            raise TypeError(
                "Expected image_converter as a PaliGemma2ImageConverter or None, "
                f"received {type(image_converter).__name__}."
            )
        super().__init__(
            tokenizer=tokenizer,
            sequence_length=sequence_length,
            add_start_token=add_start_token,
            add_end_token=add_end_token,
            **kwargs,
        )
        self.image_converter = image_converter
        self.separator = separator
        self.num_cut_responses = 0
        self.image_features = None
        # They have nothing to build; and Keras on JAX traces the whole model in each
        # `evaluate` as long as one of its layers is not built.
        resizing = getattr(image_converter, "resizing", None)
        for layer in (self, tokenizer, image_converter, resizing):
            if layer is not None:
                layer.built = True

    @classmethod
    def from_preset(
        cls, preset: str | Path, config_file: str = "preprocessor.json", **kwargs: Any
    ) -> PaliGemma2CausalLMPreprocessor:
        """Load the preprocessor of a preset of any format; no weights are downloaded.

            PaliGemma2CausalLMPreprocessor.from_preset(
                "pali_gemma2_nano", sequence_length=32
            )

        Args:
            preset: Name, URI, directory or file, as for
                `PaliGemma2CausalLM.from_preset`.
            config_file: File of its configuration, in presets of ours.
            **kwargs: Arguments of the preprocessor, instead of the preset's.

        Raises:
            ValueError: if there is no such preset (names near ones), or it has no
                tokenizer.
            OSError: if a file is missing, or cannot be downloaded.
        """
        loading = preset_loading()
        loaded: PaliGemma2CausalLMPreprocessor = loading.load_part(
            preset,
            partial(super().from_preset, config_file=config_file, **kwargs),
            partial(loading.load_preprocessor, cls, preset, **kwargs),
        )
        return loaded

    def build(self, input_shape: Any = None) -> None:
        """Nothing to build; KerasHub's packer is not used."""
        self.built = True

    def call(
        self,
        x: Mapping[str, Any],
        y: Any = None,
        sample_weight: Any = None,
        sequence_length: int | None = None,
    ) -> tuple[dict[str, Any], Any, Any]:
        """Prepare training examples; see the class.

        Args:
            x: dict of "images" (optional), "prompts" and "responses".
            y: must be None: the labels are made of the responses.
            sample_weight: one weight per example, or None.
            sequence_length: T for this call; None takes the layer's.

        Raises:
            TypeError: if a prompt or response is not text.
            ValueError: if a key is missing, counts do not match, a prompt is too long,
                or a picture is bad.
            FileNotFoundError, PermissionError: if a file is not there or not readable.
        """
        if y is not None:
            raise ValueError(
                "Expected y=None, received labels. Pass the wanted answers as "
                'x["responses"]: the labels are made of them.'
            )
        check_keys(x, needed=("prompts", "responses"))
        length = sequence_length or self.sequence_length
        if self._use_tf_workflow():
            return self._call_in_graph(x, sample_weight, length)
        examples = normalize_examples(x)
        inputs, labels, weights = shift_by_one(self._pack_training(examples, length))
        weights = weights.astype(np.float32)
        if self.image_features is not None and examples.images is not None:
            inputs["image_features"] = self.image_features.read(examples.images)
        else:
            inputs["images"] = self.convert_images(examples.images, len(labels))
        if not examples.is_batched:
            inputs = {key: value[0] for key, value in inputs.items()}
            labels, weights = labels[0], weights[0]
        if sample_weight is not None:
            of_rows = check_weights(to_numpy(sample_weight), labels.shape[:-1])
            weights = weights * of_rows[..., None]
        return inputs, labels, weights

    def _call_in_graph(
        self, x: Mapping[str, Any], sample_weight: Tensor, length: int
    ) -> tuple[dict[str, Any], Any, Any]:
        """`call` on symbolic TensorFlow tensors; ids come from the same Python code."""
        import tensorflow as tf

        prompts = tf.convert_to_tensor(x["prompts"])
        responses = tf.convert_to_tensor(x["responses"])
        ranks = (prompts.shape.rank, responses.shape.rank)
        if ranks not in ((0, 0), (1, 1)):
            raise ValueError(
                "Expected prompts and responses both of shape [] or [B] in tf.data, "
                f"received {prompts.shape} and {responses.shape}."
            )

        def pack(prompts: Tensor, responses: Tensor) -> tuple[np.ndarray, ...]:
            examples = normalize_examples({"prompts": prompts, "responses": responses})
            packed = self._pack_training(examples, length)
            return packed if examples.is_batched else tuple(a[0] for a in packed)

        types = (tf.int32, tf.bool, tf.bool)
        arrays = tf.numpy_function(pack, [prompts, responses], types)
        shape = (*prompts.shape, length + 1)
        packed = PackedRows(*(tf.ensure_shape(array, shape) for array in arrays))
        inputs, labels, weights = shift_by_one(packed)
        weights = tf.cast(weights, tf.float32)
        if sample_weight is not None:
            given = [sample_weight, tf.shape(prompts)]
            of_rows = tf.numpy_function(check_weights, given, tf.float32)
            weights *= tf.ensure_shape(of_rows, prompts.shape)[..., None]
        images = x.get("images")
        if images is None:
            empty = tf.concat([tf.shape(prompts), [0, *self._image_shape()]], axis=0)
            inputs["images"] = tf.zeros(empty)
        elif self.image_features is not None:
            inputs["image_features"] = _read_in_graph(self.image_features, images)
        elif self.image_converter is not None:
            inputs["images"] = self.image_converter(images)
        else:
            inputs["images"] = images
        return inputs, labels, weights

    def generate_preprocess(
        self, x: Any, sequence_length: int | None = None
    ) -> dict[str, np.ndarray]:
        """Prepare prompts for `generate` of a model without a preprocessor.

            x = preprocessor.generate_preprocess(prompts, sequence_length=64)
            model.preprocessor = None
            y = model.generate(x, stop_token_ids=[preprocessor.tokenizer.end_token_id])
            texts = preprocessor.generate_postprocess(y)

        Args:
            x: a prompt, prompts, or a dict of "images", "prompts" and "responses"; the
                responses here are the beginnings the answers must have.
            sequence_length: P, the room for a prompt and its answer; None for that of
                the longest prompt, which leaves none for answers.

        Returns:
            dict of `images` float32 [B, h, w, 3] or [B, M, h, w, 3], `token_ids` int32
            [B, P], `padding_mask` and `response_mask` bool [B, P], always with a batch
            axis, padded on the right.

        Raises:
            TypeError, ValueError, OSError: as `call`, and as they were raised, while
                Keras puts its own text around the errors of a call.
        """
        return self._prepare_prompts(x, sequence_length, sequence_length)

    def prepare_prompts(
        self, x: Any, max_length: int | None = None
    ) -> dict[str, np.ndarray]:
        """Return what `generate_preprocess` does, padded to the longest prompt only.

        Args:
            x: as in `generate_preprocess`.
            max_length: Most tokens a prompt with its forced beginning may have; None
                for no limit.
        """
        return self._prepare_prompts(x, max_length, None)

    def _prepare_prompts(
        self, x: Any, max_length: int | None, length: int | None
    ) -> dict[str, np.ndarray]:
        examples = normalize_examples(x)
        heads = self._tokenize_prompts(examples.prompts)
        tails: list[list[int]] = [[] for _ in heads]
        if examples.responses is not None:
            tails = self.tokenizer.tokenize(examples.responses)
        rows = [[*head, *tail] for head, tail in zip(heads, tails)]
        for i, row in enumerate(rows):
            check_prompt_length(i, len(row), max_length)
        length = length or max(len(row) for row in rows)
        packed = pad_rows(rows, heads, length, self.tokenizer.pad_token_id)
        images = self.convert_images(examples.images, len(rows))
        return {"images": images, **packed._asdict()}

    def generate_postprocess(self, x: Mapping[str, Any]) -> list[str]:
        """Texts of `{"token_ids": int[B, L], "padding_mask": bool[B, L]}`.

        Tokens where the mask is False, special tokens and ids beyond the vocabulary
        are left out; `<loc....>` and `<seg...>` are kept.
        """
        tokenizer = self.tokenizer
        token_ids = np.atleast_2d(to_numpy(x["token_ids"]))
        padding_mask = np.atleast_2d(to_numpy(x["padding_mask"])).astype(bool)
        known = range(tokenizer.vocabulary_size())
        special = set(tokenizer.special_token_ids)
        rows = [
            [
                token
                for token in row[mask].tolist()
                if token in known and token not in special
            ]
            for row, mask in zip(token_ids, padding_mask)
        ]
        return [str(text) for text in tokenizer.detokenize(rows)] if rows else []

    def _tokenize_prompts(self, prompts: list[str]) -> list[list[int]]:
        """`[bos] prompt [separator]` of each prompt."""
        start = [self.tokenizer.start_token_id] if self.add_start_token else []
        end: list[int] = []
        if self.separator:
            [end] = self.tokenizer.tokenize([self.separator])
        prompts = [clean_prompt(prompt, self.separator) for prompt in prompts]
        return [[*start, *ids, *end] for ids in self.tokenizer.tokenize(prompts)]

    def _pack_training(self, examples: Examples, length: int) -> PackedRows:
        """Rows of `length + 1`, because inputs and labels are one token apart."""
        heads = self._tokenize_prompts(examples.prompts)
        end = [self.tokenizer.end_token_id] if self.add_end_token else []
        rows = []
        num_cut = 0
        for i, tail in enumerate(self.tokenizer.tokenize(examples.responses)):
            check_prompt_length(i, len(heads[i]), length)
            row = [*heads[i], *tail, *end]
            num_cut += len(row) > length + 1
            rows.append(row[: length + 1])
        self._report_cut(num_cut, length)
        return pad_rows(rows, heads, length + 1, self.tokenizer.pad_token_id)

    def _report_cut(self, num_cut: int, length: int) -> None:
        with _COUNTING:
            is_first = num_cut > 0 and self.num_cut_responses == 0
            self.num_cut_responses += num_cut
        if is_first:
            warnings.warn(
                f"Expected responses that fit in sequence_length={length}, received "
                f"{num_cut} that did not fit and were cut (without an end token). "
                "Raise sequence_length to keep them whole; "
                "preprocessor.num_cut_responses counts them from here on.",
                stacklevel=2,
            )

    def convert_images(self, images: list[Any] | None, num_rows: int) -> np.ndarray:
        """The pixels of examples: float32 [B, h, w, 3] or [B, M, h, w, 3].

        Args:
            images: one entry an example, as `examples.Examples` has them.
            num_rows: B; without images they are float32 [B, 0, h, w, 3].

        Raises:
            TypeError, ValueError, OSError: for a bad picture.
        """
        if images is None:
            return np.zeros((num_rows, 0, *self._image_shape()), np.float32)
        if len(images) > 1 and all(entry is images[0] for entry in images):
            # One picture, several prompts: convert it once.
            return np.repeat(self.convert_images(images[:1], 1), num_rows, axis=0)
        if self.image_converter is not None:
            # Not a call: Keras would wrap the error about a bad picture.
            return self.image_converter.convert(images)
        return np.stack([to_numpy(image) for image in images]).astype(np.float32)

    def _image_shape(self) -> tuple[int, int, int]:
        height, width = self.image_size or (0, 0)
        return height, width, 3

    def load_preset_assets(self, preset: str) -> None:
        """Read the vocabulary and the small files of a preset; see KerasHub."""
        # KerasHub has no public name for a file of a preset, which may be remote.
        from keras_hub.src.utils.preset_utils import check_file_exists, get_file

        super().load_preset_assets(preset)
        contents = {
            name: read_own_file(Path(get_file(preset, name)).parent, name)
            for name in OWN_FILES
            if check_file_exists(preset, name)
        }
        self.preset_files = PresetFiles(preset, contents)

    def save_to_preset(self, preset_dir: str | Path) -> None:
        """Write the preprocessor's part of a preset, as KerasHub does.

        Args:
            preset_dir: Directory to write into.

        Raises:
            OSError: if it cannot be written; what was there stays.
        """
        with updated(Path(preset_dir)) as part:
            super().save_to_preset(str(part))
            if self.preset_files is not None:
                self.preset_files.save(part)

    def export_to_transformers(self, path: str | Path) -> None:
        """Write the tokenizer as transformers reads it, as KerasHub does.

        What transformers has to know of pictures depends on the network too: that is
        written by the task's method.

        Args:
            path: Directory to write into; made if it is not there.
        """
        self.tokenizer.export_to_transformers(path)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, for saving."""
        return {**super().get_config(), "separator": self.separator}


def _read_in_graph(features: ImageFeatures, images: Tensor) -> Tensor:
    """Paths, string[], [B] or [B, M], as features [M * I, D] or [B, M * I, D]."""
    import tensorflow as tf

    images = tf.convert_to_tensor(images)
    is_batched = images.shape.rank > 0

    def read(paths: Tensor) -> np.ndarray:
        if is_batched:
            return features.read(paths.tolist())
        return features.read([paths])[0]

    arrays = tf.numpy_function(read, [images], features.dtype)
    num_pictures = images.shape[1] if images.shape.rank > 1 else 1
    num_tokens, width = features.shape
    shape = (*images.shape[:1], num_pictures * num_tokens, width)
    return tf.ensure_shape(arrays, shape)
