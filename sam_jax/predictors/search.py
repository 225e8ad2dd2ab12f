"""The crops of pictures through `sam_jax.everything.find_masks`, and what it found to the host."""

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, UInt8

from sam_jax import everything, image
from sam_jax.config import Config, SamConfig
from sam_jax.everything import PADDING, EverythingOptions
from sam_jax.predictors.crops import Crop, canvas_of, crops_of, view_of
from sam_jax.predictors.duplicates import strict_limit, without_duplicates
from sam_jax.predictors.generator_options import GeneratorOptions
from sam_jax.predictors.prompts import bucket
from sam_jax.predictors.records import Candidate
from sam_jax.sharding import DATA, over_objects
from sam_jax.types import FoundMasks, ImageFeatures, MaskLimits, Model, PointGrid

_CROPS = 8  # searched by one call on an accelerator; a CPU gains nothing from a batch
_FETCHED = (16, 64, 256)  # numbers of masks that are copied to the host together


@dataclass(frozen=True)
class Progress:
    """Of a search in steps: how many are done, of how many, and how many masks are held by now."""

    done: int
    total: int
    held: int


@dataclass(frozen=True)
class _Job:
    """One crop of one of the pictures, and the points to click in it.

    Attributes:
      points: xy in pixels of the crop.
      asked: false where nothing is looked for.
    """

    picture: int
    crop: Crop
    points: Float[np.ndarray, "p 2"]
    asked: Bool[np.ndarray, " p"]


_encode = jax.jit(image.encode_image)
_find = jax.jit(everything.find_masks, static_argnames="options")


@cache
def _encoder(mesh: Mesh | None) -> Callable[..., ImageFeatures]:
    """For one device, or for crops that are spread over those of a mesh."""
    return _encode if mesh is None else jax.jit(over_objects(image.encode_image, mesh))


@cache
def _finder(mesh: Mesh | None, options: EverythingOptions) -> Callable[..., FoundMasks]:
    """Likewise of `find_masks`."""
    if mesh is None:
        return partial(_find, options=options)
    return jax.jit(over_objects(partial(everything.find_masks, options=options), mesh))


@jax.jit
def _take(
    logits: Float[Array, "b k hm wm"], picture: int | Int[Array, ""], slots: Int[Array, " n"]
) -> Float[Array, "n hm wm"]:
    return logits[picture, slots]


def search(
    model: Model,
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    options: GeneratorOptions,
    mesh: Mesh | None = None,
) -> Iterator[list[Candidate]]:
    """What is found in each picture: crop by crop, the best first, no duplicates within a crop.

    Args:
      mesh: of the devices that share the crops; None: one device looks at them all.
    """
    grids = options.grids()
    jobs = [
        _job(number, crop, grids)
        for number, pixels in enumerate(pictures)
        for crop in crops_of(*pixels.shape[:2], options.crop_n_layers, options.crop_overlap_ratio)
    ]
    found: list[list[Candidate]] = [[] for _ in pictures]
    done = 0
    for some in _batches(jobs, 1 if mesh is None else mesh.shape[DATA]):
        inputs = [
            canvas_of(job.crop, model.config).paint(job.crop.pixels(pictures[job.picture]))
            for job in some
        ]
        features = _encoder(mesh)(model, np.stack(inputs))
        names = [_name(job) for job in some]
        results = _found(model, features, some, names, options, mesh)
        for job, candidates in zip(some, results, strict=True):
            found[job.picture] += candidates
        del features  # or the next crop's are made beside them
        while done < some[-1].picture:  # all of its crops were before
            yield found[done]
            found[done] = []
            done += 1
    yield from found[done:]


