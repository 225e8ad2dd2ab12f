"""How good a model is on held-out scenes, for the ways people prompt it."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, UInt8

from sam_jax.image import encode_image, select_masks
from sam_jax.ops.resize import bilinear
from sam_jax.types import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, Masks, Model
from train.losses import mask_iou
from train.prompts import bounding_box, correct, make_prompts, sample_pixel
from train.step import best_mask, decode

_CLICKS = 3


@jax.jit
def _ious(
    model: Model, key: PRNGKeyArray, images: UInt8[Array, "b H W 3"], masks: Bool[Array, "n H W"]
) -> dict[str, Array]:
    """IoU of every prompt [n], by the name of the protocol."""
    n, size = masks.shape[:2]
    features = encode_image(model, images.astype(jnp.float32) / 255)
    keys = jax.random.split(key, _CLICKS)

    def full(logits: Array) -> Array:
        return bilinear(logits, size, size) > 0

    def single(answer: Masks) -> Array:
        return select_masks(model.config.decoder, answer, multimask=False).logits[:, 0]

    points = jax.vmap(sample_pixel)(jax.random.split(keys[0], n), masks)[:, None]
    labels = jnp.full((n, 1), FOREGROUND)
    prompts = make_prompts(points, labels, model.config.mask_size, slots=_CLICKS)
    answer = decode(model, features, prompts)
    result = {
        "1 click, best of three by predicted IoU": mask_iou(full(best_mask(answer)), masks),
        "1 click, best of three by true IoU": mask_iou(
            full(answer.logits[:, 1:]), masks[:, None]
        ).max(1),
        "1 click, single mask": mask_iou(full(single(answer)), masks),
    }
    logits = best_mask(answer)
    for slot in range(1, _CLICKS):
        prompts = correct(
            keys[slot], prompts, slot, masks=masks, predicted=full(logits), logits=logits
        )
        logits = single(decode(model, features, prompts))
    result[f"{_CLICKS} clicks, single mask"] = mask_iou(full(logits), masks)

    corners = jnp.broadcast_to(jnp.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]), (n, 2))
    boxes = make_prompts(jax.vmap(bounding_box)(masks), corners, model.config.mask_size, slots=1)
    answer = decode(model, features, boxes)
    result["1 box, single mask"] = mask_iou(full(single(answer)), masks)
    return result


def evaluate(model: Model, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Mean IoU at the size of the model input, by the name of the protocol.

    Args:
      batches: images [b H W 3] uint8 and masks [b*o H W] bool, o of each image in turn.
    """
    found: list[dict[str, Array]] = []
    for i, (images, masks) in enumerate(batches):
        found.append(_ious(model, jax.random.key(i), images, masks))
    # jit returns dicts sorted; the boxes come first then, which is as good an order as any.
    return {name: float(jnp.concatenate([f[name] for f in found]).mean()) for name in found[0]}
