"""A simulated user of one frame: shows objects, looks at the answers, corrects them with clicks.

Upstream: training/model/sam2.py, SAM2Train.track_step and _iter_correct_pt_sampling; for the rounds
without a click, SAM's paper, appendix A.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sam_jax.config import Config, DecoderConfig, SamConfig
from sam_jax.frame import (
    answer_masks,
    best_mask,
    decode_all,
    hide_absent,
    text_counts,
    with_pointer,
)
from sam_jax.image import select_masks
from sam_jax.ops.resize import bilinear
from sam_jax.types import (
    BOX_BOTTOM_RIGHT,
    NOT_A_POINT,
    PAD,
    ImageFeatures,
    Masks,
    Model,
    ObjectAnswer,
    Prompts,
)
from train.clicks import click_on_error, first_prompts
from train.config import LossWeights, Prompting
from train.losses import Losses, prediction_losses
from train.scratch import naive_masks

_FIRST = 2  # point slots of a box or a first click; then one for each correction, then the end
_BESIDE = 0.25  # of the first clicks and boxes, how many have the phrase beside them


@struct.dataclass
class User:
    """What the user does on a frame.

    Attributes:
      by_mask: objects are shown by their masks, else by clicks and boxes.
      shown: objects are shown on this frame; else they were tracked to it.
      corrected: the answers are corrected.
      locating: what is wanted is what can be answered without looking; see
        `LossWeights.locate_steps`.
      remat: rounds of clicks are computed again on the way back.
    """

    by_mask: Bool[Array, ""]
    shown: Bool[Array, ""]
    corrected: Bool[Array, ""]
    locating: Bool[Array, ""]
    prompting: Prompting = struct.field(pytree_node=False)
    weights: LossWeights = struct.field(pytree_node=False)
    remat: bool = struct.field(pytree_node=False)


@struct.dataclass
class Phrases:
    """What objects are called.

    Attributes:
      text: embeddings of length 1; r = n, or 0 where nothing has a name.
      named: whether an object has one.
    """

    text: Float[Array, "r c"]
    named: Bool[Array, " r"]


# numpy: an array of jax would choose the device when this is imported
NO_PHRASES = Phrases(np.zeros((0, 0), np.float32), np.zeros(0, bool))  # ty: ignore


def ask(
    user: User,
    model: Model,
    features: ImageFeatures,
    embed: Float[Array, "n h w d"],
    masks: Bool[Array, "n H W"],
    key: PRNGKeyArray,
) -> tuple[ObjectAnswer, Losses]:
    """The last answer for each object of a clip, and its losses, summed over all answers [n].

    Masks that were given are answers without losses: nothing in them was predicted.

    Args:
      features: of one image, without the batch axis.
      embed: what each object sees of it.
      masks: of the objects, all false where they are absent.
    """

    def given() -> tuple[ObjectAnswer, Losses]:
        none = jnp.zeros(masks.shape[0])
        answer = answer_masks(model, features, masks.astype(jnp.float32))
        return answer, Losses(mask=none, dice=none, iou=none, object=none, balanced=none)

    def asked() -> tuple[ObjectAnswer, Losses]:
        best, losses = click(user, model, features.high_res, embed, masks, key)
        return with_pointer(model, best), losses

    if user.prompting.point_share == 1:
        return asked()
    # Nothing is stored of the branch: the other one would have to fill its place with zeros.
    return jax.lax.cond(user.by_mask & user.shown, jax.checkpoint(given), asked)


def click(
    user: User,
    model: Model,
    high_res: tuple[Array, ...],
    embed: Float[Array, "n h w d"],
    masks: Bool[Array, "n H W"],
    key: PRNGKeyArray,
    phrases: Phrases = NO_PHRASES,
) -> tuple[Masks, Losses]:
    """As `ask`, of a user who has points, boxes and phrases: the last mask (m = 1), and the losses.

    Args:
      high_res: fine maps of the image.
    """
    config = model.config
    target = shrink(masks, user.weights.stride)
    first_key, order_key, click_key = jax.random.split(key, 3)

    def predict(prompts: Prompts) -> tuple[Masks, Losses]:
        ambiguous = _is_ambiguous(prompts, config)
        found = decode_all(model, embed, high_res, prompts)
        decoder = replace(config.decoder, stability_fallback=False)
        single = select_masks(decoder, found, multimask=False)
        wanted = target
        if user.weights.locate_steps:
            naive = naive_masks(prompts, masks.shape[1], target.shape[1])
            wanted = jnp.where(user.locating, naive, target)
        best = best_mask(decoder, found, single, ambiguous=ambiguous)
        return best, _losses(user.weights, decoder, found, wanted, ambiguous)

    prompts = _first_prompts(first_key, user, masks, config, phrases)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(predict, prompts))
    clicks = jnp.append(False, _click_rounds(order_key, user.prompting))
    numbers = jnp.arange(len(clicks))
    slots = _FIRST - 1 + clicks.cumsum()
    keys = jax.random.split(click_key, len(clicks))

    # One loop for the first answer and those after it: the decoder is compiled once.
    def answers(carry: tuple, scanned: tuple) -> tuple[tuple, None]:
        number, slot, clicks, key = scanned

        def again() -> tuple:
            prompts, best, losses = carry
            corrected = _correct(key, user, prompts, best.logits[:, 0], masks, slot, clicks)
            prompts = jax.tree.map(partial(jnp.where, number > 0), corrected, prompts)
            best, more = predict(prompts)
            return prompts, best, jax.tree.map(jnp.add, losses, more)

        # Inside the branch, not around it: as in `ask`.
        taken = jax.checkpoint(again, prevent_cse=False) if user.remat else again
        return jax.lax.cond((number == 0) | user.corrected, taken, lambda: carry), None

    (_, best, losses), _ = jax.lax.scan(
        answers, (prompts, *nothing), (numbers, slots, clicks, keys)
    )
    return best, losses


def _is_ambiguous(prompts: Prompts, config: Config) -> Bool[Array, " n"]:
    """Whether three masks answer, and the best of them learns; else the single one does both.

    SAM 2 asks so after up to one click, and a box is two; the last mask does not count. SAM 1 asks
    so after a single prompt (its paper, section 3): a box is one, and the last mask is another. A
    text is one for both.
    """
    count = (prompts.labels >= 0).sum(1) + text_counts(prompts)
    if isinstance(config, SamConfig):
        count += prompts.has_mask - (prompts.labels == BOX_BOTTOM_RIGHT).sum(1)
    return count <= 1


def shrink(masks: Bool[Array, "n H W"], stride: int) -> Bool[Array, "n h w"]:
    """Masks at every so-many-th pixel: true where more than half of the pixels are.

    Raises:
      ValueError: the stride does not divide the sides.
    """
    if stride == 1:
        return masks
    n, h, w = masks.shape
    if h % stride or w % stride:
        raise ValueError(f"losses.stride {stride} does not divide the model input, {h} x {w}")
    return masks.reshape(n, h // stride, stride, w // stride, stride).mean((2, 4)) > 0.5


def _click_rounds(key: PRNGKeyArray, prompting: Prompting) -> Bool[Array, " r"]:
    """Which corrections add a click. Of those that do not, one is last, the others are anywhere."""
    if not prompting.mask_only:
        return jnp.ones(prompting.corrections, bool)
    early = jnp.arange(prompting.corrections + prompting.mask_only - 1) >= prompting.mask_only - 1
    return jnp.append(jax.random.permutation(key, early), False)


def _first_prompts(
    key: PRNGKeyArray,
    user: User,
    masks: Bool[Array, "n H W"],
    config: Config,
    phrases: Phrases = NO_PHRASES,
) -> Prompts:
    """A box, a click or a text where objects are shown, nothing asked elsewhere; and room."""
    n, room, mask_size = masks.shape[0], user.prompting.corrections, config.mask_size
    points, labels = first_prompts(key, masks, box_share=user.prompting.box_share)
    labels = jnp.where(user.shown, labels, jnp.array([NOT_A_POINT, PAD]))
    later = jnp.full((n, room + 1), PAD).at[:, -1].set(NOT_A_POINT)
    if not config.close_boxes:
        has_box = (labels == BOX_BOTTOM_RIGHT).any(1, keepdims=True)
        later = jnp.where(has_box, PAD, later)
    labels = jnp.concatenate([labels, later], 1)
    has_text = phrases.named
    if has_text.shape[0]:
        share = user.prompting.text_share
        draw = jax.random.uniform(jax.random.fold_in(key, 3), (n,))  # 0 to 2: `first_prompts`
        alone = has_text & ((draw < share) | ~masks.any((1, 2)))
        has_text = alone | (has_text & (draw < share + _BESIDE * (1 - share)))
        labels = jnp.where(alone[:, None], PAD, labels)  # a text has no closing token
    return Prompts(
        points=jnp.pad(points, ((0, 0), (0, room + 1), (0, 0))),
        labels=labels,
        mask=jnp.zeros((n, mask_size, mask_size, 1)),
        has_mask=jnp.zeros(n, bool),
        text=jnp.asarray(phrases.text),
        has_text=jnp.asarray(has_text),
    )


def _correct(
    key: PRNGKeyArray,
    user: User,
    prompts: Prompts,
    logits: Float[Array, "n hm wm"],
    masks: Bool[Array, "n H W"],
    slot: Int[Array, ""],
    clicks: Bool[Array, ""],
) -> Prompts:
    """The answer as mask prompt, and a click in `slot` where it is wrong, if the round has one."""
    n = masks.shape[0]
    truth_key, point_key = jax.random.split(key)
    # Where nothing was asked, the explicit word for that goes when there is a click.
    first = prompts.labels[:, :_FIRST]
    labels = prompts.labels.at[:, :_FIRST].set(jnp.where(first == NOT_A_POINT, PAD, first))
    # Where a text stood alone, the first click brings the token that closes a list of points.
    opened = (text_counts(prompts) > 0) & (labels < 0).all(1) & clicks
    labels = labels.at[:, -1].set(jnp.where(opened, NOT_A_POINT, labels[:, -1]))
    predicted = bilinear(jax.lax.stop_gradient(logits), *masks.shape[1:]) > 0
    anywhere = jax.random.uniform(truth_key, (n, 1, 1)) < user.prompting.from_truth
    point, label = click_on_error(point_key, masks, predicted & ~anywhere)
    return replace(
        prompts,
        points=prompts.points.at[:, slot].set(jnp.where(clicks, point, prompts.points[:, slot])),
        labels=labels.at[:, slot].set(jnp.where(clicks, label, labels[:, slot])),
        mask=logits[..., None],
        has_mask=jnp.ones(n, bool),
    )


def _losses(
    weights: LossWeights,
    config: DecoderConfig,
    found: Masks,
    wanted: Bool[Array, "n h w"],
    ambiguous: Bool[Array, " n"],
) -> Losses:
    """Losses of what a user would see: no mask of an object that is said to be absent."""
    fine = bilinear(hide_absent(config, found.logits, found.object_logit), *wanted.shape[1:])
    losses = prediction_losses(
        weights, fine, found.iou, found.object_logit, wanted, ambiguous=ambiguous
    )
    if config.object_score:
        return losses
    return replace(losses, object=jnp.zeros_like(losses.object))