def search_in_steps(
    model: Model, pixels: UInt8[np.ndarray, "_ _ 3"], options: GeneratorOptions
) -> Generator[Progress, None, list[Candidate]]:
    """`search` of one picture, in steps of one batch of points, for who does other things between.

    Yields after each step, and returns what `search` finds.
    """
    grids, batch = options.grids(), options.points_per_batch
    crops = crops_of(*pixels.shape[:2], options.crop_n_layers, options.crop_overlap_ratio)
    jobs = [_job(0, crop, grids) for crop in crops]
    # All that a batch may find is kept: what is a duplicate is known when all is found.
    all_of = replace(
        options, box_nms_thresh=1, max_candidates=batch * _per_point(model.config, options)
    )
    total, done = sum(-(-len(job.points) // batch) for job in jobs), 0
    found: list[Candidate] = []
    for job in jobs:
        painted = canvas_of(job.crop, model.config).paint(job.crop.pixels(pixels))
        features, here, passed = _encode(model, painted[None]), [], 0
        for start in range(0, len(job.points), batch):
            asked = np.zeros_like(job.asked)
            asked[start : start + batch] = True
            (more,) = _found(model, features, [replace(job, asked=asked)], [""], all_of)
            passed += len(more)
            # Copies, as one mask would hold all that came with it.
            here += [replace(one, logits=one.logits.copy()) for one in more]
            here = sorted(here, key=lambda one: -one.iou)[: options.max_candidates]
            done += 1
            yield Progress(done, total, len(found) + len(here))
        _warn_of_dropped(passed, options.max_candidates, _name(job))
        found += _without_duplicates(here, options)
        del features  # or the next crop's are made beside them
    return found


def _without_duplicates(best: list[Candidate], options: GeneratorOptions) -> list[Candidate]:
    """What of one crop's masks, the best first, stays, as `everything.find_masks` has it."""
    if not best:
        return []
    boxes, ious = np.array([one.box for one in best]), np.array([one.iou for one in best])
    return [best[i] for i in without_duplicates(boxes, -ious, options.box_nms_thresh)]


def search_encoded(
    model: Model,
    features: ImageFeatures,
    covered: Bool[np.ndarray, "h w"],
    options: GeneratorOptions,
    name: str,
) -> list[Candidate]:
    """What is found in one encoded picture, without crops, on points that are not `covered`.

    Args:
      features: of one image.
      name: of the picture, for messages.
    """
    h, w = covered.shape
    job = _job(0, Crop((0, 0, w, h), 0, (h, w)), options.grids())
    x, y = np.minimum(job.points, [w - 1, h - 1]).astype(int).T
    job = replace(job, asked=~covered[y, x])
    if not job.asked.any():
        return []
    (candidates,) = _found(model, features, [job], [name], options)
    return candidates


def _job(picture: int, crop: Crop, grids: Sequence[Float[np.ndarray, "_ 2"]]) -> _Job:
    points = grids[crop.layer] * crop.size[::-1]
    return _Job(picture, crop, points, np.ones(len(points), bool))


def _per_point(config: Config, options: GeneratorOptions) -> int:
    return config.decoder.num_multimask_outputs if options.multimask_output else 1


def _name(job: _Job) -> str:
    where = f"crop {list(job.crop.box)} of " if job.crop.layer else ""
    return f"{where}picture {job.picture}"


def _found(
    model: Model,
    features: ImageFeatures,
    jobs: Sequence[_Job],
    names: Sequence[str],
    options: GeneratorOptions,
    mesh: Mesh | None = None,
) -> list[list[Candidate]]:
    """What is found in each of the encoded crops, by one call."""
    config, per_point = model.config, _per_point(model.config, options)
    view = view_of([job.crop for job in jobs], config)
    find = _finder(mesh, _static(options, config))
    result = find(model, features, _grid(jobs, config), view, _limits(options, config))
    small = jax.device_get(replace(result, logits=None))
    for passed, name in zip(small.passed, names, strict=True):
        _warn_of_dropped(int(passed), options.max_candidates, name)
    return [
        _candidates(small, result.logits, place, job, per_point=per_point)
        for place, job in enumerate(jobs)
    ]


def _batches(jobs: list[_Job], devices: int) -> Iterator[list[_Job]]:
    """Eight crops a device, and what is left in fours, twos and ones: few different programs.

    So that all devices have the same number, the last crop is repeated, with nothing asked.
    """
    most = 1 if jax.default_backend() == "cpu" else _CROPS
    if jobs:
        idle = replace(jobs[-1], asked=np.zeros_like(jobs[-1].asked))
        jobs = [*jobs, *[idle] * (-len(jobs) % devices)]
    start = 0
    while start < len(jobs):
        left = (len(jobs) - start) // devices
        size = devices * next(n for n in (most, 4, 2, 1) if n <= left)
        yield jobs[start : start + size]
        start += size


def _limits(options: GeneratorOptions, config: Config) -> MaskLimits:
    threshold, offset = options.mask_threshold, options.stability_score_offset
    return MaskLimits(
        iou=jnp.float32(options.iou_limit(config)),
        stability=jnp.float32(options.stability_score_thresh),
        threshold=jnp.float32(threshold),
        inner=jnp.float32(threshold + offset),
        outer=jnp.float32(threshold - offset),
        overlap=jnp.float32(strict_limit(options.box_nms_thresh)),
    )


def _static(options: GeneratorOptions, config: Config) -> EverythingOptions:
    # SAM 1's small regions are those of the finished masks.
    area = 0 if isinstance(config, SamConfig) else options.min_mask_region_area
    return EverythingOptions(
        points_per_batch=options.points_per_batch,
        multimask=options.multimask_output,
        refine=options.use_m2m,
        max_region_area=area,
        capacity=options.max_candidates,
    )


def _grid(jobs: Sequence[_Job], config: Config) -> PointGrid:
    """The points of each crop, padded so that few numbers of points are compiled for."""
    length = -(-max(len(job.points) for job in jobs) // PADDING) * PADDING
    points = np.zeros((len(jobs), length, 2), np.float32)
    asked = np.zeros((len(jobs), length), bool)
    for place, job in enumerate(jobs):
        # In float32 from here on, as upstream: the Fourier code multiplies what is lost.
        fractions = job.points.astype(np.float32) / np.array(job.crop.size[::-1], np.float32)
        points[place, : len(job.points)] = canvas_of(job.crop, config).to_input(fractions)
        asked[place, : len(job.points)] = job.asked
    return PointGrid(jnp.asarray(points), jnp.asarray(asked))


def _candidates(
    found: FoundMasks, logits: Float[Array, "b k hm wm"], place: int, job: _Job, *, per_point: int
) -> list[Candidate]:
    """The masks of one crop, best first.

    Args:
      found: of all crops, on the host and without logits.
      logits: on the device.
    """
    (slots,) = np.nonzero(found.valid[place])
    slots = slots[np.lexsort((found.index[place, slots], -found.iou[place, slots]))]
    padded = np.zeros(bucket(len(slots), _FETCHED), np.int32)
    padded[: len(slots)] = slots
    low = np.asarray(_take(logits, place, padded))
    corner = np.array(job.crop.box[:2])
    points = job.points.astype(np.float32)[found.index[place] // per_point] + corner
    return [
        Candidate(
            crop=job.crop,
            logits=low[i],
            iou=float(found.iou[place, slot]),
            stability=float(found.stability[place, slot]),
            point=(float(points[slot, 0]), float(points[slot, 1])),
            box=np.asarray(found.box[place, slot]) + np.tile(corner, 2),
        )
        for i, slot in enumerate(slots)
    ]


def _warn_of_dropped(passed: int, capacity: int, name: str) -> None:
    if passed > capacity:
        warnings.warn(
            f"{name}: {passed} masks passed the filters, and the"
            f" {passed - capacity} with the lowest predicted IoU were dropped: raise"
            f" max_candidates ({capacity}) or the thresholds",
            stacklevel=2,
        )
