"""Hugging Face transformers names <-> official names, for `Sam2VideoModel` and `SamModel`.

One table per family, read in either direction, first match wins: `#` stands for a number, `@` for
one word, `*` for the rest of the name. Layouts are the same on both sides. Only two things are not
renames: SAM 2's four point embeddings are one table there, and the Fourier matrix is stored twice.
"""

import functools
import re
from collections.abc import Mapping

import numpy as np

from sam_jax.checkpoint.error import CheckpointError
from sam_jax.config import Config, Sam2Config

_FOURIER = "prompt_encoder.shared_embedding.positional_embedding"
_FOURIER_COPY = "shared_image_embedding.positional_embedding"
_POINTS_OFFICIAL = "sam_prompt_encoder.point_embeddings"
_POINTS = "prompt_encoder.point_embed.weight"


def _mlp(official: str, hugging_face: str) -> list[tuple[str, str]]:
    """A three-layer MLP: layers.0, .1, .2 <-> proj_in, layers.0, proj_out."""
    theirs = ("proj_in.*", "layers.0.*", "proj_out.*")
    return [(f"{official}.layers.{i}.*", f"{hugging_face}.{name}") for i, name in enumerate(theirs)]


def _prompt_encoder_and_decoder(prefix: str, out_proj: str) -> list[tuple[str, str]]:
    """What SAM 1 and SAM 2 share."""
    prompt, decoder = f"{prefix}prompt_encoder", f"{prefix}mask_decoder"
    stem = {0: "conv1", 1: "layer_norm1", 3: "conv2", 4: "layer_norm2", 6: "conv3"}
    upscale = {0: "upscale_conv1", 1: "upscale_layer_norm", 3: "upscale_conv2"}
    attention = "mask_decoder.transformer"
    return [
        (f"{prompt}.pe_layer.positional_encoding_gaussian_matrix", _FOURIER),
        *(
            (f"{prompt}.mask_downscaling.{i}.*", f"prompt_encoder.mask_embed.{name}.*")
            for i, name in stem.items()
        ),
        *(
            (f"{decoder}.output_upscaling.{i}.*", f"mask_decoder.{name}.*")
            for i, name in upscale.items()
        ),
        *_mlp(f"{decoder}.output_hypernetworks_mlps.#", "mask_decoder.output_hypernetworks_mlps.#"),
        *_mlp(f"{decoder}.iou_prediction_head", "mask_decoder.iou_prediction_head"),
        *_mlp(f"{decoder}.pred_obj_score_head", "mask_decoder.pred_obj_score_head"),
        (f"{prefix}{attention}.norm_final_attn.*", f"{attention}.layer_norm_final_attn.*"),
        (f"{prefix}{attention}.layers.#.norm#.*", f"{attention}.layers.#.layer_norm#.*"),
        (f"{prefix}{attention}.@.out_proj.*", f"{attention}.@.{out_proj}.*"),
        (f"{prefix}{attention}.layers.#.@.out_proj.*", f"{attention}.layers.#.@.{out_proj}.*"),
    ]


