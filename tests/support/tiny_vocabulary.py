"""A throw-away vocabulary built the way Gemma's is."""

from __future__ import annotations

import io

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

SENTENCES = (
    "caption en a red ball next to a small dog on the green grass",
    "answer en what is the colour of the ball? blue",
    "detect cat ; dog ; a person riding a bicycle",
    "segment the dog in front of the house",
    "describe en, ocr. The quick brown fox jumps over the lazy dog!",
    "ein Hund liegt im Gras und schläft",
)


NEWLINES = tuple("\n" * n for n in range(1, 32))
SPACES = tuple("▁" * n for n in range(2, 32))
TABS = tuple("\t" * n for n in range(2, 32))
TAGS = tuple(f"<{slash}{tag}>" for slash in ("", "/") for tag in ("table", "td", "h1"))


def released_like_proto() -> bytes:
    """A small model with all that is peculiar in the released vocabulary.

    Runs of newlines, spaces and tabs, tags, and tokens of no use are pieces of their
    own; a single tab is none, as in the released vocabulary (transformers'
    `GemmaConverter`), where those of tabs and `<unused99>` were added at the end.
    """
    unused = [f"<unused{i}>" for i in range(4)]
    turns = ["<start_of_turn>", "<end_of_turn>"]
    first = ["<mask>", "<2mass>", "[@BOS@]", *unused, *turns]
    late = ["[toxicity=0]", *TABS, "<unused99>"]
    proto = _train([*first, *NEWLINES, *SPACES, *TAGS], vocab_size=480)
    return _with_pieces(proto, [*late, *_locations_and_segments(1024, 128)])


def gemma_like_proto(num_locations: int = 1024, num_segments: int = 128) -> bytes:
    """A small BPE model with byte fallback, then location and segment pieces."""
    proto = _train(["\n", "\n\n"], vocab_size=400)
    return _with_pieces(proto, _locations_and_segments(num_locations, num_segments))


def _locations_and_segments(num_locations: int, num_segments: int) -> list[str]:
    locations = [f"<loc{i:04d}>" for i in range(num_locations)]
    return locations + [f"<seg{i:03d}>" for i in range(num_segments)]


def _train(user_defined_symbols: list[str], vocab_size: int) -> bytes:
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 8),
        model_writer=writer,
        model_type="bpe",
        vocab_size=vocab_size,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        user_defined_symbols=user_defined_symbols,
        minloglevel=2,
    )
    return writer.getvalue()


def _with_pieces(proto: bytes, pieces: list[str]) -> bytes:
    model = sentencepiece_model_pb2.ModelProto.FromString(proto)
    for piece in pieces:
        model.pieces.add(piece=piece, score=0.0, type=4)  # 4 is USER_DEFINED.
    return model.SerializeToString()
