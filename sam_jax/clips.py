"""Many clips at once, of any lengths, through one program: windows of frames, slots of clips.

    state = video.init_state(model, n)                          # n = b * o: o objects for each slot
    state, outputs = track_window(model, state, window)         # and again, for the next window

A slot holds a clip, a window some frames of each slot's clip. A clip that is longer than a window
goes on in the next one; once it has ended, another begins in its slot. So neither the lengths of
clips nor their number compile anything. Frames that nobody waits for are not `live`, and are not
encoded where a whole chunk of them is dead; on CPU, where objects are computed in turn, they cost
nothing at all. Slots do not look at each other: `sam_jax.sharding.over_objects` spreads them.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from sam_jax import video
from sam_jax.frame import DEFAULT, NO_OBJECT, TrackOptions
from sam_jax.per_frame import encode_chunk, frames_at_once, over_frames
from sam_jax.types import ClipWindow, FrameInput, FrameOutput, ImageFeatures, Model, VideoState


def track_window(
    model: Model, state: VideoState, window: ClipWindow, options: TrackOptions = DEFAULT
) -> tuple[VideoState, FrameOutput]:
    """Track through some frames of b clips, each of which has o of the state's n objects.

    Each object gets what it would get alone in its clip, by `video.step` frame by frame.

    Args:
      state: of `video.init_state`, or what the window before returned.

    Returns:
      The state after the window, and outputs whose leaves are [n t ...]. On frames that are not
      live, and for objects that were not prompted yet, they are those of an absent object.
    """
    b, t = window.live.shape
    n = state.frame.shape[0]
    if n % b or window.prompted.shape != (n, t):
        raise ValueError(
            f"the state has {n} objects and the window prompts for"
            f" {list(window.prompted.shape)} in {b} clips of {t} frames: give [{n}, {t}], and a"
            " multiple of the clips"
        )
    state = _begin(state, window)

    def encode(inputs: tuple) -> ImageFeatures:
        images, live = inputs[:2]
        shapes = jax.eval_shape(lambda: encode_chunk(model, images))
        return jax.lax.cond(
            live.any(),
            lambda: encode_chunk(model, images),
            lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes),
        )

    def frame(state: VideoState, inputs: tuple) -> tuple[VideoState, FrameOutput]:
        features, _, live, index, *asked = inputs
        # An object that is forgotten needs no work, and what comes of it is absent.
        state = video.reset_objects(state, ~jnp.repeat(live, n // b))
        given = window.mask_at == index
        state, answers = _give(model, state, features, window, given, options)
        state, output = video.step(model, state, FrameInput(features, *asked), options)
        return state, jax.tree.map(
            lambda a, x: jnp.where(given.reshape(-1, *[1] * (x.ndim - 1)), a, x), answers, output
        )

    by_frame = jax.tree.map(
        lambda x: jnp.swapaxes(x, 0, 1),
        (window.images, window.live, window.prompts, window.prompted, window.correcting),
    )
    images, live, *asked = by_frame
    inputs = (images, live, jnp.arange(t), *asked)
    chunk = max(1, frames_at_once() // b)
    state, output = over_frames(state, inputs, encode, frame, chunk)
    return state, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), output)


def _begin(state: VideoState, window: ClipWindow) -> VideoState:
    """Empties the slots of clips that begin."""
    state = video.reset_objects(state, window.begins)
    return replace(
        state,
        frame=jnp.where(window.begins, 0, state.frame),
        num_frames=jnp.where(window.begins, window.num_frames, state.num_frames),
    )


def _give(
    model: Model,
    state: VideoState,
    features: ImageFeatures,
    window: ClipWindow,
    given: Bool[Array, " n"],
    options: TrackOptions,
) -> tuple[VideoState, FrameOutput]:
    """`video.prompt_masks` on a frame where masks are given; nothing, and no cost, on others."""
    n, size = state.frame.shape[0], model.config.mask_size
    nothing = FrameOutput(
        logits=jnp.full((n, size, size), NO_OBJECT),
        iou=jnp.zeros(n),
        object_logit=jnp.full(n, NO_OBJECT),
    )
    if not window.masks.shape[0]:
        return state, nothing
    masks = window.masks.astype(jnp.float32)
    return jax.lax.cond(
        given.any(),
        lambda: video.prompt_masks(model, state, features, masks, given, options),
        lambda: (state, nothing),
    )
