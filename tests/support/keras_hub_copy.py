"""Our weights in KerasHub's own backbone."""

from __future__ import annotations

from typing import Any

from keras import ops
from keras_hub.models import PaliGemmaBackbone

from keras_pg2.modeling import PaliGemma2Backbone


def copy_to_keras_hub(ours: PaliGemma2Backbone) -> PaliGemmaBackbone:
    text, vision = ours.text_decoder, ours.vision_encoder
    theirs = PaliGemmaBackbone(
        vocabulary_size=text.vocabulary_size,
        image_size=vision.image_size,
        num_layers=text.num_layers,
        num_query_heads=text.num_query_heads,
        num_key_value_heads=text.num_key_value_heads,
        hidden_dim=text.hidden_dim,
        intermediate_dim=2 * text.intermediate_dim,
        head_dim=text.head_dim,
        vit_patch_size=vision.patch_size,
        vit_num_heads=vision.num_heads,
        vit_hidden_dim=vision.hidden_dim,
        vit_num_layers=vision.num_layers,
        vit_intermediate_dim=vision.intermediate_dim,
        use_post_ffw_norm=text.has_post_norms,
        use_post_attention_norm=text.has_post_norms,
        attention_logit_soft_cap=text.attention_logit_soft_cap,
        final_logit_soft_cap=text.final_logit_soft_cap,
        use_sliding_window_attention=text.sliding_window is not None,
        sliding_window_size=text.sliding_window or 4096,
    )
    copy_vision(ours, theirs.vit_encoder)
    copy(text.token_embedding, theirs.token_embedding)
    copy(text.final_norm, theirs.layer_norm)
    for block, their_block in zip(text.blocks, theirs.transformer_layers):
        copy_block(block, their_block, text.head_dim)
    return theirs


def copy(ours: Any, theirs: Any) -> None:
    """Copies layers whose weights have the same order and shapes."""
    assert len(ours.weights) == len(theirs.weights)
    theirs.set_weights([ops.convert_to_numpy(weight) for weight in ours.weights])


def copy_vision(ours: PaliGemma2Backbone, theirs: Any) -> None:
    encoder = ours.vision_encoder
    image_encoder = theirs.get_layer("image_encoder")
    embeddings = image_encoder.vision_embeddings
    copy(encoder.patch_embedding, embeddings.patch_embedding)
    copy(encoder.position_embedding, embeddings.position_embedding)
    copy(encoder.final_norm, image_encoder.encoder_layer_norm)
    copy(ours.vision_projection, theirs.get_layer("image_classifier"))
    for block, their_block in zip(encoder.blocks, image_encoder.resblocks):
        copy(block.attention_norm, their_block.layer_norm_1)
        copy(block.mlp_norm, their_block.layer_norm_2)
        copy(block.mlp_up, their_block.mlp_dense_1)
        copy(block.mlp_down, their_block.mlp_dense_2)
        attention, their_attention = block.attention, their_block.attn
        copy(attention.query_dense, their_attention.query_proj)
        copy(attention.key_dense, their_attention.key_proj)
        copy(attention.value_dense, their_attention.value_proj)
        copy(attention.output_dense, their_attention.out_proj)


def copy_block(ours: Any, theirs: Any, head_dim: int) -> None:
    copy(ours.pre_attention_norm, theirs.pre_attention_norm)
    copy(ours.pre_mlp_norm, theirs.pre_ffw_norm)
    if ours.post_attention_norm.weights:
        copy(ours.post_attention_norm, theirs.post_attention_norm)
        copy(ours.post_mlp_norm, theirs.post_ffw_norm)
    copy(ours.mlp.gate_dense, theirs.gating_ffw)
    copy(ours.mlp.up_dense, theirs.gating_ffw_2)
    copy(ours.mlp.down_dense, theirs.ffw_linear)
    for name in ("query_dense", "key_dense", "value_dense"):
        kernel = ops.convert_to_numpy(getattr(ours.attention, name).kernel)
        heads = kernel.reshape(kernel.shape[0], -1, head_dim).transpose(1, 0, 2)
        getattr(theirs.attention, name).kernel.assign(heads)
    kernel = ops.convert_to_numpy(ours.attention.output_dense.kernel)
    heads = kernel.reshape(-1, head_dim, kernel.shape[1])
    theirs.attention.output_dense.kernel.assign(heads)
