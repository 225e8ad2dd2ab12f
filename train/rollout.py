"""How wrong a model is on a batch of clips, for a simulated user.

Objects are shown on some frames, tracked on the others, and corrected with clicks on some; every
answer is scored. What answers is the tracker itself, `sam_jax.video.step_with_answer`.
Upstream: training/model/sam2.py, SAM2Train.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sam_jax import video
from sam_jax.frame import TrackOptions, no_prompts
from sam_jax.image import apply
from sam_jax.types import FrameInput, ImageFeatures, Model, ObjectAnswer, VideoState
from train.config import LossWeights, Prompting
from train.losses import Losses
from train.types import Batch
from train.user import NO_PHRASES, Phrases, User, ask, click

# Memories as upstream trains them: from probabilities, holes and all.
_OPTIONS = TrackOptions(
    binarize_prompted=False, past_pointers=False, fill_hole_area=0, one_by_one=False
)


@struct.dataclass
class Plan:
    """What the user does with a batch of clips.

    Attributes:
      by_mask: objects are shown by their masks, else by clicks and boxes.
      shown: objects are shown on this frame.
      corrected: the answers on this frame are corrected.
      order: of the frames: first those where objects are shown, then the others.
    """

    by_mask: Bool[Array, ""]
    shown: Bool[Array, " t"]
    corrected: Bool[Array, " t"]
    order: Int[Array, " t"]


def make_plan(key: PRNGKeyArray, frames: int, prompting: Prompting) -> Plan:
    """Draw a plan; in pictures points are asked for. Upstream: prepare_prompt_inputs."""
    t = jnp.arange(frames)
    if frames == 1:
        every = jnp.ones(1, bool)
        return Plan(by_mask=jnp.array(False), shown=every, corrected=every, order=t)
    kind_key, first_key, corrected_key, order_key = jax.random.split(key, 4)
    by_mask = jax.random.uniform(kind_key) >= prompting.point_share
    first = jax.random.randint(first_key, (), 1, min(prompting.first_frames, frames) + 1)
    most = jnp.maximum(min(prompting.corrected_frames, frames), first)
    count = jax.random.randint(corrected_key, (), first, most + 1)
    # The first frame, then the others in the order in which they are drawn.
    rank = jnp.argsort(jnp.argsort(jax.random.uniform(order_key, (frames,)).at[0].set(-1)))
    shown = rank < first
    return Plan(
        by_mask=by_mask,
        shown=shown,
        corrected=(rank < count) & ~by_mask & (prompting.corrected_frames > 0),
        order=jnp.argsort(jnp.where(shown, t, t + frames)),
    )


def rollout(
    model: Model,
    features: ImageFeatures,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    prompting: Prompting,
    weights: LossWeights,
    remat: bool,
    locating: Bool[Array, ""],
) -> Losses:
    """Losses of a batch: summed over frames, answers and objects, over the number of objects.

    Upstream: the same sum and number, in training/loss_fns.py.

    Args:
      features: of all frames, leaves [t b ...].
      remat: frames and rounds of clicks are computed again on the way back.
      locating: see `User`.
    """
    t, n = batch.masks.shape[:2]
    plan_key, frame_key = jax.random.split(key)
    plan = make_plan(plan_key, t, prompting)
    keys = jax.random.split(frame_key, (t, n))
    users = User(
        by_mask=jnp.broadcast_to(plan.by_mask, t),
        shown=plan.shown,
        corrected=plan.corrected,
        locating=jnp.broadcast_to(locating, t),
        prompting=prompting,
        weights=weights,
        remat=remat,
    )
    frames = users, features, batch.masks, keys
    if t == 1:
        losses = _picture(model, *jax.tree.map(lambda x: x[0], frames), _phrases(model, batch))
    else:
        losses = _clip(model, frames, plan.order)
    count = jnp.maximum(batch.valid.sum(), 1)
    return jax.tree.map(lambda x: jnp.where(batch.valid, x, 0).sum() / count, losses)


def _phrases(model: Model, batch: Batch) -> Phrases:
    """What objects are called: as given, or through the model's own text tower."""
    if batch.text.shape[0]:
        return Phrases(batch.text, batch.named)
    if not batch.tokens.shape[0]:
        return NO_PHRASES
    return Phrases(apply(model, "encode_text", batch.tokens), batch.named)


def _picture(
    model: Model,
    user: User,
    features: ImageFeatures,
    masks: Bool[Array, "n H W"],
    keys: PRNGKeyArray,
    phrases: Phrases,
) -> Losses:
    """Losses of each object of b pictures: without a memory, neither read nor written."""
    b, n = features.embed.shape[0], masks.shape[0]
    plain = apply(model, "without_memory", features.embed)

    def of_each(x: Array) -> Array:
        return x.reshape(b, x.shape[0] // b, *x.shape[1:])

    def one(
        high_res: tuple[Array, ...], plain: Array, masks: Array, keys: PRNGKeyArray, named: Phrases
    ) -> Losses:
        embed = jnp.broadcast_to(plain, (n // b, *plain.shape))
        return click(user, model, high_res, embed, masks, keys[0], named)[1]

    objects = jax.tree.map(of_each, (masks, keys, phrases))
    losses = jax.vmap(one)(features.high_res, plain, *objects)
    return jax.tree.map(lambda x: x.reshape(n), losses)


def _clip(
    model: Model,
    frames: tuple[User, ImageFeatures, Bool[Array, "t n H W"], PRNGKeyArray],
    order: Int[Array, " t"],
) -> Losses:
    """Losses of each object of b clips, summed over the frames."""
    prompting, (t, n) = frames[0].prompting, frames[2].shape[:2]
    room = min(t, max(prompting.first_frames, prompting.corrected_frames))
    state = video.init_state(model, n, prompted=room, num_frames=t, options=_OPTIONS)

    def frame(state: VideoState, scanned: tuple) -> tuple[VideoState, Losses]:
        index, (user, features, masks, keys) = scanned
        tuned = replace(model, rngs={"dropout": jax.random.fold_in(keys[0], 1)})

        def answer(
            features: ImageFeatures, embed: Float[Array, "n h w d"], _: Any, of_objects: Any
        ) -> tuple[ObjectAnswer, Losses]:
            masks, keys = of_objects
            return ask(user, tuned, features, embed, masks, keys[0])

        inputs = FrameInput(
            features=features,
            prompts=no_prompts(n, model.config.mask_size),  # `ask` has its own
            prompted=jnp.broadcast_to(user.shown | user.corrected, n),
            correcting=jnp.broadcast_to(~user.shown, n),
        )
        state = replace(state, frame=jnp.broadcast_to(index, n))
        state, _, _, losses = video.step_with_answer(
            tuned, state, inputs, answer, (masks, keys), options=_OPTIONS
        )
        return state, losses

    remat = frames[0].remat
    scanned = order, jax.tree.map(lambda x: x[order], frames)
    _, losses = jax.lax.scan(
        jax.checkpoint(frame, prevent_cse=False) if remat else frame, state, scanned
    )
    return jax.tree.map(lambda x: x.sum(0), losses)
