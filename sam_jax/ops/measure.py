"""Measurements of masks at the size of a picture, without ever holding them at that size."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from sam_jax.types import MaskLimits, PictureView


def measure(
    logits: Float[Array, "c hm wm"],
    view: PictureView,
    limits: MaskLimits,
    *,
    tile: tuple[int, int],
) -> tuple[Int[Array, "c 4"], Float[Array, " c"]]:
    """Bounding boxes and stability scores of masks in one picture.

    The masks are resized in tiles, as many as the picture has, and each tile is reduced to a few
    numbers. So neither memory nor the program depends on the picture's size.

    Args:
      view: of one picture, without the leading axis.
      tile: height and width in pixels; divide the padded sizes of `view`.

    Returns:
      Boxes x0 y0 x1 y1, the last column and row included, zeros for an empty mask; and area above
      the inner by area above the outer threshold, 0 where that is empty. Upstream:
      sam2/utils/amg.py, batched_mask_to_box and calculate_stability_score (there NaN if empty).
    """
    tall, wide = tile
    if view.rows.shape[0] % tall or view.columns.shape[0] % wide:
        raise ValueError(
            f"tiles of {tile} do not divide {view.rows.shape[0]} x {view.columns.shape[0]}"
        )
    height, width = view.size

    def column_of_tiles(j: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        mix = lax.dynamic_slice_in_dim(view.columns, j * wide, wide)
        strip = jnp.einsum("chw,xw->chx", logits, mix, precision="highest")
        x = j * wide + jnp.arange(wide)

        def one_tile(i: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
            index, weight = (
                lax.dynamic_slice_in_dim(values, i * tall, tall)
                for values in (view.rows, view.row_weights)
            )
            pixels = jnp.zeros((), jnp.float32)
            for tap in range(index.shape[1]):
                pixels += strip[:, index[:, tap]] * weight[:, tap, None]  # [c tall wide]
            y = i * tall + jnp.arange(tall)
            inside = (y < height)[:, None] & (x < width)
            return _add(state, pixels, inside, x, y, limits)

        return lax.fori_loop(0, -(-height // tall), one_tile, state)

    none = jnp.zeros(logits.shape[0], jnp.int32)
    low, high = none + jnp.iinfo(jnp.int32).max, none - 1
    state = (none, none, low, low, high, high)
    inner, outer, *box = lax.fori_loop(0, -(-width // wide), column_of_tiles, state)
    empty = box[2] < 0
    box = jnp.where(empty[:, None], 0, jnp.stack(box, axis=-1))
    return box, jnp.where(outer > 0, inner / jnp.maximum(outer, 1), 0).astype(jnp.float32)


def _add(
    state: tuple[Array, ...],
    pixels: Float[Array, "c tall wide"],
    inside: Array,
    x: Array,
    y: Array,
    limits: MaskLimits,
) -> tuple[Array, ...]:
    """Both areas and the four ends, with one more tile seen."""
    inner, outer, x0, y0, x1, y1 = state
    mask = (pixels > limits.threshold) & inside
    in_column, in_row = mask.any(1), mask.any(2)
    most = jnp.iinfo(jnp.int32).max
    return (
        inner + jnp.sum((pixels > limits.inner) & inside, (1, 2), dtype=jnp.int32),
        outer + jnp.sum((pixels > limits.outer) & inside, (1, 2), dtype=jnp.int32),
        jnp.minimum(x0, jnp.where(in_column, x, most).min(1)),
        jnp.minimum(y0, jnp.where(in_row, y, most).min(1)),
        jnp.maximum(x1, jnp.where(in_column, x, -1).max(1)),
        jnp.maximum(y1, jnp.where(in_row, y, -1).max(1)),
    )