_TRUNK, _BACKBONE = "image_encoder.trunk", "vision_encoder.backbone"
_SAM2 = [
    (f"{_TRUNK}.patch_embed.proj.*", f"{_BACKBONE}.patch_embed.projection.*"),
    (f"{_TRUNK}.blocks.#.norm#.*", f"{_BACKBONE}.blocks.#.layer_norm#.*"),
    (f"{_TRUNK}.blocks.#.mlp.layers.0.*", f"{_BACKBONE}.blocks.#.mlp.proj_in.*"),
    (f"{_TRUNK}.blocks.#.mlp.layers.1.*", f"{_BACKBONE}.blocks.#.mlp.proj_out.*"),
    (f"{_TRUNK}.*", f"{_BACKBONE}.*"),
    ("image_encoder.neck.convs.#.conv.*", "vision_encoder.neck.convs.#.*"),
    *_prompt_encoder_and_decoder("sam_", "o_proj"),
    ("sam_mask_decoder.transformer.layers.#.mlp.layers.0.*",
     "mask_decoder.transformer.layers.#.mlp.proj_in.*"),
    ("sam_mask_decoder.transformer.layers.#.mlp.layers.1.*",
     "mask_decoder.transformer.layers.#.mlp.proj_out.*"),
    ("sam_prompt_encoder.*", "prompt_encoder.*"),
    ("sam_mask_decoder.*", "mask_decoder.*"),
    ("memory_attention.layers.#.@.out_proj.*", "memory_attention.layers.#.@.o_proj.*"),
    ("memory_attention.layers.#.norm#.*", "memory_attention.layers.#.layer_norm#.*"),
    ("memory_attention.norm.*", "memory_attention.layer_norm.*"),
    *(
        (f"memory_encoder.mask_downsampler.encoder.{3 * i + j}.*",
         f"memory_encoder.mask_downsampler.layers.{i}.{name}.*")
        for i in range(4)
        for j, name in enumerate(("conv", "layer_norm"))
    ),
    ("memory_encoder.mask_downsampler.encoder.12.*",
     "memory_encoder.mask_downsampler.final_conv.*"),
    ("memory_encoder.pix_feat_proj.*", "memory_encoder.feature_projection.*"),
    ("memory_encoder.out_proj.*", "memory_encoder.projection.*"),
    *(
        (f"memory_encoder.fuser.layers.#.{ours}", f"memory_encoder.memory_fuser.layers.#.{theirs}")
        for ours, theirs in (
            ("gamma", "scale"),
            ("dwconv.*", "depthwise_conv.*"),
            ("norm.*", "layer_norm.*"),
            ("pwconv#.*", "pointwise_conv#.*"),
        )
    ),
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("no_mem_embed", "no_memory_embedding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("no_obj_ptr", "no_object_pointer"),
    ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    *_mlp("obj_ptr_proj", "object_pointer_proj"),
    ("obj_ptr_tpos_proj.*", "temporal_positional_encoding_projection_layer.*"),
]  # fmt: skip

_SAM = [
    ("image_encoder.patch_embed.proj.*", "vision_encoder.patch_embed.projection.*"),
    ("image_encoder.blocks.#.norm#.*", "vision_encoder.layers.#.layer_norm#.*"),
    ("image_encoder.blocks.*", "vision_encoder.layers.*"),
    ("image_encoder.neck.0.*", "vision_encoder.neck.conv1.*"),
    ("image_encoder.neck.1.*", "vision_encoder.neck.layer_norm1.*"),
    ("image_encoder.neck.2.*", "vision_encoder.neck.conv2.*"),
    ("image_encoder.neck.3.*", "vision_encoder.neck.layer_norm2.*"),
    ("image_encoder.*", "vision_encoder.*"),
    *_prompt_encoder_and_decoder("", "out_proj"),
    ("prompt_encoder.point_embeddings.#.weight", "prompt_encoder.point_embed.#.weight"),
]


def from_huggingface(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hugging Face names -> official names. A name in no table is kept, for the strict comparison.

    Raises:
      CheckpointError: the two copies of the Fourier matrix differ.
    """
    state = dict(state)
    sam2 = any(name.startswith("vision_encoder.backbone.") for name in state)
    if _FOURIER_COPY in state:  # tied weights: either name may be the one that was saved
        copy = state.pop(_FOURIER_COPY)
        if not np.array_equal(state.setdefault(_FOURIER, copy), copy, equal_nan=True):
            raise CheckpointError(f"{_FOURIER} and its copy {_FOURIER_COPY} differ")
    points = state.pop(_POINTS, None) if sam2 else None
    official = _rename(state, _SAM2 if sam2 else _SAM, source=1)
    if points is not None:
        for i in range(points.shape[0] if points.ndim else 0):
            official[f"{_POINTS_OFFICIAL}.{i}.weight"] = points[i : i + 1]
    return official


def to_huggingface(state: Mapping[str, np.ndarray], config: Config) -> dict[str, np.ndarray]:
    """Inverse of `from_huggingface`, for the official names of a whole model."""
    sam2 = isinstance(config, Sam2Config)
    tables = [f"{_POINTS_OFFICIAL}.{i}.weight" for i in range(4)] if sam2 else []
    rest = {name: array for name, array in state.items() if name not in tables}
    renamed = _rename(rest, _SAM2 if sam2 else _SAM, source=0)
    if sam2:
        renamed[_POINTS] = np.concatenate([state[name] for name in tables])
    renamed[_FOURIER_COPY] = renamed[_FOURIER]
    return renamed


def _rename(
    state: Mapping[str, np.ndarray], table: list[tuple[str, str]], *, source: int
) -> dict[str, np.ndarray]:
    renamed: dict[str, np.ndarray] = {}
    origin: dict[str, str] = {}
    for name, array in state.items():
        new = next(
            (
                _fill(row[1 - source], match.groups())
                for row in table
                if (match := _pattern(row[source]).fullmatch(name))
            ),
            name,
        )
        if new in renamed:
            raise CheckpointError(f"{origin[new]!r} and {name!r} both mean {new!r}")
        renamed[new], origin[new] = array, name
    return renamed


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    holes = {r"\#": r"(\d+)", "@": "([a-z_]+)", r"\*": "(.+)"}
    text = re.escape(template)
    for hole, pattern in holes.items():
        text = text.replace(hole, pattern)
    return re.compile(text)


def _fill(template: str, values: tuple[str, ...]) -> str:
    texts = re.split("[#@*]", template)
    return texts[0] + "".join(v + text for v, text in zip(values, texts[1:], strict=True))
