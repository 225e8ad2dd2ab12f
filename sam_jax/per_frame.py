"""The frames of clips: encoded several at a time, then gone through one by one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from sam_jax.frame import encode_frames
from sam_jax.ops.formulation import for_cpu
from sam_jax.types import FrameOutput, ImageFeatures, Model, VideoState


def frames_at_once() -> int:
    """How many frames of a clip to encode together: a CPU gains nothing from several."""
    return 1 if for_cpu() else 8


def encode_chunk(model: Model, images: Shaped[Array, "t b H W 3"]) -> ImageFeatures:
    """`encode_frames` of some frames of b clips; leaves have a leading t, and then b."""
    t, b = images.shape[:2]
    features = encode_frames(model, images.reshape(t * b, *images.shape[2:]))
    return jax.tree.map(lambda x: x.reshape(t, b, *x.shape[1:]), features)


def over_frames(
    state: VideoState,
    inputs: tuple,
    encode: Callable[[tuple], ImageFeatures],
    frame: Callable[[VideoState, tuple], tuple[VideoState, FrameOutput]],
    chunk: int,
) -> tuple[VideoState, FrameOutput]:
    """A scan over frames, with some of them encoded at once, outside of it.

    Args:
      inputs: leaves have a leading t.
      encode: the features of some frames, from their inputs; both with a leading axis of frames.
      frame: called with the state, and the features of one frame before its inputs.
      chunk: frames encoded at once.
    """
    t = jax.tree.leaves(inputs)[0].shape[0]
    chunk = min(t, chunk)

    def one(state: VideoState, inputs: tuple) -> tuple[VideoState, FrameOutput]:
        features = encode(jax.tree.map(lambda x: x[None], inputs))
        return frame(state, (jax.tree.map(lambda x: x[0], features), *inputs))

    def frames(state: VideoState, inputs: tuple) -> tuple[VideoState, FrameOutput]:
        return jax.lax.scan(frame, state, (encode(inputs), *inputs))

    if chunk == 1:  # chunks of one frame would cost a copy of all answers
        return jax.lax.scan(one, state, inputs)

    whole = t // chunk * chunk
    chunks = jax.tree.map(lambda x: x[:whole].reshape(whole // chunk, chunk, *x.shape[1:]), inputs)
    state, output = jax.lax.scan(frames, state, chunks)
    output = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), output)
    if whole == t:
        return state, output
    state, rest = frames(state, jax.tree.map(lambda x: x[whole:], inputs))
    return state, jax.tree.map(lambda *x: jnp.concatenate(x), output, rest)
