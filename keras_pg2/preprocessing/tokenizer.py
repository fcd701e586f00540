"""SentencePiece tokenizer of PaliGemma and PaliGemma 2."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_hub

from keras_pg2.checks.texts import printable
from keras_pg2.checks.vocabularies import parse_sentencepiece, read_vocabulary
from keras_pg2.files.whole_files import updated
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.start.preset_loading import PresetNames, preset_loading

NUM_LOCATIONS = 1024
NUM_SEGMENTS = 128


@keras.saving.register_keras_serializable(package="keras_pg2")
class PaliGemma2Tokenizer(keras_hub.tokenizers.SentencePieceTokenizer):
    """Text to token ids and back, with the Gemma vocabulary and its extra pieces.

    The vocabulary holds `<pad>`, `<eos>`, `<bos>`, the text pieces and, one after
    the other, `<loc0000>`..`<loc1023>` and `<seg000>`..`<seg127>`. Neither bos nor
    eos is added here: the preprocessor lays out the sequence. The special pieces are
    control symbols, so the text "<eos>" in a prompt never becomes the token `<eos>`.

    A call on `str` gives `int32[T]`, on a list of `str` a list of id lists. Inside
    `tf.data` it gives the same ids through TensorFlow Text (`int32[T]`, ragged for a
    batch). Source: big_vision `pp/tokenizer.py`, `pp/ops_text.py:_add_pieces`.

    Args:
        proto: path of a SentencePiece model file, or its content as `bytes`.

    Raises:
        ValueError: if the file is no SentencePiece model, or its vocabulary lacks a
            piece PaliGemma needs.
        FileNotFoundError: if `proto` names no file.
    """

    backbone_cls = PaliGemma2Backbone
    presets = PresetNames()

    def __init__(
        self, proto: str | os.PathLike[str] | bytes | None = None, **kwargs: Any
    ) -> None:
        self._add_special_token("<bos>", "start_token")
        self._add_special_token("<eos>", "end_token")
        self._add_special_token("<pad>", "pad_token")
        super().__init__(proto=proto, **kwargs)

    @classmethod
    def from_preset(
        cls, preset: str | Path, config_file: str = "tokenizer.json", **kwargs: Any
    ) -> PaliGemma2Tokenizer:
        """Load the tokenizer of a preset of any format; no weights are downloaded.

            PaliGemma2Tokenizer.from_preset("pali_gemma2_nano")

        Args:
            preset: Name, URI, directory or file, as for
                `PaliGemma2CausalLM.from_preset`.
            config_file: File of its configuration, in presets of ours.
            **kwargs: Arguments of the tokenizer, instead of the preset's.

        Raises:
            ValueError: if there is no such preset (names near ones), or it has no
                tokenizer.
            OSError: if a file is missing, or cannot be downloaded.
        """
        loading = preset_loading()
        loaded: PaliGemma2Tokenizer = loading.load_part(
            preset,
            partial(super().from_preset, config_file=config_file, **kwargs),
            partial(loading.load_tokenizer, cls, preset, **kwargs),
        )
        return loaded

    def set_proto(self, proto: str | os.PathLike[str] | bytes | None) -> None:
        """Read the vocabulary; see the class for what is accepted and raised."""
        source = "the given bytes" if isinstance(proto, bytes) else str(proto)[:200]
        try:
            if isinstance(proto, os.PathLike):
                proto = read_vocabulary(Path(proto))
            if isinstance(proto, bytes):
                parse_sentencepiece(proto, source)
            super().set_proto(proto)
            if isinstance(proto, str):  # KerasHub says whether that file may be read.
                parse_sentencepiece(self.proto, source)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"Expected the path of a SentencePiece model, but {source!r} does not "
                "exist. Pass the path of PaliGemma's tokenizer model."
            ) from error
        except TypeError:
            raise
        except ValueError as error:
            if source in str(error):
                raise
            raise ValueError(f"{error} It was read from {source}.") from error
        except Exception as error:  # SentencePiece and TensorFlow Text differ here.
            raise ValueError(
                f"Expected a SentencePiece model (vocabulary.spm), but {source} cannot "
                "be read as one. Pass the path of PaliGemma's tokenizer model "
                f"or its content as bytes. ({printable(error)})"
            ) from error

    def load_preset_assets(self, preset: str) -> None:
        """Read the vocabulary of a preset; see KerasHub.

        Raises:
            FileNotFoundError: if it is not where the configuration has it.
        """
        try:
            super().load_preset_assets(preset)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"Expected the vocabulary in {preset} where the config_file of its "
                f"tokenizer, {printable(self.config_file)}, says. Received: "
                f"{printable(error)} Save the preset again."
            ) from error

    def load_assets(self, dir_path: str) -> None:
        """Read `vocabulary.spm` in this folder."""
        self.set_proto(Path(dir_path) / "vocabulary.spm")

    def save_to_preset(self, preset_dir: str | Path) -> None:
        """Write the tokenizer's part of a preset, as KerasHub does.

        Args:
            preset_dir: Directory to write into.

        Raises:
            OSError: if it cannot be written; what was there stays.
        """
        with updated(Path(preset_dir)) as part:
            super().save_to_preset(str(part))

    def export_to_transformers(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as transformers reads it.

        Args:
            path: Directory to write into; made if it is not there.
        """
        preset_loading().export_tokenizer(path, self.proto)

    def _update_special_token_ids(self) -> None:
        vocabulary = self.get_vocabulary()
        present = set(vocabulary)
        needed = ["<bos>", "<eos>", "<pad>", "<loc0000>", "<seg000>"]
        missing = [piece for piece in needed if piece not in present]
        for first, pieces in (
            ("<loc0000>", [f"<loc{i:04d}>" for i in range(NUM_LOCATIONS)]),
            ("<seg000>", [f"<seg{i:03d}>" for i in range(NUM_SEGMENTS)]),
        ):
            if first in missing:
                continue
            start = vocabulary.index(first)
            if vocabulary[start : start + len(pieces)] != pieces:
                missing.append(f"{pieces[1]}..{pieces[-1]} right after {first}")
        if missing:
            raise ValueError(
                "Expected a PaliGemma vocabulary, received a SentencePiece model of "
                f"{len(vocabulary)} pieces that lacks {', '.join(missing)}. Pass "
                "PaliGemma's own tokenizer model (256,000 Gemma pieces, then "
                "<loc0000>..<loc1023> and <seg000>..<seg127>); Gemma's alone is not "
                "enough."
            )
        super()._update_special_token_ids()

    @property
    def first_location_id(self) -> int:
        """Id of `<loc0000>` (256000 in the released vocabulary)."""
        return self.token_to_id("<loc0000>")

    @property
    def location_ids(self) -> range:
        """Ids of `<loc0000>`..`<loc1023>`, in order."""
        return range(self.first_location_id, self.first_location_id + NUM_LOCATIONS)

    @property
    def first_segment_id(self) -> int:
        """Id of `<seg000>` (257024 in the released vocabulary)."""
        return self.token_to_id("<seg000>")

    @property
    def segment_ids(self) -> range:
        """Ids of `<seg000>`..`<seg127>`, in order."""
        return range(self.first_segment_id, self.first_segment_id + NUM_SEGMENTS)

    @property
    def separator_id(self) -> int:
        """Id of the newline that ends a prompt (108 in the released vocabulary)."""
        newline = "\n" if "\n" in self._token_to_id_map else "<0x0A>"
        return self.token_to_id(newline)
