"""One frame of a video: what is seen of it, what is answered, what is remembered.

Pure functions, for objects of one image. `sam_jax.video.step` puts them together; an editor calls
them one by one.
Upstream: sam2/modeling/sam2_base.py, SAM2Base.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from sam_jax.config import DecoderConfig
from sam_jax.image import apply, encode_image, select_masks
from sam_jax.ops.masks import fill_holes_and_sprinkles
from sam_jax.ops.resize import bilinear
from sam_jax.types import (
    NOT_A_POINT,
    PAD,
    FrameMemory,
    ImageFeatures,
    Masks,
    MemoryBank,
    Model,
    ObjectAnswer,
    Prompts,
    Recall,
)

NO_OBJECT = -1024.0  # mask logit, and object logit of an empty slot; upstream: NO_OBJ_SCORE
MASK_LOGIT = 10.0  # of a pixel inside a mask that was given; outside it is minus that


@dataclass(frozen=True)
class TrackOptions:
    """What upstream sets on SAM2VideoPredictor and in its YAML files, and no parameter depends on.

    Static under jit.

    Attributes:
      max_prompted: attend to the closest so many prompted frames only (at least 2); None: to all.
        Upstream: max_cond_frames_in_attn.
      stride: of the recent frames attended to. Upstream: memory_temporal_stride_for_eval.
      binarize_prompted: masks of prompted frames are remembered as 0 and 1. Upstream:
        binarize_mask_from_pts_for_mem_enc, which the official builder switches on.
      past_pointers: of the prompted frames, only those in the past give their pointers. Upstream:
        only_obj_ptrs_in_the_past_for_eval; training takes all.
      fill_hole_area: holes of at most so many low-resolution pixels are filled. Upstream: the same
        name, 8 in the official builder; without its CUDA extension it does nothing there.
      one_by_one: objects are computed in turn, not as a batch; None: on CPU and TPU, where it is
        quicker and where objects that need no work cost none. Has to be false where jit shards
        objects over such devices; under shard_map anything goes.
    """

    max_prompted: int | None = None
    stride: int = 1
    binarize_prompted: bool = True
    past_pointers: bool = True
    fill_hole_area: int = 8
    one_by_one: bool | None = None

    def __post_init__(self) -> None:
        if self.max_prompted is not None and self.max_prompted < 2:
            raise ValueError(f"max_prompted must be None or at least 2, got {self.max_prompted}")
        if self.stride < 1:
            raise ValueError(f"stride must be at least 1, got {self.stride}")
        if self.fill_hole_area < 0:
            raise ValueError(f"fill_hole_area must not be negative, got {self.fill_hole_area}")


DEFAULT = TrackOptions()


def encode_frames(model: Model, images: Shaped[Array, "b H W 3"]) -> ImageFeatures:
    """`encode_image` of uint8 frames, which travel to the device as bytes, or of floats in 0..1."""
    if images.dtype == jnp.uint8:
        images = images.astype(jnp.float32) / 255
    return encode_image(model, images)


def no_prompts(n: int, mask_size: int) -> Prompts:
    """What `FrameInput` holds on a frame where nothing is asked."""
    return Prompts(
        points=jnp.zeros((n, 2, 2)),
        labels=jnp.full((n, 2), PAD, jnp.int32),
        mask=jnp.zeros((0, mask_size, mask_size, 1)),
        has_mask=jnp.zeros(0, bool),
    )


def see(
    model: Model,
    features: ImageFeatures,
    bank: MemoryBank,
    recalled: Recall,
    with_memory: Bool[Array, " n"],
    *,
    skip: bool = False,
) -> Float[Array, "n h w d"]:
    """One frame's embedding for each object: in the light of its memory, or without any.

    Args:
      features: of one image, without the batch axis.
      skip: there is one object, and its memory is not read where it is not needed. Not under vmap,
        which would compute both branches, with a copy of the parameters for each of its rows.
    """
    embed = features.embed
    plain = apply(model, "without_memory", embed)

    def conditioned() -> Array:
        return apply(model, "with_memory", embed, bank, recalled)

    if skip:
        return jax.lax.cond(with_memory[0], conditioned, lambda: plain[None])
    return jnp.where(with_memory[:, None, None, None], conditioned(), plain)


def decode(
    model: Model,
    embed: Float[Array, "n h w d"],
    high_res: tuple[Array, ...],
    prompts: Prompts,
) -> ObjectAnswer:
    """The best mask of each object.

    Three candidates and the best of them for up to one click, else the single one; a box counts as
    two clicks, a text as one. Upstream: _forward_sam_heads, _use_multimask.

    Args:
      embed: what each object sees of the frame; see `see`.
      high_res: fine maps of the frame, without the batch axis.
      prompts: points are closed by a not-a-point token; two of them where nothing is asked.
    """
    masks = decode_all(model, embed, high_res, prompts)
    clicks = (prompts.labels != PAD).sum(1) - 1 + text_counts(prompts)
    single = select_masks(model.config.decoder, masks, multimask=False)
    return choose(model, masks, single, ambiguous=clicks <= 1)


def text_counts(prompts: Prompts) -> Int[Array, " n"]:
    """1 where a text is a prompt."""
    if not prompts.has_text.shape[0]:
        return jnp.zeros(prompts.labels.shape[0], jnp.int32)
    return jnp.asarray(prompts.has_text, jnp.int32)


def decode_all(
    model: Model,
    embed: Float[Array, "n h w d"],
    high_res: tuple[Array, ...],
    prompts: Prompts,
) -> Masks:
    """All four masks of each object; arguments as for `decode`."""
    tokens = apply(model, "encode_prompts", prompts)
    return apply(model, "decode_masks", embed, high_res, tokens)


def choose(
    model: Model, masks: Masks, single: Masks, *, ambiguous: Bool[Array, " n"]
) -> ObjectAnswer:
    """The mask of `best_mask`, and what is remembered of it; arguments as there."""
    best = best_mask(model.config.decoder, masks, single, ambiguous=ambiguous)
    return with_pointer(model, best)


def best_mask(
    config: DecoderConfig, masks: Masks, single: Masks, *, ambiguous: Bool[Array, " n"]
) -> Masks:
    """The best of three where the prompt was ambiguous, else the single mask (m = 1).

    Args:
      masks: all four, from `decode_all`.
      single: what stands for the first of them.
    """
    several = select_masks(config, masks, multimask=True)
    best = several.iou.argmax(1)[:, None]

    def pick(one: Array, many: Array) -> Array:
        wide = [1] * (many.ndim - 2)
        best_of_many = jnp.take_along_axis(many, best.reshape(-1, 1, *wide), 1)
        return jnp.where(ambiguous.reshape(-1, 1, *wide), best_of_many, one)

    return Masks(
        logits=hide_absent(config, pick(single.logits, several.logits), masks.object_logit),
        iou=pick(single.iou, several.iou),
        token=pick(single.token, several.token),
        object_logit=masks.object_logit,
    )


def hide_absent(
    config: DecoderConfig, logits: Float[Array, "n m hm wm"], object_logit: Float[Array, " n"]
) -> Float[Array, "n m hm wm"]:
    """No mask of an object that is said to be absent; of SAM 1, which does not say, all masks."""
    if not config.object_score:
        return logits
    return jnp.where((object_logit > 0)[:, None, None, None], logits, NO_OBJECT)


def with_pointer(model: Model, best: Masks) -> ObjectAnswer:
    """One mask of each object (m = 1) with the pointer that a video remembers it by."""
    present = best.object_logit > 0
    return ObjectAnswer(
        logits=best.logits[:, 0],
        iou=best.iou[:, 0],
        object_logit=best.object_logit,
        pointer=apply(model, "object_pointer", best.token[:, 0], present),
    )


def answer_masks(
    model: Model, features: ImageFeatures, masks: Float[Array, "n H W"]
) -> ObjectAnswer:
    """Masks that are given are the answer; only their pointers have to be found.

    Upstream: _use_mask_as_output.

    Args:
      features: of one image, without the batch axis.
      masks: 0 or 1, at the model input's size.
    """
    n, size = masks.shape[0], model.config.mask_size
    prompts = no_prompts(n, size)
    prompts = replace(
        prompts,
        labels=jnp.full((n, 2), NOT_A_POINT, jnp.int32),
        mask=apply(model, "downsample_mask", masks),
        has_mask=jnp.ones(n, bool),
    )
    tokens = apply(model, "encode_prompts", prompts)
    # The raw embedding: neither a memory nor the lack of one is in it.
    decoded = apply(model, "decode_masks", features.embed, features.high_res, tokens)
    given = masks.any((1, 2))
    # Absent if the decoder finds so, and if the mask is empty.
    pointer = apply(
        model, "object_pointer", decoded.token[:, 0], given & (decoded.object_logit > 0)
    )
    return ObjectAnswer(
        logits=bilinear(MASK_LOGIT * (2 * masks - 1), size, size, antialias=True),
        iou=jnp.ones(n),
        object_logit=jnp.where(given, MASK_LOGIT, -MASK_LOGIT),
        pointer=pointer,
    )


def fill_holes(logits: Float[Array, "n hm wm"], options: TrackOptions) -> Float[Array, "n hm wm"]:
    """Small holes become just foreground. Upstream: fill_holes_in_mask_scores."""
    return fill_holes_and_sprinkles(
        logits, max_hole_area=options.fill_hole_area, max_sprinkle_area=0, margin=0.1
    )


def remember(
    model: Model,
    features: ImageFeatures,
    logits: Float[Array, "n hm wm"],
    answer: ObjectAnswer,
    prompted: Bool[Array, " n"],
    options: TrackOptions = DEFAULT,
) -> FrameMemory:
    """What to keep of a frame.

    Args:
      features: of one image, without the batch axis.
      logits: the masks to keep: of prompted frames with holes filled, else as decoded.
    """
    present = answer.object_logit > 0
    binary = prompted & options.binarize_prompted
    maps = apply(model, "encode_memory", features.embed, logits, present, binary)
    return FrameMemory(features=maps, pointer=answer.pointer)
