"""The official PyTorch code (sam2, segment_anything), built from our configs with random weights.

This file finds it and builds SAM 2; official_sam.py builds SAM 1. It is found as `make oracle`
installs it, in the folder that the environment variable SAM_JAX_ORACLE names, or as normally
installed packages, in this order of preference: SAM_JAX_ORACLE, installed packages, .oracle/site.

Released models are composed from their official YAML file, not from our preset, so that a wrong
number in a preset shows up as a mismatch instead of being copied into the reference.
"""

import importlib
import importlib.util
import os
import sys
import types
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.config import DecoderConfig, Sam2Config
from sam_jax.presets import PRESETS

_SITE = Path(__file__).resolve().parent.parent / ".oracle" / "site"
_YAML_SIZES = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}


@cache
def require() -> None:
    """Make torch, sam2 and segment_anything importable.

    Raises:
      ModuleNotFoundError: something is missing; the message says how to get it.
    """
    folder = os.environ.get("SAM_JAX_ORACLE")
    if folder is None and importlib.util.find_spec("sam2") is None and _SITE.is_dir():
        folder = str(_SITE)
    if folder is not None:
        sys.path.append(folder)
    missing = [
        name
        for name in ("torch", "torchvision", "hydra", "sam2", "segment_anything")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ModuleNotFoundError(
            f"the official PyTorch code needs {', '.join(missing)}: run `make oracle`, which "
            "installs it all into .oracle, and use .oracle/venv/bin/python; or set SAM_JAX_ORACLE "
            "to a folder that has sam2, segment_anything and torchvision",
            name=missing[0],
        )
    _bridge_torchvision()


@cache
def _bridge_torchvision() -> Any:
    """Let the Python parts of a torchvision wheel made for CUDA work with a CPU-only torch.

    Its compiled operators cannot load there, and describing them to torch fails at import. The
    official code uses one of them, nms: skip the descriptions, and give nms. Returns what must stay
    alive for that.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    assert spec is not None and spec.origin is not None
    try:
        for library in Path(spec.origin).parent.glob("_C*"):
            torch.ops.load_library(str(library))
        if hasattr(torch.ops.torchvision, "nms"):
            return None
    except OSError:
        pass  # made for another torch
    name = "torchvision._meta_registrations"
    sys.modules[name] = types.ModuleType(name)
    operators = torch.library.Library("torchvision", "FRAGMENT")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for key in ("CPU", "CUDA"):
        operators.impl("nms", _nms, key)
    boxes: Any = importlib.import_module("torchvision.ops.boxes")
    boxes._assert_has_ops = lambda: None
    return operators


def _nms(boxes: Any, scores: Any, threshold: float) -> Any:
    """Greedy non-maximum suppression: indices of the kept boxes (x0 y0 x1 y1), best first."""
    import torch

    order = scores.argsort(descending=True, stable=True)
    x0, y0, x1, y1 = boxes[order].unbind(1)
    overlap_w = (torch.minimum(x1[:, None], x1) - torch.maximum(x0[:, None], x0)).clamp(min=0)
    overlap_h = (torch.minimum(y1[:, None], y1) - torch.maximum(y0[:, None], y0)).clamp(min=0)
    area = (x1 - x0) * (y1 - y0)
    overlap = overlap_w * overlap_h
    clash = overlap / (area[:, None] + area - overlap) > threshold
    kept: list[int] = []
    for i in range(len(order)):
        if not clash[i, kept].any():
            kept.append(i)
    return order[kept]


def build_sam2(config: Sam2Config, *, seed: int, changes: dict[str, Any] | None = None) -> Any:
    """The official SAM2Base of a config: float32, CPU, eval mode, no gradients.

    Of what the official builders switch on under `apply_postprocessing`, the stability fallback
    follows `config.decoder`; mask filling belongs to the video predictor and is off. `changes`
    go over the YAML file last, in its words: another class (`_target_`) and its arguments.
    """
    require()
    import torch
    from hydra import compose
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    importlib.import_module("sam2")  # registers its YAML files with hydra
    released = PRESETS.get(config.name)
    size = _YAML_SIZES.get(config.name.partition("-hiera-")[2])
    as_released = (
        size is not None
        and released is not None
        and replace(config, image_size=1024, decoder=DecoderConfig()) == released
    )
    if as_released:
        version = config.name.partition("-")[0]
        composed = compose(f"configs/{version}/{version}_hiera_{size}.yaml")
        numbers = _size_changes(config)
    else:
        composed = compose("configs/sam2.1/sam2.1_hiera_t.yaml")
        numbers = _all_changes(config)
    OmegaConf.set_struct(composed, False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        merged = OmegaConf.merge(composed, {"model": numbers}, {"model": changes or {}})
        model = instantiate(merged.model, _recursive_=True)
        _replace_heads(model, config)
    return model.float().eval().requires_grad_(False)


def _size_changes(config: Sam2Config) -> dict[str, Any]:
    """What depends on the input size, and the decoder's flags."""
    decoder, sizes = config.decoder, [config.grid, config.grid]
    return {
        "image_size": config.image_size,
        "use_high_res_features_in_sam": decoder.high_res_features,
        "pred_obj_scores": decoder.object_score,
        "iou_prediction_use_sigmoid": decoder.iou_sigmoid,
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": decoder.stability_fallback,
            "dynamic_multimask_stability_delta": decoder.stability_delta,
            "dynamic_multimask_stability_thresh": decoder.stability_threshold,
        },
        "memory_attention": {
            "layer": {
                "self_attention": {"feat_sizes": sizes},
                "cross_attention": {"feat_sizes": sizes},
            }
        },
    }


