"""Measurements and repairs of masks. Fixed shapes: all of it jits and runs under vmap."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

_FEW_PIXELS = 64  # components of so many are found by looking around, larger ones by their labels


def stability_score(
    logits: Float[Array, "*batch h w"], threshold: float, offset: float, *, empty: float = 1.0
) -> Float[Array, "*batch"]:
    """How little a mask depends on its threshold: area above +offset by area above -offset.

    Upstream: sam2/modeling/sam/mask_decoder.py and utils/amg.py, which disagree on masks that are
    empty at both thresholds: `empty` is what those score.
    """
    inner = jnp.sum(logits > threshold + offset, axis=(-2, -1), dtype=jnp.int32)
    outer = jnp.sum(logits > threshold - offset, axis=(-2, -1), dtype=jnp.int32)
    return jnp.where(outer > 0, inner / jnp.maximum(outer, 1), empty).astype(jnp.float32)


def mask_to_box(mask: Bool[Array, "*batch h w"]) -> Int[Array, "*batch 4"]:
    """Bounding box x0 y0 x1 y1 of the set pixels, the last column and row included.

    Zeros for an empty mask. Upstream: segment_anything/utils/amg.py, batched_mask_to_box.
    """

    def ends(line: Array) -> tuple[Array, Array]:  # first and last set index along the last axis
        last = line.shape[-1] - 1 - jnp.argmax(line[..., ::-1], axis=-1)
        return jnp.argmax(line, axis=-1), last

    x0, x1 = ends(mask.any(axis=-2))
    y0, y1 = ends(mask.any(axis=-1))
    box = jnp.stack([x0, y0, x1, y1], axis=-1).astype(jnp.int32)
    return jnp.where(mask.any(axis=(-2, -1))[..., None], box, 0)


def nms(
    boxes: Int[Array, "n 4"] | Float[Array, "n 4"],
    valid: Bool[Array, " n"],
    threshold: float | Float[Array, ""],
) -> Bool[Array, " n"]:
    """Greedy non-maximum suppression of boxes that come best first; which of `valid` to keep.

    A box goes if its IoU with a kept better one is above `threshold`; boxes without area never do.
    One round for each box that is kept. Upstream: torchvision.ops.nms, which sorts by score.
    """
    boxes = boxes.astype(jnp.float32)
    x0, y0, x1, y1 = boxes.T
    area = (x1 - x0) * (y1 - y0)

    def round_(state: tuple[Array, Array]) -> tuple[Array, Array]:
        alive, keep = state
        best = jnp.argmax(alive)
        width = jnp.minimum(x1, x1[best]) - jnp.maximum(x0, x0[best])
        height = jnp.minimum(y1, y1[best]) - jnp.maximum(y0, y0[best])
        shared = jnp.maximum(width, 0) * jnp.maximum(height, 0)
        union = area + area[best] - shared
        clash = (union > 0) & (shared / jnp.where(union > 0, union, 1) > threshold)
        return (alive & ~clash).at[best].set(False), keep.at[best].set(True)

    _, keep = lax.while_loop(lambda state: state[0].any(), round_, (valid, jnp.zeros_like(valid)))
    return keep


def label_components(mask: Bool[Array, "*batch h w"]) -> Int[Array, "*batch h w"]:
    """Connected components, diagonal neighbours included.

    Returns:
      0 outside the mask; inside, 1 + the smallest flat index of the pixel's component.

    Every pixel points to a smaller pixel of its component; each round hooks trees onto their
    neighbours' trees and halves the depth, so that windings cost a logarithm of their length.
    Zhang, Azad and Hu, "FastSV", 2020.
    """
    *batch, height, width = mask.shape
    mask = mask.reshape(-1, height, width)
    count = mask.size
    index = jnp.arange(count, dtype=jnp.int32).reshape(mask.shape)
    # Start from rows already joined: the parent is the first pixel of the run.
    starts = mask & ~jnp.pad(mask, ((0, 0), (0, 0), (1, 0)))[..., :-1]
    parent = lax.cummax(jnp.where(starts, index, 0), axis=2)
    parent = jnp.where(mask, parent, count).ravel()
    parent = jnp.append(parent, count)  # background points to a slot past the end

    def neighbours(values: Array) -> Array:  # smallest value in the 3 x 3 around each pixel
        padded = jnp.pad(
            values.reshape(mask.shape), ((0, 0), (1, 1), (1, 1)), constant_values=count
        )
        rows = jnp.minimum(jnp.minimum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
        least = jnp.minimum(jnp.minimum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])
        return jnp.where(mask, least, count).ravel()

    def round_(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        parent, grand, _ = state
        least = neighbours(grand[:-1])
        hooked = parent.at[parent[:-1]].min(least)
        hooked = jnp.minimum(hooked, grand).at[:-1].min(least)
        new_grand = hooked[hooked]
        return hooked, new_grand, jnp.any(new_grand != grand)

    state = (parent, parent[parent], jnp.array(True))
    parent, _, _ = lax.while_loop(lambda state: state[2], round_, state)
    first = index[:, :1, :1]  # of each mask: indices are global in here
    labels = jnp.where(mask, parent[:-1].reshape(mask.shape) - first + 1, 0)
    return labels.reshape(*batch, height, width)


def component_areas(labels: Int[Array, "*batch h w"]) -> Int[Array, "*batch h w"]:
    """For each pixel the number of pixels of its component; 0 outside the mask."""
    *batch, height, width = labels.shape
    flat = labels.reshape(-1, height * width)

    def of_one(labels: Array) -> Array:
        counts = jnp.zeros(height * width + 1, jnp.int32).at[labels].add(1)
        return jnp.where(labels > 0, counts[labels], 0)

    return jax.vmap(of_one)(flat).reshape(*batch, height, width)


def in_small_components(mask: Bool[Array, "*batch h w"], area: int) -> Bool[Array, "*batch h w"]:
    """Pixels of components that have at most `area` pixels, diagonal neighbours included.

    By `area` - 1 rounds of looking at the neighbours, which is enough for any component so small: a
    fixed amount of work, and nothing that one mask of a batch has to do because of another. For
    large areas `label_components` is quicker.
    """
    *batch, height, width = mask.shape
    none = height * width
    index = jnp.arange(none, dtype=jnp.int32).reshape(height, width)
    labels = jnp.where(mask, index, none)

    def around(values: Array, pick: Callable[..., Array], outside: int) -> Array:
        edges = [(0, 0)] * len(batch) + [(1, 1), (1, 1)]
        padded = jnp.pad(values, edges, constant_values=outside)
        rows = pick(pick(padded[..., :-2, :], padded[..., 1:-1, :]), padded[..., 2:, :])
        return pick(pick(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])

    def spread(_: Any, labels: Array) -> Array:
        return jnp.where(mask, around(labels, jnp.minimum, none), none)

    labels = lax.fori_loop(0, area - 1, spread, labels)
    # Where labels of a component still differ it is too large, however few pixels share one.
    lowest = around(labels, jnp.minimum, none)
    highest = around(jnp.where(mask, labels, -1), jnp.maximum, -1)
    weight = jnp.where(lowest == highest, 1, area + 1)

    def of_one(labels: Array, weight: Array) -> Array:
        return jnp.zeros(none + 1, jnp.int32).at[labels].add(weight)[labels]

    flat = (x.reshape(-1, none) for x in (labels, weight))
    return mask & (jax.vmap(of_one)(*flat).reshape(mask.shape) <= area)


def _is_small(mask: Bool[Array, "*batch h w"], area: float | int) -> Bool[Array, "*batch h w"]:
    if area <= _FEW_PIXELS:
        return in_small_components(mask, int(area))
    return mask & (component_areas(label_components(mask)) <= area)


def fill_holes_and_sprinkles(
    logits: Float[Array, "*batch h w"],
    *,
    max_hole_area: float | int,
    max_sprinkle_area: float | int,
    threshold: float | int | Float[Array, ""] = 0.0,
    margin: float = 10.0,
) -> Float[Array, "*batch h w"]:
    """Fills small holes of a mask and removes small islands.

    Components of the background (logits <= threshold) of at most `max_hole_area` pixels become
    threshold + margin, components of the original foreground of at most `max_sprinkle_area` pixels
    become threshold - margin. The areas are Python numbers: 0 leaves that half out of the program.
    Upstream: sam2/utils/transforms.py, postprocess_masks, and with a margin of 0.1
    sam2/utils/misc.py, fill_holes_in_mask_scores (there only on GPUs).
    """
    inside = logits > threshold
    result = logits
    if max_hole_area > 0:
        result = jnp.where(_is_small(~inside, max_hole_area), threshold + margin, result)
    if max_sprinkle_area > 0:
        result = jnp.where(_is_small(inside, max_sprinkle_area), threshold - margin, result)
    return result
