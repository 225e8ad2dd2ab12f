"""Simulated users: a click, a box or several clicks, then clicks where the mask is wrong.

Upstream: sam2/modeling/sam2_utils.py (sample_box_points, sample_random_points_from_errors). All of
it has fixed shapes and runs under jit. Points are pixel indices xy, as a user's.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sam_jax.types import (
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    NOT_A_POINT,
    PAD,
    Prompts,
)

MAX_CLICKS = 4  # of a first prompt
CLICK, BOX, CLICKS = range(3)
KINDS = (0.45, 0.3, 0.25)  # how often each is asked
_NEGATIVE = 0.3  # how often a further click is background
_BOX_NOISE = 0.1  # of the side, at most 1/50 of the image
_OUTSIDE = 0.2  # background clicks lie within the box grown by this much of its side


def sample_pixel(key: PRNGKeyArray, region: Bool[Array, "h w"]) -> Float[Array, " 2"]:
    """A pixel of the region, uniformly; any pixel when it is empty."""
    rows = region.sum(1)
    u = jax.random.uniform(key, (2,))

    def pick(weights: Array, u: Array) -> Array:
        total = weights.cumsum()
        return jnp.minimum((total <= u * total[-1]).sum(), weights.size - 1)

    y = pick(rows, u[0])
    return jnp.stack([pick(region[y].astype(jnp.int32), u[1]), y]).astype(jnp.float32)


def bounding_box(mask: Bool[Array, "h w"]) -> Float[Array, "2 2"]:
    """Top-left and bottom-right pixel, xy."""
    columns, rows = mask.any(0), mask.any(1)
    low = jnp.stack([columns.argmax(), rows.argmax()])
    high = jnp.stack([x.size - 1 - x[::-1].argmax() for x in (columns, rows)])
    return jnp.stack([low, high]).astype(jnp.float32)


def _noisy_box(key: PRNGKeyArray, mask: Bool[Array, "h w"]) -> Float[Array, "2 2"]:
    size = mask.shape[0]
    box = bounding_box(mask)
    reach = jnp.minimum(_BOX_NOISE * (box[1] - box[0]), size / 50)
    return jnp.clip(box + jax.random.uniform(key, (2, 2), minval=-1, maxval=1) * reach, 0, size - 1)


def _clicks(
    key: PRNGKeyArray, mask: Bool[Array, "h w"], count: Int[Array, ""]
) -> tuple[Float[Array, "p 2"], Int[Array, " p"]]:
    """The first click is in the object; later ones may be beside it."""
    low, high = bounding_box(mask)
    grow = _OUTSIDE * (high - low) + 2
    y, x = jnp.mgrid[: mask.shape[0], : mask.shape[1]]
    near = (x >= low[0] - grow[0]) & (x <= high[0] + grow[0])
    near &= (y >= low[1] - grow[1]) & (y <= high[1] + grow[1])
    order = jnp.arange(MAX_CLICKS)
    sign_key, pixel_key = jax.random.split(key)
    negative = (jax.random.uniform(sign_key, (MAX_CLICKS,)) < _NEGATIVE) & (order > 0)
    regions = jnp.where(negative[:, None, None], near & ~mask, mask)
    points = jax.vmap(sample_pixel)(jax.random.split(pixel_key, MAX_CLICKS), regions)
    labels = jnp.where(negative, BACKGROUND, FOREGROUND)
    return points, jnp.where(order < count, labels, PAD)


def make_prompts(
    points: Float[Array, "n p 2"], labels: Int[Array, "n p"], mask_size: int, *, slots: int
) -> Prompts:
    """Prompts without a mask, with `slots` places left for corrections and the final token."""
    n = points.shape[0]
    end = jnp.full((n, slots), PAD).at[:, -1].set(NOT_A_POINT)
    return Prompts(
        points=jnp.pad(points, ((0, 0), (0, slots), (0, 0))),
        labels=jnp.concatenate([labels, end], 1),
        mask=jnp.zeros((n, mask_size, mask_size, 1)),
        has_mask=jnp.zeros(n, bool),
    )


def first_prompts(
    key: PRNGKeyArray, masks: Bool[Array, "n H W"], mask_size: int, *, slots: int
) -> Prompts:
    """One prompt for each mask, of a random kind; `slots` as in `make_prompts`."""

    def one(key: PRNGKeyArray, mask: Array) -> tuple[Array, Array]:
        kind_key, count_key, box_key, click_key = jax.random.split(key, 4)
        kind = jax.random.choice(kind_key, len(KINDS), p=jnp.asarray(KINDS))
        count = jax.random.randint(count_key, (), 2, MAX_CLICKS + 1)
        points, labels = _clicks(click_key, mask, jnp.where(kind == CLICKS, count, 1))
        box = jnp.pad(_noisy_box(box_key, mask), ((0, MAX_CLICKS - 2), (0, 0)))
        corners = jnp.full(MAX_CLICKS, PAD).at[:2].set(jnp.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]))
        return jnp.where(kind == BOX, box, points), jnp.where(kind == BOX, corners, labels)

    points, labels = jax.vmap(one)(jax.random.split(key, masks.shape[0]), masks)
    return make_prompts(points, labels, mask_size, slots=slots)


def naive_masks(prompts: Prompts, image_size: int, mask_size: int) -> Bool[Array, "n m m"]:
    """What can be answered without looking: ellipses in boxes, discs around clicks.

    Background clicks cut smaller discs out.
    """
    centres = (jnp.arange(mask_size) + 0.5) * (image_size / mask_size)
    grid = jnp.stack(jnp.meshgrid(centres, centres), -1)[:, :, None]  # [m m 1 2], xy

    def one(points: Array, labels: Array) -> Array:
        distance = jnp.linalg.norm(grid - points, axis=-1) / (image_size / 8)  # [m m p]
        mask = ((distance < 1) & (labels == FOREGROUND)).any(-1)
        mask &= ~((distance < 0.5) & (labels == BACKGROUND)).any(-1)
        centre, half = points[:2].mean(0), (points[1] - points[0]) / 2
        ellipse = jnp.linalg.norm((grid[:, :, 0] - centre) / jnp.maximum(half, 1), axis=-1) < 1
        return jnp.where(labels[0] == BOX_TOP_LEFT, ellipse, mask)

    return jax.vmap(one)(prompts.points, prompts.labels)


def correct(
    key: PRNGKeyArray,
    prompts: Prompts,
    slot: int,
    *,
    masks: Bool[Array, "n H W"],
    predicted: Bool[Array, "n H W"],
    logits: Float[Array, "n hm wm"],
) -> Prompts:
    """Add a click in the region where the prediction is wrong, and the prediction as mask prompt.

    Args:
      slot: place of the click.
      masks: what is wanted.
      predicted: what the model answered.
      logits: the same at low resolution, before the threshold.
    """
    wrong = masks != predicted
    wrong = jnp.where(wrong.any((1, 2))[:, None, None], wrong, masks)  # perfect: a click inside
    points = jax.vmap(sample_pixel)(jax.random.split(key, masks.shape[0]), wrong)
    x, y = points.astype(int).T
    inside = masks[jnp.arange(masks.shape[0]), y, x]
    return Prompts(
        points=prompts.points.at[:, slot].set(points),
        labels=prompts.labels.at[:, slot].set(jnp.where(inside, FOREGROUND, BACKGROUND)),
        mask=logits[..., None],
        has_mask=jnp.ones_like(prompts.has_mask, shape=masks.shape[0]),
    )