def _all_changes(config: Sam2Config) -> dict[str, Any]:
    """Every field of the config in the words of the official YAML files."""
    trunk, memory, dim = config.trunk, config.memory, config.dim
    sizes = [config.grid, config.grid]
    attention = {"embedding_dim": dim, "feat_sizes": sizes}
    return {
        **_size_changes(config),
        "image_encoder": {
            "trunk": {
                "embed_dim": trunk.embed_dim,
                "num_heads": trunk.num_heads,
                "stages": list(trunk.stages),
                "global_att_blocks": list(trunk.global_att_blocks),
                "window_spec": list(trunk.window_spec),
                "window_pos_embed_bkg_spatial_size": list(trunk.pos_embed_grid),
            },
            "neck": {
                "d_model": dim,
                "backbone_channel_list": list(reversed(trunk.stage_dims)),
                "position_encoding": {"num_pos_feats": dim},
            },
        },
        "memory_attention": {
            "d_model": dim,
            "num_layers": memory.attention_layers,
            "layer": {
                "d_model": dim,
                "dim_feedforward": memory.mlp_dim,
                "self_attention": attention,
                "cross_attention": {**attention, "kv_in_dim": memory.dim},
            },
        },
        "memory_encoder": {
            "in_dim": dim,
            "out_dim": memory.dim,
            "position_encoding": {"num_pos_feats": memory.dim},
            "mask_downsampler": {"embed_dim": dim},
            "fuser": {"num_layers": memory.fuser_layers, "layer": {"dim": dim}},
        },
        "num_maskmem": memory.num_maskmem,
        "no_obj_embed_spatial": memory.no_object_embed,
        "add_tpos_enc_to_obj_ptrs": memory.pointer_time_encoding,
        "proj_tpos_enc_in_obj_ptrs": memory.pointer_time_encoding,
        "use_signed_tpos_enc_to_obj_ptrs": memory.pointer_time_encoding,
    }


