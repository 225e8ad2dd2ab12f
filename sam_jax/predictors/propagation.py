"""Tracking from frame to frame in a session, and filing what was found on the host."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sam_jax import frame as frames
from sam_jax import video
from sam_jax.frame import NO_OBJECT, TrackOptions
from sam_jax.predictors import editing
from sam_jax.predictors.history import Entry, ObjectMemory, state_at
from sam_jax.predictors.prompts import PROMPT_BUCKETS, bucket
from sam_jax.predictors.session import VideoSession
from sam_jax.types import FrameInput, FrameMemory, FrameOutput, Model, VideoState

_SLOT_BUCKETS = (1, 2, 4, 8, 16, 32)

_step = partial(jax.jit, static_argnames="options", donate_argnames="state")(video.step_with_memory)


def remember_prompted(
    model: Model, state: VideoSession, memory: ObjectMemory, options: TrackOptions
) -> None:
    """Make memories of an object's prompts since the last propagation."""
    for is_cond in (False, True):
        pending = memory.pending(is_cond)
        for frame_idx, entry in pending.items():
            features = state.frame_features(model, frame_idx)
            kept = editing.remember(model, features, editing.from_entry(entry), options)
            entry.features = np.asarray(kept.features)[0]
            (memory.cond if is_cond else memory.non_cond)[frame_idx] = entry
        pending.clear()
    for frame_idx in memory.cond:
        memory.non_cond.pop(frame_idx, None)


def propagate(
    model: Model,
    state: VideoSession,
    memories: Sequence[ObjectMemory],
    order: range,
    *,
    reverse: bool,
    max_history: int | None,
    options: TrackOptions,
) -> Iterator[tuple[int, Float[np.ndarray, "n hm wm"]]]:
    """Track objects along the frames of `order`.

    Args:
      memories: of the objects; what is found is filed in them.
      max_history: as for `sam_jax.VideoPredictor`.

    Yields:
      frame, low-resolution mask logits; while the device works on the frame after it.
    """
    if not order:
        return
    carried = carried_into(model, state, order[0], memories, reverse=reverse, options=options)
    n = carried.frame.shape[0]
    nothing, none = frames.no_prompts(n, model.config.mask_size), jnp.zeros(n, bool)
    under_way = None
    for frame_idx, features in state.features_along(model, order):
        found = None
        answered = [frame_idx in memory.cond for memory in memories]
        if not all(answered):
            at = jnp.full(n, frame_idx, jnp.int32)
            inputs = FrameInput(features, nothing, none, none)
            carried, output, kept = _step(
                model, replace(carried, frame=at), inputs, options=options
            )
            found = output, kept if max_history != 0 else None
        if under_way is not None:
            yield under_way[0], _file(model, memories, *under_way, reverse, max_history)
        state.seen = None  # a frame that was corrected may have other neighbours now
        under_way = frame_idx, found, answered
    if under_way is not None:
        yield under_way[0], _file(model, memories, *under_way, reverse, max_history)


def _file(
    model: Model,
    memories: Sequence[ObjectMemory],
    frame_idx: int,
    found: tuple[FrameOutput, FrameMemory | None] | None,
    answered: list[bool],
    reverse: bool,
    max_history: int | None,
) -> Float[np.ndarray, "n hm wm"]:
    """Wait for a frame's answers, file them, and return the mask logits.

    Args:
      found: None where nothing had to be computed.
      answered: whether the object was prompted on this frame; its mask is the one it had then.
    """
    output, kept = jax.device_get(found) if found else (None, None)
    logits = []
    for i, memory in enumerate(memories):
        memory.tracked[frame_idx] = reverse
        if answered[i] or output is None:
            logits.append(logits_of(model, memory.shown(frame_idx, is_cond=True)))
            continue
        scores = float(output.iou[i]), float(output.object_logit[i])
        memory.scores[frame_idx] = scores
        logits.append(np.array(output.logits[i]))
        if kept is not None:
            pointer, features = np.array(kept.pointer[i]), np.array(kept.features[i])
            memory.non_cond.pop(frame_idx, None)  # the latest goes last
            memory.non_cond[frame_idx] = Entry(logits[-1], *scores, pointer, features)
            memory.keep_latest(max_history)
    return np.stack(logits)


def logits_of(model: Model, entry: Entry | None) -> Float[np.ndarray, "hm wm"]:
    """Mask logits of an answer; of none, those of an absent object."""
    if entry is not None:
        return entry.logits
    size = model.config.mask_size
    return np.full((size, size), NO_OBJECT, np.float32)


def carried_into(
    model: Model,
    state: VideoSession,
    frame_idx: int,
    memories: Sequence[ObjectMemory],
    *,
    reverse: bool,
    options: TrackOptions,
) -> VideoState:
    """`state_at` with as many slots as the objects and their prompted frames need."""
    n = bucket(len(memories), PROMPT_BUCKETS)
    prompted = bucket(max(len(memory.cond) for memory in memories), _SLOT_BUCKETS)
    empty = video.init_state(
        model, n, prompted=prompted, num_frames=state.num_frames, options=options
    )
    return state_at(frame_idx, memories, empty, reverse=reverse, options=options)
