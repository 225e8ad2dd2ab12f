"""Names and shapes of SAM 1's parameters, which a conversion is checked against.

Upstream: segment_anything/modeling/{image_encoder, prompt_encoder, mask_decoder, transformer}.py.
"""

import jax
import jax.numpy as jnp

from sam_jax.config import SamConfig


def expected(config: SamConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Our paths -> shapes, flat."""
    shapes = _encoder(config) | _prompt_encoder(config) | _decoder(config)
    return {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes.items()}


Shapes = dict[str, tuple[int, ...]]


def _linear(path: str, *shape: int) -> Shapes:
    """Dense or Conv: kernel (..., inputs, outputs) and bias."""
    return {f"{path}/kernel": shape, f"{path}/bias": shape[-1:]}


def _norm(path: str, width: int) -> Shapes:
    return {f"{path}/scale": (width,), f"{path}/bias": (width,)}


def _encoder(config: SamConfig) -> Shapes:
    encoder, root = config.encoder, "image_encoder"
    width, head = encoder.embed_dim, encoder.embed_dim // encoder.num_heads
    shapes: Shapes = {f"{root}/pos_embed": (1, *encoder.pos_embed_grid, width)}
    shapes |= _linear(f"{root}/patch_embed/proj", encoder.patch, encoder.patch, 3, width)
    for i in range(encoder.depth):
        block = f"{root}/blocks_{i}"
        side = config.grid if i in encoder.global_att_blocks else encoder.window
        shapes |= _norm(f"{block}/norm1", width) | _norm(f"{block}/norm2", width)
        shapes |= {f"{block}/attn/rel_pos_{axis}": (2 * side - 1, head) for axis in "hw"}
        shapes |= _linear(f"{block}/attn/qkv", width, 3 * width)
        shapes |= _linear(f"{block}/attn/proj", width, width)
        shapes |= _linear(f"{block}/mlp/layers_0", width, 4 * width)
        shapes |= _linear(f"{block}/mlp/layers_1", 4 * width, width)
    dim = config.dim
    shapes |= {f"{root}/neck_0/kernel": (1, 1, width, dim)}
    shapes |= {f"{root}/neck_2/kernel": (3, 3, dim, dim)}
    return shapes | _norm(f"{root}/neck_1", dim) | _norm(f"{root}/neck_3", dim)


def _prompt_encoder(config: SamConfig) -> Shapes:
    root, dim, mid = "prompt_encoder", config.dim, config.mask_channels
    tables = [f"point_embeddings_{i}" for i in range(4)] + ["not_a_point_embed", "no_mask_embed"]
    shapes: Shapes = {f"{root}/{table}": (1, dim) for table in tables}
    shapes[f"{root}/pe_layer/positional_encoding_gaussian_matrix"] = (2, dim // 2)
    stem = f"{root}/mask_downscaling"
    shapes |= _linear(f"{stem}_0", 2, 2, 1, mid // 4) | _norm(f"{stem}_1", mid // 4)
    shapes |= _linear(f"{stem}_3", 2, 2, mid // 4, mid) | _norm(f"{stem}_4", mid)
    return shapes | _linear(f"{stem}_6", 1, 1, mid, dim)


def _decoder(config: SamConfig) -> Shapes:
    root, dim, decoder = "mask_decoder", config.dim, config.decoder
    masks = decoder.num_multimask_outputs + 1
    shapes: Shapes = {f"{root}/iou_token": (1, dim), f"{root}/mask_tokens": (masks, dim)}
    transformer = f"{root}/transformer"
    for i in range(decoder.depth):
        layer = f"{transformer}/layers_{i}"
        shapes |= _attention(f"{layer}/self_attn", dim, dim)
        shapes |= _attention(f"{layer}/cross_attn_token_to_image", dim, dim // 2)
        shapes |= _attention(f"{layer}/cross_attn_image_to_token", dim, dim // 2)
        shapes |= _linear(f"{layer}/mlp/layers_0", dim, decoder.mlp_dim)
        shapes |= _linear(f"{layer}/mlp/layers_1", decoder.mlp_dim, dim)
        for n in range(1, 5):
            shapes |= _norm(f"{layer}/norm{n}", dim)
    shapes |= _attention(f"{transformer}/final_attn_token_to_image", dim, dim // 2)
    shapes |= _norm(f"{transformer}/norm_final_attn", dim)
    # transposed convolutions: (height, width, outputs, inputs)
    up = f"{root}/output_upscaling"
    shapes |= {f"{up}_0/kernel": (2, 2, dim // 4, dim), f"{up}_0/bias": (dim // 4,)}
    shapes |= {f"{up}_3/kernel": (2, 2, dim // 8, dim // 4), f"{up}_3/bias": (dim // 8,)}
    shapes |= _norm(f"{up}_1", dim // 4)
    for i in range(masks):
        shapes |= _mlp(f"{root}/output_hypernetworks_mlps_{i}", dim, dim, dim // 8)
    return shapes | _mlp(f"{root}/iou_prediction_head", dim, decoder.iou_hidden_dim, masks)


def _attention(path: str, dim: int, inner: int) -> Shapes:
    shapes: Shapes = {}
    for name in ("q_proj", "k_proj", "v_proj"):
        shapes |= _linear(f"{path}/{name}", dim, inner)
    return shapes | _linear(f"{path}/out_proj", inner, dim)


def _mlp(path: str, dim: int, hidden: int, outputs: int) -> Shapes:
    shapes = _linear(f"{path}/layers_0", dim, hidden)
    shapes |= _linear(f"{path}/layers_1", hidden, hidden)
    return shapes | _linear(f"{path}/layers_2", hidden, outputs)
