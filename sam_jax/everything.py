"""All masks of a picture: a click on every point of a grid, and the answers sorted out.

    found = find_masks(model, features, grid, view, limits, options=EverythingOptions())

One program for all pictures: shapes depend on `options` and on the padded sizes of grid and view.
Clicks are answered in batches inside a loop; what a batch leaves is measured at the picture's size
(`sam_jax.ops.measure`), filtered, and goes into a buffer of fixed size at low resolution. Points
that are not asked cost nothing, so that a tracker can ask where it knows of no object yet.

Upstream: sam2/automatic_mask_generator.py, SAM2AutomaticMaskGenerator. `sam_jax.
AutomaticMaskGenerator` is the stateful face, which also cuts crops and makes records.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from sam_jax.image import predict
from sam_jax.ops.formulation import for_cpu
from sam_jax.ops.masks import fill_holes_and_sprinkles, nms
from sam_jax.ops.measure import measure
from sam_jax.types import (
    FOREGROUND,
    NOT_A_POINT,
    FoundMasks,
    ImageFeatures,
    MaskLimits,
    Model,
    PictureView,
    PointGrid,
    Prompts,
)

NEAR_EDGE = 20  # pixels from a crop's edge within which a box counts as cut off by it
PADDING = 1024  # sizes of a view are padded to multiples of this; every tile divides it
_LOGIT_LIMIT = 32.0  # masks that are prompts again are clamped, as the official predictor does
_REFINED = 16  # masks refined at once: each has a dense map of its own


@dataclass(frozen=True)
class EverythingOptions:
    """What changes the program.

    Attributes:
      points_per_batch: clicks answered at once.
      multimask: three masks for each click, or one.
      refine: give each mask back to the model with its click, once, for a single better one.
      max_region_area: holes and islands of up to so many low-resolution pixels are removed.
      capacity: masks kept of a picture before duplicates are removed; of more, the best by
        predicted IoU.
    """

    points_per_batch: int = 64
    multimask: bool = True
    refine: bool = False
    max_region_area: int = 0
    capacity: int = 2048


def find_masks(
    model: Model,
    features: ImageFeatures,
    grid: PointGrid,
    view: PictureView,
    limits: MaskLimits,
    *,
    options: EverythingOptions,
) -> FoundMasks:
    """The masks at the points of a grid that are good enough, without duplicates.

    Args:
      features: of b pictures, or crops. All arguments but `model` and `limits` have b first, and
        pictures do not look at each other: `sam_jax.sharding.over_objects` spreads them.
    """
    return lax.map(
        lambda one: _of_one(model, *one, limits=limits, options=options), (features, grid, view)
    )


def _of_one(
    model: Model,
    features: ImageFeatures,
    grid: PointGrid,
    view: PictureView,
    *,
    limits: MaskLimits,
    options: EverythingOptions,
) -> FoundMasks:
    """`find_masks` of one picture, without the leading axis."""
    batch = options.points_per_batch
    features = jax.tree.map(lambda x: x[None], features)
    order, count = _first(grid.asked, batch)

    def answer(i: Array, found: FoundMasks) -> FoundMasks:
        chosen = lax.dynamic_slice_in_dim(order, i * batch, batch)
        asked = i * batch + jnp.arange(batch) < count
        logits, iou = _decode(model, features, grid.points[chosen], options)  # [batch m hm wm]
        m = iou.shape[1]
        passing = asked[:, None] & ((iou > limits.iou) | (limits.iou <= 0))
        index = chosen[:, None] * m + jnp.arange(m)
        flat = (logits.reshape(-1, *logits.shape[2:]), iou.ravel(), index.ravel(), passing.ravel())
        return _add_good(found, *flat, view=view, limits=limits, options=options)

    found = _nothing(options.capacity, model.config.mask_size)
    found = lax.fori_loop(0, -(-count // batch), answer, found)
    best_first = jnp.lexsort((found.index, -found.iou))
    kept = nms(found.box[best_first], found.valid[best_first], limits.overlap)
    return found.replace(valid=jnp.zeros_like(found.valid).at[best_first].set(kept))


def _nothing(capacity: int, mask_size: int) -> FoundMasks:
    return FoundMasks(
        valid=jnp.zeros(capacity, bool),
        index=jnp.full(capacity, -1, jnp.int32),
        iou=jnp.full(capacity, -jnp.inf, jnp.float32),
        stability=jnp.zeros(capacity, jnp.float32),
        box=jnp.zeros((capacity, 4), jnp.int32),
        logits=jnp.zeros((capacity, mask_size, mask_size), jnp.float32),
        passed=jnp.zeros((), jnp.int32),
    )


def _first(flags: Bool[Array, " n"], multiple: int) -> tuple[Int[Array, " padded"], Int[Array, ""]]:
    """Indices with the flagged ones first, padded to a multiple, and how many are flagged."""
    order = jnp.argsort(~flags, stable=True).astype(jnp.int32)
    return jnp.pad(order, (0, -len(order) % multiple)), flags.sum(dtype=jnp.int32)


def _decode(
    model: Model,
    features: ImageFeatures,
    points: Float[Array, "q 2"],
    options: EverythingOptions,
) -> tuple[Float[Array, "q m hm wm"], Float[Array, "q m"]]:
    """Logits and predicted IoUs of the masks at each point."""
    side = model.config.mask_size
    q = points.shape[0]
    nowhere = jnp.zeros_like(points)
    prompts = Prompts(
        points=jnp.stack([points, nowhere], 1),
        labels=jnp.tile(jnp.array([[FOREGROUND, NOT_A_POINT]], jnp.int32), (q, 1)),
        mask=jnp.zeros((0, side, side, 1)),
        has_mask=jnp.zeros(0, bool),
    )
    masks = predict(model, features, prompts, multimask=options.multimask)
    if not options.refine:
        return masks.logits, masks.iou
    m = masks.iou.shape[1]

    def again(inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        points, labels, logits = inputs
        prompts = Prompts(
            points, labels, mask=logits[..., None], has_mask=jnp.ones(len(logits), bool)
        )
        better = predict(model, features, prompts, multimask=False)
        return better.logits[:, 0], better.iou[:, 0]

    clamped = jnp.clip(masks.logits, -_LOGIT_LIMIT, _LOGIT_LIMIT).reshape(q * m, side, side)
    repeated = (jnp.repeat(prompts.points, m, 0), jnp.repeat(prompts.labels, m, 0), clamped)
    size = next(size for size in range(min(_REFINED, q * m), 0, -1) if q * m % size == 0)
    groups = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), repeated)
    logits, iou = lax.map(again, groups)
    return logits.reshape(masks.logits.shape), iou.reshape(q, m)


def _add_good(
    found: FoundMasks,
    logits: Float[Array, "n hm wm"],
    iou: Float[Array, " n"],
    index: Int[Array, " n"],
    passing: Bool[Array, " n"],
    *,
    view: PictureView,
    limits: MaskLimits,
    options: EverythingOptions,
) -> FoundMasks:
    """Measures the `passing` masks, a few at a time, and keeps those that are stable and whole."""
    size, tile = _measured_at_once()
    order, count = _first(passing, size)
    clean = partial(
        fill_holes_and_sprinkles,
        max_hole_area=options.max_region_area,
        max_sprinkle_area=options.max_region_area,
        threshold=limits.threshold,
    )

    def some(i: Array, found: FoundMasks) -> FoundMasks:
        chosen = lax.dynamic_slice_in_dim(order, i * size, size)
        low = clean(logits[chosen])
        box, stability = measure(low, view, limits, tile=tile)
        good = i * size + jnp.arange(size) < count
        good &= (stability >= limits.stability) | (limits.stability <= 0)
        good &= ~_is_cut_off(box, view)
        new = FoundMasks(
            valid=good,
            index=index[chosen],
            iou=jnp.where(good, iou[chosen], -jnp.inf),
            stability=stability,
            box=box,
            logits=low,
            passed=good.sum(dtype=jnp.int32),
        )
        return _insert(found, new)

    return lax.fori_loop(0, -(-count // size), some, found)


def _measured_at_once() -> tuple[int, tuple[int, int]]:
    """How many masks, in tiles of how many pixels: a cacheful on CPU, much work elsewhere."""
    return (4, (64, 512)) if for_cpu() else (64, (512, 1024))


def _is_cut_off(box: Int[Array, "c 4"], view: PictureView) -> Bool[Array, " c"]:
    """A side of the box is near the crop's edge there, and that is not the whole picture's edge.

    Upstream: sam2/utils/amg.py, is_box_near_crop_edge.
    """
    box = box + jnp.tile(view.crop[:2], 2)
    near_crop = jnp.abs(box - view.crop) <= NEAR_EDGE
    near_whole = jnp.abs(box - view.whole) <= NEAR_EDGE
    return (near_crop & ~near_whole).any(1)


def _insert(found: FoundMasks, new: FoundMasks) -> FoundMasks:
    """The best of both: the best new mask takes the worst slot, and so on while it is better."""
    count, capacity = new.iou.shape[0], found.iou.shape[0]
    count = min(count, capacity)
    worst = jnp.argsort(found.iou, stable=True)[:count]
    best = jnp.argsort(-new.iou, stable=True)[:count]
    slot = jnp.where(new.iou[best] > found.iou[worst], worst, capacity)
    passed = found.passed + new.passed
    merged = jax.tree.map(
        lambda old, x: old.at[slot].set(x[best], mode="drop") if old.ndim else old, found, new
    )
    return merged.replace(passed=passed)
