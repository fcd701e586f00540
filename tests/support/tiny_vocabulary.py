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


def gemma_like_proto(num_locations: int = 1024, num_segments: int = 128) -> bytes:
    """A small BPE model with byte fallback, then location and segment pieces."""
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 8),
        model_writer=writer,
        model_type="bpe",
        vocab_size=400,
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
        user_defined_symbols=["\n", "\n\n"],
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(writer.getvalue())
    extra = [f"<loc{i:04d}>" for i in range(num_locations)]
    extra += [f"<seg{i:03d}>" for i in range(num_segments)]
    for piece in extra:
        model.pieces.add(piece=piece, score=0.0, type=4)  # 4 is USER_DEFINED.
    return model.SerializeToString()
