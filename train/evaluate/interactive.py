"""Interactive VOS: a user who corrects tracks, one object at a time.

Each round, one frame gets a few clicks, in the middle of the largest error each, and tracking is
done again. The first round's frame is the first that shows the object. Then

- offline: the frame with the lowest IoU of those that got no clicks yet, anywhere in the video, and
  the whole video is tracked again;
- online: the next frame, behind all that got clicks, with an IoU below a threshold; tracking goes
  on from there. It is one pass through the video: what was seen before stays as it is.

When no frame is left to correct, later rounds score as the last one.
From the description in the SAM 2 paper (arXiv 2408.00714, "Promptable video segmentation"); there
is no official code of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from sam_jax.predictors.session import VideoSession
from sam_jax.predictors.video import VideoPredictor
from sam_jax.types import Model
from train.data.video import Video
from train.evaluate.jf import Score, region, score_objects, without_ends
from train.evaluate.tracking import (
    NothingToTrack,
    click,
    frame_reader,
    make_predictor,
    masks_of,
    some_objects,
)

_Found = dict[int, Bool[np.ndarray, "h w"]]


@dataclass(frozen=True, kw_only=True)
class InteractiveOptions:
    """How the simulated user works.

    Attributes:
      mode: "offline" looks through the whole video before every correction; "online" watches it
        once and corrects on the way.
      rounds: frames that get clicks, at most.
      clicks: on each of them.
      threshold: online: a frame is corrected when its IoU is lower.
      postprocess: fill holes and such; the published numbers are without.
      objects: of a video, at most; 0: all.
      skip_ends: leave the first and last annotated frame out of the scores.
    """

    mode: Literal["offline", "online"] = "offline"
    rounds: int = 8
    clicks: int = 3
    threshold: float = 0.75
    postprocess: bool = False
    objects: int = 0
    skip_ends: bool = True

    def __post_init__(self) -> None:
        for name in ("rounds", "clicks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold is an IoU, in 0..1, got {self.threshold}")


def interactive_predictor(model: Model, options: InteractiveOptions) -> VideoPredictor:
    """The tracker for these options; one serves all videos."""
    return make_predictor(model, postprocess=options.postprocess, non_overlap=False, history=True)


def interactive_video(
    predictor: VideoPredictor, video: Video, options: InteractiveOptions
) -> dict[int, list[Score]]:
    """Scores after each round, of each object.

    Raises:
      BrokenSample: a frame or its masks cannot be read, or none shows an object.
    """
    annotated = {t: masks_of(video, t) for t in video.annotated}
    numbers = {i for masks in annotated.values() for i, mask in masks.items() if mask.any()}
    if not numbers:
        raise NothingToTrack(f"{video.name} shows no object")
    reader = frame_reader(video)
    kept = list(without_ends(annotated)) if options.skip_ends else list(annotated)
    empty = np.zeros((reader.height, reader.width), bool)
    scores = {}
    for i in some_objects(numbers, options.objects, video.name):
        truth = {t: masks.get(i, empty) for t, masks in annotated.items()}
        if not any(truth[t].any() for t in kept):
            continue
        session = predictor.init_state(reader)
        scores[i] = _rounds(predictor, session, i, truth, kept, options)
    return scores


def _rounds(
    predictor: VideoPredictor,
    session: VideoSession,
    number: int,
    truth: _Found,
    kept: list[int],
    options: InteractiveOptions,
) -> list[Score]:
    first = next(t for t, mask in truth.items() if mask.any())
    found = {t: np.zeros_like(mask) for t, mask in truth.items()}
    clicked: list[int] = []
    scores: list[Score] = []
    at: int | None = first
    while at is not None and len(scores) < options.rounds:
        click(predictor, session, at, number, truth[at], found[at], clicks=options.clicks)
        clicked.append(at)
        start = first if options.mode == "offline" else at
        for t, _, logits in predictor.propagate_in_video(session, start_frame_idx=start):
            if t in truth:
                found[t] = logits[0, 0] > 0
        frames = (({number: found[t]}, {number: truth[t]}) for t in kept)
        scores.append(score_objects(frames)[number])
        at = _next_frame(found, truth, clicked, options)
    return scores + scores[-1:] * (options.rounds - len(scores))


def _next_frame(
    found: Mapping[int, np.ndarray],
    truth: Mapping[int, np.ndarray],
    clicked: list[int],
    options: InteractiveOptions,
) -> int | None:
    """The frame to correct, None if there is none."""
    if options.mode == "online":
        later = (t for t in truth if t > clicked[-1])
        return next((t for t in later if region(found[t], truth[t]) < options.threshold), None)
    ious = {t: region(found[t], truth[t]) for t in truth if t not in clicked}
    worst = min(ious, key=lambda t: ious[t], default=None)
    return worst if worst is not None and ious[worst] < 1 else None
