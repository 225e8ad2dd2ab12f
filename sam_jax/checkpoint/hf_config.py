"""The `config.json` with which transformers builds the same model as one of our configs.

Upstream: transformers/models/sam2_video/configuration_sam2_video.py, sam/configuration_sam.py.
"""

import json
from typing import Any

from sam_jax.config import Config, Sam2Config, SamConfig


def to_json(config: Config) -> str:
    """The text of `config.json`."""
    return json.dumps(_sam(config) if isinstance(config, SamConfig) else _sam2(config), indent=2)


def obstacle(config: Config) -> str | None:
    """Why transformers cannot build this model, or None where it can."""
    if isinstance(config, Sam2Config) and config.memory.dim != 64:
        return f"it fixes memory.dim at 64, here {config.memory.dim}"
    return None


def _shared(config: Config) -> dict[str, Any]:
    decoder = {
        "hidden_size": config.dim,
        "num_hidden_layers": config.decoder.depth,
        "num_attention_heads": config.decoder.num_heads,
        "mlp_dim": config.decoder.mlp_dim,
        "iou_head_hidden_dim": config.decoder.iou_hidden_dim,
        "num_multimask_outputs": config.decoder.num_multimask_outputs,
    }
    prompts = {
        "hidden_size": config.dim,
        "image_size": config.image_size,
        "mask_input_channels": config.mask_channels,
    }
    return {"prompt_encoder_config": prompts, "mask_decoder_config": decoder}


def _sam2(config: Sam2Config) -> dict[str, Any]:
    trunk, memory, shared = config.trunk, config.memory, _shared(config)
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": trunk.embed_dim,
        "num_attention_heads": trunk.num_heads,
        "image_size": [config.image_size, config.image_size],
        "blocks_per_stage": trunk.stages,
        "embed_dim_per_stage": trunk.stage_dims,
        "num_attention_heads_per_stage": [trunk.num_heads * 2**i for i in range(4)],
        "window_size_per_stage": trunk.window_spec,
        "global_attention_blocks": trunk.global_att_blocks,
        "window_positional_embedding_background_size": trunk.pos_embed_grid,
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": trunk.stage_dims[::-1],
        "backbone_feature_sizes": [[config.image_size // n] * 2 for n in (4, 8, 16)],
        "fpn_hidden_size": config.dim,
    }
    stability = {
        "dynamic_multimask_via_stability": config.decoder.stability_fallback,
        "dynamic_multimask_stability_delta": config.decoder.stability_delta,
        "dynamic_multimask_stability_thresh": config.decoder.stability_threshold,
    }
    return {
        "model_type": "sam2_video",
        "architectures": ["Sam2VideoModel"],
        "image_size": config.image_size,
        "vision_config": vision,
        "prompt_encoder_config": shared["prompt_encoder_config"],
        "mask_decoder_config": shared["mask_decoder_config"] | stability,
        "num_maskmem": memory.num_maskmem,
        "enable_occlusion_spatial_embedding": memory.no_object_embed,
        "enable_temporal_pos_encoding_for_object_pointers": memory.pointer_time_encoding,
        "memory_attention_hidden_size": config.dim,
        "memory_attention_num_layers": memory.attention_layers,
        "memory_attention_feed_forward_hidden_size": memory.mlp_dim,
        "memory_attention_rope_feat_sizes": [config.grid, config.grid],
        "memory_encoder_hidden_size": config.dim,
        "memory_encoder_output_channels": memory.dim,
        "mask_downsampler_embed_dim": config.dim,
        "memory_fuser_num_layers": memory.fuser_layers,
        "memory_fuser_embed_dim": config.dim,
        "memory_fuser_intermediate_dim": 4 * config.dim,
    }


def _sam(config: SamConfig) -> dict[str, Any]:
    encoder = config.encoder
    vision = {
        "hidden_size": encoder.embed_dim,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.num_heads,
        "global_attn_indexes": encoder.global_att_blocks,
        "window_size": encoder.window,
        "patch_size": encoder.patch,
        "image_size": config.image_size,
        "output_channels": config.dim,
        "num_pos_feats": config.dim // 2,
    }
    return {
        "model_type": "sam",
        "architectures": ["SamModel"],
        "vision_config": vision,
        **_shared(config),
    }
