"""The losses of SAM and SAM 2 on the masks of one prediction.

Upstream: training/loss_fns.py, MultiStepMultiMasksAndIous.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from train.config import LossWeights

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


@struct.dataclass
class Losses:
    """Unweighted: of each object, or sums or means of them.

    Attributes:
      balanced: see `LossWeights.balance_steps`.
    """

    mask: Array
    dice: Array
    iou: Array
    object: Array
    balanced: Array

    def total(self, weights: LossWeights, balance: Array | float = 0.0) -> Array:
        """What is descended; `balance` is how much of the focal loss is replaced."""
        return (
            (1 - balance) * weights.mask * self.mask
            + balance * self.balanced
            + weights.dice * self.dice
            + weights.iou * self.iou
            + weights.object * self.object
        )


def focal_loss(logits: Float[Array, "... h w"], target: Bool[Array, "... h w"]) -> Array:
    """Sigmoid focal loss, mean over pixels."""
    wrong = jnp.where(target, -logits, logits)
    alpha = jnp.where(target, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    weight = alpha * jax.nn.sigmoid(wrong) ** FOCAL_GAMMA
    return (weight * jax.nn.softplus(wrong)).mean((-2, -1))


def balanced_loss(logits: Float[Array, "... h w"], target: Bool[Array, "... h w"]) -> Array:
    """Cross-entropy, mean of the object's mean and the background's."""
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
    weights: LossWeights,
    logits: Float[Array, "n 4 h w"],
    iou: Float[Array, "n 4"],
    object_logit: Float[Array, " n"],
    target: Bool[Array, "n h w"],
    *,
    ambiguous: Bool[Array, " n"],
) -> Losses:
    """Losses of each object for one answer to its prompt [n].

    After an ambiguous prompt the best of masks 1 to 3 is taught its shape, and all three their
    quality; else mask 0 both. Absent objects teach nothing but their absence.

    Args:
      logits: at the size of the target.
      iou: predicted quality of the four masks.
      target: of each object; all of it false where it is absent.
    """
    present = target.any((-2, -1))
    wanted = jnp.broadcast_to(target[:, None], logits.shape)
    mask, dice = focal_loss(logits, wanted), dice_loss(logits, wanted)  # [n 4]
    balanced = balanced_loss(logits, wanted)
    best = (weights.mask * mask + weights.dice * dice)[:, 1:].argmin(1)
    chosen = jnp.where(ambiguous, 1 + best, 0)[:, None]

    error = jnp.abs(iou - mask_iou(logits > 0, wanted))
    if weights.iou_error == "mse":
        error = error**2
    iou_error = jnp.where(ambiguous, error[:, 1:].mean(1), error[:, 0])

    def of_chosen(x: Float[Array, "n 4"]) -> Array:
        return jnp.take_along_axis(x, chosen, 1)[:, 0] * present

    return Losses(
        mask=of_chosen(mask),
        dice=of_chosen(dice),
        iou=iou_error * present,
        object=jax.nn.softplus(jnp.where(present, -object_logit, object_logit)),
        balanced=of_chosen(balanced),
    )
