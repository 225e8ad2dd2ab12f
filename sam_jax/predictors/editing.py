"""Prompts on one object of one frame: the compiled pieces an editor puts together.

The step of `sam_jax.video` in parts, so that a click repeats neither the encoding of the frame nor
the reading of the memory. Features are of one image, with the batch axis.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sam_jax import frame as frames
from sam_jax import video
from sam_jax.frame import TrackOptions
from sam_jax.image import apply
from sam_jax.predictors.history import Entry
from sam_jax.predictors.prompts import PromptArrays, pad_prompts
from sam_jax.types import FrameMemory, ImageFeatures, Model, ObjectAnswer, Prompts, VideoState

_PREV_LOGIT = 32.0  # earlier masks are fed back clamped to this


@jax.jit
def see_plain(model: Model, features: ImageFeatures) -> Float[Array, "1 h w d"]:
    """The frame without any memory."""
    return apply(model, "without_memory", features.embed)


@partial(jax.jit, static_argnames="options")
def see(
    model: Model, features: ImageFeatures, state: VideoState, options: TrackOptions
) -> Float[Array, "1 h w d"]:
    """The frame in the light of an object's memory."""
    one = jax.tree.map(lambda x: x[0], features)
    recalled = video.recall(state, options)
    return apply(model, "with_memory", one.embed, state.bank, recalled)


@partial(jax.jit, static_argnames="options")
def decode(
    model: Model,
    embed: Float[Array, "1 h w d"],
    features: ImageFeatures,
    prompts: Prompts,
    options: TrackOptions,
) -> ObjectAnswer:
    """Answer to clicks and boxes; holes are filled."""
    high_res = tuple(x[0] for x in features.high_res)
    answer = frames.decode(model, embed, high_res, prompts)
    return replace(answer, logits=frames.fill_holes(answer.logits, options))


@partial(jax.jit, static_argnames="options")
def answer_mask(
    model: Model, features: ImageFeatures, mask: Float[Array, "1 H W"], options: TrackOptions
) -> ObjectAnswer:
    """Answer to a mask; holes are filled."""
    one = jax.tree.map(lambda x: x[0], features)
    answer = frames.answer_masks(model, one, mask)
    return replace(answer, logits=frames.fill_holes(answer.logits, options))


@partial(jax.jit, static_argnames="options")
def remember(
    model: Model, features: ImageFeatures, answer: ObjectAnswer, options: TrackOptions
) -> FrameMemory:
    """What is kept of a prompted frame."""
    one = jax.tree.map(lambda x: x[0], features)
    prompted = jnp.ones(answer.iou.shape, bool)
    return frames.remember(model, one, answer.logits, answer, prompted, options)


def to_prompts(arrays: PromptArrays, previous: Entry | None, mask_size: int) -> Prompts:
    """Clicks and boxes of one object, with the mask it had on that frame before, if any."""
    prompts = pad_prompts([arrays], mask_size)
    if previous is None:
        return prompts
    mask = np.clip(previous.logits, -_PREV_LOGIT, _PREV_LOGIT)[None, ..., None]
    return replace(prompts, mask=jnp.asarray(mask), has_mask=jnp.ones(1, bool))


def to_entry(answer: ObjectAnswer) -> Entry:
    """An answer on the host."""
    answer = jax.device_get(answer)
    return Entry(
        logits=np.asarray(answer.logits[0]),
        iou=float(answer.iou[0]),
        object_logit=float(answer.object_logit[0]),
        pointer=np.asarray(answer.pointer[0]),
    )


def from_entry(entry: Entry) -> ObjectAnswer:
    """Inverse of `to_entry`."""
    return ObjectAnswer(
        logits=jnp.asarray(entry.logits)[None],
        iou=jnp.array([entry.iou], jnp.float32),
        object_logit=jnp.array([entry.object_logit], jnp.float32),
        pointer=jnp.asarray(entry.pointer)[None],
    )
