"""Simulated users: a click, a box, then clicks where the mask is wrong.

Upstream: sam2/modeling/sam2_utils.py, sample_box_points and get_next_point. All of it has fixed
shapes and runs under jit. Points are pixel indices xy, as a user's.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sam_jax.types import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PAD

_BOX_NOISE = 0.1  # of the side
_BOX_NOISE_LIMIT = 20 / 1024  # of the image

Clicks = tuple[Float[Array, "n 2"], Int[Array, " n"]]  # points and labels


def sample_pixel(key: PRNGKeyArray, region: Bool[Array, "h w"]) -> Float[Array, " 2"]:
    """A pixel of the region, uniformly; the last pixel of the image when it is empty."""
    u = jax.random.uniform(key, (2,))

    def pick(weights: Array, u: Array) -> Array:
        total = weights.cumsum()
        # u * total may round up to the total
        index = (total <= jnp.minimum(u * total[-1], total[-1] - 1)).sum()
        return jnp.minimum(index, weights.size - 1)

    y = pick(region.sum(1), u[0])
    return jnp.stack([pick(region[y].astype(jnp.int32), u[1]), y]).astype(jnp.float32)


def click_on_error(
    key: PRNGKeyArray, masks: Bool[Array, "n h w"], predicted: Bool[Array, "n h w"]
) -> Clicks:
    """A click anywhere in the region where a prediction is wrong.

    Foreground in what was missed, background in what was too much; a perfect prediction gets a
    background click outside. With an empty prediction it is a first click.
    Upstream: sample_random_points_from_errors.
    """
    wrong = masks != predicted
    perfect = ~wrong.any((1, 2), keepdims=True)
    region = jnp.where(perfect, ~masks, wrong)
    points = jax.vmap(sample_pixel)(jax.random.split(key, masks.shape[0]), region)
    x, y = points.astype(jnp.int32).T
    inside = masks[jnp.arange(masks.shape[0]), y, x] & ~perfect[:, 0, 0]
    return points, jnp.where(inside, FOREGROUND, BACKGROUND)


def centre_of_error(masks: Bool[Array, "n h w"], predicted: Bool[Array, "n h w"]) -> Clicks:
    """A click in the middle of the largest wrong region: the pixel farthest from all right ones.

    The border of the picture counts as right. Foreground only if the distance in what was missed is
    strictly the larger one. Upstream: sample_one_point_from_error_center.
    """
    width = masks.shape[2]

    def deepest(region: Array) -> tuple[Array, Array]:
        distance = squared_distance(jnp.pad(region, ((0, 0), (1, 1), (1, 1))))[:, 1:-1, 1:-1]
        flat = distance.reshape(distance.shape[0], -1)
        return flat.max(1), flat.argmax(1)

    missed, in_missed = deepest(masks & ~predicted)
    extra, in_extra = deepest(predicted & ~masks)
    inside = missed > extra
    index = jnp.where(inside, in_missed, in_extra)
    points = jnp.stack([index % width, index // width], 1).astype(jnp.float32)
    return points, jnp.where(inside, FOREGROUND, BACKGROUND)


def squared_distance(region: Bool[Array, "n h w"]) -> Int[Array, "n h w"]:
    """Squared distance of each pixel to the nearest one outside of the region; 0 there.

    Exact: first along the rows, then the lower envelope of a parabola for each row of a column.
    """
    far = region.shape[1] + region.shape[2]
    x = jnp.arange(region.shape[2])
    before = jax.lax.cummax(jnp.where(region, -far, x), axis=2)
    after = jax.lax.cummin(jnp.where(region, 2 * far, x), axis=2, reverse=True)
    along = jnp.minimum(jnp.minimum(x - before, after - x), far) ** 2  # [n h w]
    y = jnp.arange(region.shape[1])

    def lower(best: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
        index, squared = row
        return jnp.minimum(best, squared[:, None] + ((y - index) ** 2)[:, None]), None

    start = jnp.full(along.shape, 2 * far**2)
    return jax.lax.scan(lower, start, (y, along.swapaxes(0, 1)))[0]


def bounding_box(mask: Bool[Array, "h w"]) -> Float[Array, "2 2"]:
    """Top-left and bottom-right pixel, xy."""
    columns, rows = mask.any(0), mask.any(1)
    low = jnp.stack([columns.argmax(), rows.argmax()])
    high = jnp.stack([x.size - 1 - x[::-1].argmax() for x in (columns, rows)])
    return jnp.stack([low, high]).astype(jnp.float32)


def noisy_box(key: PRNGKeyArray, mask: Bool[Array, "h w"]) -> Float[Array, "2 2"]:
    """The bounding box, each side off by up to a tenth. Upstream: sample_box_points."""
    size = jnp.array(mask.shape[::-1])
    box = bounding_box(mask)
    reach = jnp.minimum(_BOX_NOISE * (box[1] - box[0]), _BOX_NOISE_LIMIT * size)
    noise = jax.random.uniform(key, (2, 2), minval=-1, maxval=1)
    return jnp.clip(box + noise * reach, 0, size - 1)


def first_prompts(
    key: PRNGKeyArray, masks: Bool[Array, "n h w"], *, box_share: float
) -> tuple[Float[Array, "n 2 2"], Int[Array, "n 2"]]:
    """A box or a click for each mask, in two point slots; a background click for an empty mask."""
    n = masks.shape[0]
    click_key, box_key, kind_key = jax.random.split(key, 3)
    click, label = click_on_error(click_key, masks, jnp.zeros_like(masks))
    boxes = jax.vmap(noisy_box)(jax.random.split(box_key, n), masks)
    boxed = (jax.random.uniform(kind_key, (n,)) < box_share) & masks.any((1, 2))
    corners = jnp.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT])
    points = jnp.where(boxed[:, None, None], boxes, click[:, None])
    labels = jnp.where(
        boxed[:, None], corners, jnp.stack([label, jnp.full_like(label, PAD)], axis=1)
    )
    return points, labels
