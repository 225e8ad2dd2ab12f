"""The losses of SAM 2 on the masks of one prediction.

Upstream: training/loss_fns.py, MultiStepMultiMasksAndIous; weights as in
sam2/configs/sam2.1_training. Letters: n prompts, m candidate masks.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from sam_jax.types import Masks

FOCAL_WEIGHT, DICE_WEIGHT, IOU_WEIGHT, OBJECT_WEIGHT = 20.0, 1.0, 1.0, 1.0
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


@struct.dataclass
class Losses:
    """Unweighted means over prompts."""

    balanced: Array
    focal: Array
    dice: Array
    iou: Array
    object: Array

    def total(self, balance: Array | float = 0.0) -> Array:
        """The official sum; `balance` is how much of its focal loss is replaced."""
        return (
            balance * self.balanced
            + (1 - balance) * FOCAL_WEIGHT * self.focal
            + DICE_WEIGHT * self.dice
            + IOU_WEIGHT * self.iou
            + OBJECT_WEIGHT * self.object
        )


def focal_loss(logits: Float[Array, "... h w"], target: Bool[Array, "... h w"]) -> Array:
    """Sigmoid focal loss, mean over pixels."""
    cross_entropy = jax.nn.softplus(jnp.where(target, -logits, logits))
    wrong = jax.nn.sigmoid(jnp.where(target, -logits, logits))
    alpha = jnp.where(target, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    return (alpha * wrong**FOCAL_GAMMA * cross_entropy).mean((-2, -1))


def balanced_loss(logits: Float[Array, "... h w"], target: Bool[Array, "... h w"]) -> Array:
    """Cross-entropy, mean of the object's mean and the background's; not upstream's."""
    cross_entropy = jax.nn.softplus(jnp.where(target, -logits, logits))
    inside = target.mean((-2, -1), keepdims=True)
    weight = jnp.where(target, 0.5 / jnp.maximum(inside, 1e-6), 0.5 / jnp.maximum(1 - inside, 1e-6))
    return (weight * cross_entropy).mean((-2, -1))


def dice_loss(logits: Float[Array, "... h w"], target: Bool[Array, "... h w"]) -> Array:
    """1 - Dice of the probabilities, smoothed by one pixel."""
    p = jax.nn.sigmoid(logits)
    overlap = (p * target).sum((-2, -1))
    return 1 - (2 * overlap + 1) / (p.sum((-2, -1)) + target.sum((-2, -1)) + 1)


def mask_iou(prediction: Bool[Array, "... h w"], target: Bool[Array, "... h w"]) -> Array:
    """Intersection over union; 0 where both are empty."""
    overlap = (prediction & target).sum((-2, -1))
    return overlap / jnp.maximum((prediction | target).sum((-2, -1)), 1)


def prediction_losses(
    masks: Masks, logits: Float[Array, "n 4 h w"], target: Bool[Array, "n h w"]
) -> Losses:
    """Losses of the single mask (0) and of the best of the three (1 to 3).

    Upstream supervises the three after a single click and the single mask after everything else.
    Here both are, after every prompt: the decoder makes all four anyway, and a user may leave
    `multimask` on for a box. The quality of all four masks is learnt.

    Args:
      masks: what the decoder made, for its IoU and object heads.
      logits: its mask logits at the size of the target.
      target: of each prompt the mask meant; all of it false for an absent object.
    """
    present = target.any((-2, -1))
    wanted = jnp.broadcast_to(target[:, None], logits.shape)
    focal, dice = focal_loss(logits, wanted), dice_loss(logits, wanted)  # [n 4]
    best = (FOCAL_WEIGHT * focal + DICE_WEIGHT * dice)[:, 1:].argmin(1)[:, None]

    def single_and_best(x: Float[Array, "n 4"]) -> Array:
        both = 0.5 * (x[:, 0] + jnp.take_along_axis(x[:, 1:], best, 1)[:, 0])
        return (both * present).mean()

    iou_error = jnp.abs(masks.iou - mask_iou(logits > 0, wanted)).mean(1)
    object_error = jax.nn.softplus(jnp.where(present, -masks.object_logit, masks.object_logit))
    return Losses(
        balanced=single_and_best(balanced_loss(logits, wanted)),
        focal=single_and_best(focal),
        dice=single_and_best(dice),
        iou=(iou_error * present).mean(),
        object=object_error.mean(),
    )
