"""What the video protocols share: the tracker as the paper measures it, and who prompts it."""

import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, UInt8

from sam_jax.io.frame_sources import FrameSequence
from sam_jax.io.images import as_rgb
from sam_jax.io.videos import Video as FrameReader
from sam_jax.models import build
from sam_jax.predictors.session import VideoSession
from sam_jax.predictors.video import VideoPredictor
from sam_jax.types import Model
from train.data.video import BrokenSample, Video
from train.evaluate.centre import bounding_box, centre_of_error

Start = Literal["mask", "box", "1-click", "3-clicks", "5-clicks"]


class NothingToTrack(BrokenSample):
    """No object of a video can be shown to the tracker."""


def make_predictor(
    model: Model, *, postprocess: bool, non_overlap: bool, history: bool
) -> VideoPredictor:
    """A tracker.

    Args:
      postprocess: fill holes, fall back to a stable mask, remember prompted masks as 0 and 1. The
        published numbers are without.
      non_overlap: a pixel belongs to one object only.
      history: frames can be corrected after tracking.
    """
    if not postprocess:
        decoder = replace(model.config.decoder, stability_fallback=False)
        config = replace(model.config, decoder=decoder)
        module = build(config, dtype=model.module.dtype)  # type: ignore[unresolved-attribute]
        model = Model(params=model.params, module=module)
    return VideoPredictor(
        model,
        fill_hole_area=8 if postprocess else 0,
        binarize_mask_from_pts_for_mem_enc=postprocess,
        non_overlap_masks=non_overlap,
        max_history=None if history else 0,
    )


def frame_reader(video: Video) -> FrameReader:
    """The video as the tracker opens it; frames are read when they are needed."""
    return FrameReader(FrameSequence(video.name, _Frames(video), as_rgb))


class _Frames:
    """A video's pictures as a sequence."""

    def __init__(self, video: Video) -> None:
        self._video = video

    def __len__(self) -> int:
        return len(self._video)

    def __getitem__(self, t: int) -> UInt8[np.ndarray, "h w 3"]:
        return self._video.image(t)


def some_objects(numbers: Iterable[int], limit: int, name: str) -> list[int]:
    """At most so many of a video's objects, 0: all; the same ones whenever its name is the same."""
    numbers = sorted(numbers)
    if not 0 < limit < len(numbers):
        return numbers
    chosen = np.random.default_rng(zlib.crc32(name.encode())).choice(numbers, limit, replace=False)
    return sorted(chosen.tolist())


def masks_of(video: Video, t: int) -> dict[int, Bool[np.ndarray, "h w"]]:
    """The masks of a frame; a reader may make them anew whenever it is asked.

    Raises:
      BrokenSample: they cannot be read.
    """
    return dict(video.masks(t) or {})


def show(
    predictor: VideoPredictor,
    session: VideoSession,
    t: int,
    number: int,
    mask: Bool[np.ndarray, "h w"],
    start: Start,
) -> Bool[np.ndarray, "h w"]:
    """Show an object that is visible on a frame, and return the answer.

    The first click is in the middle of the object, each other one in that of the largest error.
    """
    if start == "mask":
        return _answer(predictor.add_new_mask(session, t, number, mask), number)
    if start == "box":
        result = predictor.add_new_points_or_box(session, t, number, box=bounding_box(mask))
        return _answer(result, number)
    return click(predictor, session, t, number, mask, np.zeros_like(mask), clicks=int(start[0]))


def click(
    predictor: VideoPredictor,
    session: VideoSession,
    t: int,
    number: int,
    mask: Bool[np.ndarray, "h w"],
    found: Bool[np.ndarray, "h w"],
    *,
    clicks: int,
) -> Bool[np.ndarray, "h w"]:
    """Click into the largest error of a frame's answer, again and again, while there is one.

    Args:
      found: the answer so far.

    Returns:
      The answer to the last click.
    """
    for done in range(clicks):
        if np.array_equal(found, mask):
            break
        point, label = centre_of_error(mask[None], found[None])
        result = predictor.add_new_points_or_box(
            session, t, number, points=point, labels=label, clear_old_points=done == 0
        )
        found = _answer(result, number)
    return found


def _answer(result: tuple[int, list[Any], np.ndarray], number: int) -> Bool[np.ndarray, "h w"]:
    _, numbers, logits = result
    return logits[numbers.index(number), 0] > 0