def _replace_heads(model: Any, config: Sam2Config) -> None:
    """Rebuild the prompt encoder and the decoder where SAM2Base hard-codes other widths."""
    decoder = config.decoder
    hard_coded = DecoderConfig()
    if config.mask_channels != 16:
        encoder = type(model.sam_prompt_encoder)
        side = (config.image_size, config.image_size)
        model.sam_prompt_encoder = encoder(
            config.dim, (config.grid, config.grid), side, config.mask_channels
        )
    widths = ("depth", "num_heads", "mlp_dim", "iou_hidden_dim", "num_multimask_outputs")
    if any(getattr(decoder, name) != getattr(hard_coded, name) for name in widths):
        model.sam_mask_decoder = mask_decoder(
            "sam2.modeling.sam",
            decoder,
            config.dim,
            use_high_res_features=decoder.high_res_features,
            iou_prediction_use_sigmoid=decoder.iou_sigmoid,
            pred_obj_scores=decoder.object_score,
            pred_obj_scores_mlp=decoder.object_score,
            use_multimask_token_for_obj_ptr=True,
            **model.sam_mask_decoder_extra_args,
        )


def mask_decoder(package: str, config: DecoderConfig, dim: int, **flags: Any) -> Any:
    """The MaskDecoder of `package`, SAM 1's or SAM 2's; `flags` are arguments of one of them."""
    transformer = importlib.import_module(f"{package}.transformer").TwoWayTransformer(
        depth=config.depth, embedding_dim=dim, num_heads=config.num_heads, mlp_dim=config.mlp_dim
    )
    return importlib.import_module(f"{package}.mask_decoder").MaskDecoder(
        transformer_dim=dim,
        transformer=transformer,
        num_multimask_outputs=config.num_multimask_outputs,
        iou_head_hidden_dim=config.iou_hidden_dim,
        **flags,
    )


def perturb(model: Any, *, seed: int) -> Any:
    """Move an untrained model, in place, to where mistakes show; returns it.

    Official initialisers leave position tables and biases at zero, norms at one, the residual scale
    of the memory fuser at 1e-6 and every mask near a logit of 0: parts could be left out or
    swapped without a visible difference. A parameter's noise depends on the seed and its name.
    """
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = np.random.RandomState([seed, *name.encode()]).standard_normal(parameter.shape)
            noise = torch.from_numpy(noise).to(parameter)
            if name.endswith("gamma"):
                parameter.copy_(0.3 + 0.1 * noise)
            elif _is_norm_scale(name, parameter) or name.endswith("bias"):
                parameter.add_(0.1 * noise)
            elif "embed" in name and parameter.ndim == 4 and "proj" not in name:  # position tables
                parameter.add_(0.2 * noise)
            elif "rel_pos" in name or "tpos" in name or name.startswith("no_"):
                parameter.add_(0.1 * noise)
            if "pred_obj_score_head" in name and name.endswith(".2.bias"):
                parameter.add_(0.3)
            if "iou_prediction_head" in name and name.endswith(".2.bias"):
                parameter.add_(0.5 * noise)
            if "output_hypernetworks_mlps" in name and ".layers.2." in name:
                # Logits of trained masks reach +-10 and more. At 30 a tiny model takes the
                # stability fallback for some prompts only; at 100 it takes it for none.
                parameter.mul_(30)
    return model


def _is_norm_scale(name: str, parameter: Any) -> bool:
    return name.endswith("weight") and parameter.ndim == 1


def state_dict(model: Any) -> dict[str, np.ndarray]:
    """The model's official names and arrays."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def load_state_dict(model: Any, state: dict[str, np.ndarray]) -> Any:
    """Fill `model` in place, strictly; returns it."""
    import torch

    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    return model


def image_predictor(model: Any) -> Any:
    """The official SAM2ImagePredictor, made to accept input sizes other than 1024."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    with warnings.catch_warnings():  # it calls torch.jit.script, which torch deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        predictor = SAM2ImagePredictor(model)
    predictor._bb_feat_sizes = [(model.image_size // stride,) * 2 for stride in (4, 8, 16)]
    return predictor
