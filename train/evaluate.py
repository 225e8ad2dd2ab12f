"""How good a model is on held-out scenes and clips, for the ways people prompt it."""

from collections import defaultdict
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, UInt8

from sam_jax import video
from sam_jax.frame import encode_frames
from sam_jax.image import encode_image, select_masks
from sam_jax.ops.resize import bilinear
from sam_jax.types import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    PAD,
    FrameOutput,
    Masks,
    Model,
    Prompts,
)
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
    return {
        f"mIoU, {name}": float(jnp.concatenate([f[name] for f in found]).mean())
        for name in found[0]
    }


def _shown_by(kind: str, key: PRNGKeyArray, masks: Bool[Array, "n H W"], mask_size: int) -> Prompts:
    """Boxes around masks, or clicks in them."""
    n = masks.shape[0]
    if kind == "box":
        points = jax.vmap(bounding_box)(masks)
        labels = jnp.broadcast_to(jnp.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]), (n, 2))
    else:
        points = jax.vmap(sample_pixel)(jax.random.split(key, n), masks)
        points = jnp.broadcast_to(points[:, None], (n, 2, 2))
        labels = jnp.broadcast_to(jnp.array([FOREGROUND, PAD]), (n, 2))
    return make_prompts(points, labels, mask_size, slots=1)


@jax.jit
def _track(
    model: Model,
    images: UInt8[Array, "t 1 H W 3"],
    masks: Bool[Array, "n H W"],
    given: Bool[Array, ""],
    prompts: Prompts,
) -> FrameOutput:
    """What users get who show objects on the first frame, by their masks if `given`."""
    t, n = len(images), len(masks)
    by_mask = jnp.broadcast_to(given, n)
    state = video.init_state(model, n, num_frames=t)
    features = encode_frames(model, images[0])
    state, shown = video.prompt_masks(model, state, features, masks.astype(jnp.float32), by_mask)
    prompted = (jnp.arange(t) == 0)[:, None] & ~by_mask
    prompts = jax.tree.map(lambda x: jnp.broadcast_to(x, (t, *x.shape)), prompts)
    _, output = video.track(model, state, images, prompts, prompted, jnp.zeros_like(prompted))
    return jax.tree.map(lambda x, y: y.at[0].set(jnp.where(given, x, y[0])), shown, output)


def _frame_iou(prediction: Bool[Array, "... H W"], target: Bool[Array, "... H W"]) -> Array:
    """IoU; 1 where rightly nothing is found, as in the DAVIS benchmark."""
    nothing = ~(prediction | target).any((-2, -1))
    return jnp.where(nothing, 1, mask_iou(prediction, target))


def evaluate_video(
    model: Model, batches: Iterable[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Scores on the frames after the first, by the name of the protocol.

    Mean IoU at the size of the model input of objects shown by their mask, by a box or by a click,
    and of what needs no tracker: the first frame's true mask, or nothing, on every frame. Then how
    often object logits are right.

    Args:
      batches: images [t 1 H W 3] uint8 and masks [t n H W] bool.
    """
    found: dict[str, list[Array]] = defaultdict(list)
    for i, (images, truth) in enumerate(batches):
        masks, size = jnp.asarray(truth), truth.shape[-1]
        later = masks[1:]
        present = later.any((2, 3))
        for kind in ("mask", "box", "click"):
            prompts = _shown_by(kind, jax.random.key(i), masks[0], model.config.mask_size)
            output = _track(model, images, masks[0], jnp.asarray(kind == "mask"), prompts)
            answers = bilinear(output.logits, size, size) > 0
            found[f"mIoU, shown by its {kind}"].append(_frame_iou(answers[1:], later))
            found[f"mIoU, first answer kept, shown by its {kind}"].append(
                _frame_iou(jnp.broadcast_to(answers[0], later.shape), later)
            )
            if kind == "mask":
                last = _frame_iou(answers[-1], later[-1])
                found["mIoU, shown by its mask, last frame only"].append(last)
                seen = output.object_logit[1:] > 0
                found["present objects found present"].append(seen[present])
                found["absent objects found absent"].append(~seen[~present])
        found["mIoU, nothing on every frame"].append(_frame_iou(jnp.zeros_like(later), later))
    flat = {name: np.concatenate([np.ravel(x) for x in values]) for name, values in found.items()}
    return {name: float(values.mean()) for name, values in flat.items() if values.size}
