"""Flat dicts of arrays, which everyone can make, and our structs.

A shape is what `jax.export.symbolic_shape` reads, with the letters of `LETTERS`. Prompts are what a
person would say: the token that closes a list of clicks, and the limits of logits that come back as
a prompt, are seen to here.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sam_jax import video
from sam_jax.config import Config
from sam_jax.types import (
    BACKGROUND,
    FOREGROUND,
    NOT_A_POINT,
    PAD,
    ImageFeatures,
    MemoryBank,
    Model,
    Prompts,
    VideoState,
)

Arrays = dict[str, Array]
Shapes = dict[str, tuple[str, Any]]  # name -> shape, dtype

LETTERS = {
    "b": "pictures, or videos",
    "o": "objects of each of them",
    "p": "points of an object, the two corners of a box counted",
    "c": "frames with prompts that the memory of an object holds",
    "n": "phrases",
}
MEANINGS = {
    "images": "RGB in 0..1 (values / 255), resized to the model input as `picture` says",
    "embed": "features at stride 16, before any prompt",
    "high_res_0": "features at stride 4",
    "high_res_1": "features at stride 8",
    "points": "xy in pixels of the model input",
    "labels": "of points: 1 on the object, 0 not on it, 2 and 3 the top left and bottom right"
    " corners of a box, -2 no point",
    "mask": "low-resolution logits of an earlier answer, as a prompt",
    "has_mask": "mask is a prompt; else it is not looked at",
    "text": "embedding of a phrase, of length 1",
    "has_text": "text is a prompt; else it is not looked at",
    "multi_logits": "three masks, for a prompt that may mean several things: low-resolution logits,"
    " above 0 inside",
    "multi_iou": "predicted IoU of multi_logits: the highest is the best guess",
    "single_logits": "one mask: low-resolution logits, above 0 inside",
    "single_iou": "predicted IoU of single_logits",
    "object_logit": "above 0 where the object is there (SAM 1 does not say: 0)",
    "prompted": "the object is prompted on this frame; else its prompt is not looked at",
    "correcting": "the prompt corrects a track; else it says anew what the object is",
    "masks": "masks of objects, 0 or 1, resized as the picture is",
    "given": "the object's mask is given on this frame; else it is not looked at",
    "logits": "mask of each object: low-resolution logits, above 0 inside",
    "iou": "predicted IoU of logits",
    "tokens": "a phrase: the token of its start, those of its words, those of its end up to the"
    " last place; see words",
    "bank_features": "memory maps: c of frames with prompts, the others of the last frames",
    "bank_frame": "the frames that bank_features are of",
    "bank_pointers": "object pointers: c of frames with prompts, the others of the last frames",
    "bank_pointer_frame": "the frames that bank_pointers are of",
    "bank_num_prompted": "frames with prompts so far",
    "frame": "number of the frame that comes next",
    "direction": "1 forward, -1 backward",
    "num_frames": "of the video; 16 stands for all above, and for unknown",
}


FEATURES = ("embed", "high_res_0", "high_res_1")  # their dtype is that of the computation


# What fills the arrays of `prompt_shapes` and the like where nothing is asked.
NOTHING_ASKED = {"points": 0, "labels": PAD, "text": 0, "has_text": 0, "mask": 0, "has_mask": 0}
NOTHING_ASKED |= {"prompted": 0, "correcting": 0, "masks": 0, "given": 0}


def feature_shapes(config: Config, dtype: Any) -> Shapes:
    grid, d = config.grid, config.dim
    levels = [(grid, d), (4 * grid, d // 8), (2 * grid, d // 4)]
    if not config.decoder.high_res_features:
        del levels[1:]
    shapes = (f"b, {side}, {side}, {channels}" for side, channels in levels)
    return {name: (shape, dtype) for name, shape in zip(FEATURES, shapes, strict=False)}


def write_features(features: ImageFeatures) -> Arrays:
    return dict(zip(FEATURES, (features.embed, *features.high_res), strict=False))


def read_features(arrays: Arrays) -> ImageFeatures:
    return ImageFeatures(
        arrays[FEATURES[0]], tuple(arrays[name] for name in FEATURES[1:] if name in arrays)
    )


def prompt_shapes(config: Config, *, mask: bool) -> Shapes:
    """Of clicks, boxes and text, and of masks if these can be prompts."""
    shapes: Shapes = {"points": ("b, o, p, 2", jnp.float32), "labels": ("b, o, p", jnp.int32)}
    if config.text_dim:
        shapes["text"] = (f"b, o, {config.text_dim}", jnp.float32)
        shapes["has_text"] = ("b, o", jnp.bool)
    if mask:
        shapes["mask"] = (f"b, o, {config.mask_size}, {config.mask_size}", jnp.float32)
        shapes["has_mask"] = ("b, o", jnp.bool)
    return shapes


def read_prompts(config: Config, arrays: Arrays) -> Prompts:
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}
    points, labels = _closed(config, flat["points"], flat["labels"])
    size, most = config.mask_size, config.largest_logit
    return Prompts(
        points=points,
        labels=labels,
        mask=flat.get("mask", jnp.zeros((0, size, size))).clip(-most, most)[..., None],
        has_mask=flat.get("has_mask", jnp.zeros(0, bool)),
        text=flat.get("text", jnp.zeros((0, 0))),
        has_text=flat.get("has_text", jnp.zeros(0, bool)),
    )


def _closed(
    config: Config, points: Float[Array, "n p 2"], labels: Int[Array, "n p"]
) -> tuple[Float[Array, "n p1 2"], Int[Array, "n p1"]]:
    """With the not-a-point token that `predictors.prompts.check_prompts` gives to clicks and, of
    SAM 2, to boxes."""
    if config.close_boxes:
        closing = (labels != PAD).any(1)
    else:
        clicks = (labels == FOREGROUND) | (labels == BACKGROUND)
        closing = clicks.any(1) & ((labels == PAD) | clicks).all(1)
    token = jnp.where(closing, NOT_A_POINT, PAD).astype(labels.dtype)
    return (
        jnp.concatenate([points, jnp.zeros_like(points[:, :1])], 1),
        jnp.concatenate([labels, token[:, None]], 1),
    )


def state_shapes(module: nn.Module) -> tuple[Shapes, dict[str, int]]:
    """The state of a tracker, and what fills each array before an object is known."""
    state = write_state(video.init_state(Model({}, module), 1, prompted=1), 1)
    shapes, fills = {}, {}
    for name, array in state.items():
        rest = [str(size) for size in array.shape[2:]]
        if rest:  # slots: init_state was asked for one of a prompted frame
            rest[0] = f"c + {array.shape[2] - 1}"
        shapes[name] = (", ".join(["b", "o", *rest]), array.dtype)
        fills[name] = int(array.reshape(-1)[0])
    return shapes, fills


def write_state(state: VideoState, b: Any) -> Arrays:
    """Leaves [b o ...]."""
    named = {f"bank_{name}": array for name, array in vars(state.bank).items()}
    named |= {name: array for name, array in vars(state).items() if name != "bank"}
    return {name: array.reshape(b, -1, *array.shape[1:]) for name, array in named.items()}


def read_state(arrays: Arrays) -> VideoState:
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}
    bank = {name: flat.pop(f"bank_{name}") for name in MemoryBank.__dataclass_fields__}
    return VideoState(bank=MemoryBank(**bank), **flat)
