"""Semi-supervised VOS: show the objects once, track them to the end, compare.

Upstream: sam2/tools/vos_inference.py, vos_inference and vos_separate_inference_per_object.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sam_jax.io.videos import Video as FrameReader
from sam_jax.predictors.video import VideoPredictor
from sam_jax.types import Model
from train.data.davis import FolderVideo
from train.data.video import Video
from train.evaluate.folders import layout_of, write_frame
from train.evaluate.jf import Compared, Masks, Score, compare, known_scores, without_ends
from train.evaluate.tracking import (
    NothingToTrack,
    Start,
    frame_reader,
    make_predictor,
    masks_of,
    show,
    some_objects,
)

_NO_OBJECT = -1024.0


@dataclass(frozen=True, kw_only=True)
class VosOptions:
    """How objects are shown and tracked.

    Attributes:
      start: how an object is shown on its first frame. Clicks are simulated: the first in the
        middle of the object, each other one in that of the largest error.
      use_all_masks: every mask there is is given, not only the first; with start "mask".
      per_object_png: objects may overlap, and predictions are written as SA-V has them: a folder
        for each object. Else one picture shows all, as in DAVIS.
      track_appearing_later: each object is shown on the first frame that it is visible in, and
        tracked by itself. Else only those are tracked that the first frame shows, and the others
        score as never found.
      postprocess: fill holes and such; the published numbers are without.
      objects: of a video, at most; 0: all.
      skip_ends: leave the first and last annotated frame out of the scores, as is the custom: of
        the video or, where the data have a folder for each object, of the object.
    """

    start: Start = "mask"
    use_all_masks: bool = False
    per_object_png: bool = False
    track_appearing_later: bool = False
    postprocess: bool = False
    objects: int = 0
    skip_ends: bool = True

    def __post_init__(self) -> None:
        if self.use_all_masks and self.start != "mask":
            raise ValueError(f"use_all_masks gives masks: start is {self.start}, not mask")


@dataclass(frozen=True)
class Tracked:
    """One frame's answers by object id: masks, and logits above 0 of objects that are there."""

    frame: int
    masks: Masks
    object_logits: Mapping[int, float]


@dataclass(frozen=True)
class Presence:
    """How often object logits were right, on annotated frames after the one that was shown."""

    present: int = 0
    present_found: int = 0
    absent: int = 0
    absent_found: int = 0

    def __add__(self, other: "Presence") -> "Presence":
        return Presence(
            self.present + other.present,
            self.present_found + other.present_found,
            self.absent + other.absent,
            self.absent_found + other.absent_found,
        )

    def shares(self) -> dict[str, float]:
        """By name, of what there was."""
        counts = {
            "object score right": (
                self.present_found + self.absent_found,
                self.present + self.absent,
            ),
            "present objects found present": (self.present_found, self.present),
            "absent objects found absent": (self.absent_found, self.absent),
        }
        return {name: right / total for name, (right, total) in counts.items() if total}


@dataclass(frozen=True)
class VosResult:
    """Of one video."""

    scores: Mapping[int, Score]
    presence: Presence


def vos_predictor(model: Model, options: VosOptions) -> VideoPredictor:
    """The tracker for these options; one serves all videos."""
    return make_predictor(
        model,
        postprocess=options.postprocess,
        non_overlap=not options.per_object_png and not options.track_appearing_later,
        history=False,
    )


def vos_video(
    predictor: VideoPredictor, video: Video, options: VosOptions, folder: Path | None = None
) -> VosResult:
    """Track the objects of a video, score them, and write predictions into `folder`.

    Raises:
      BrokenSample: a frame or its masks cannot be read, or no object is shown.
    """
    shown = shown_objects(video, options)
    if not shown:
        raise NothingToTrack(
            f"{video.name} shows no object on its first frame"
            + ("" if options.track_appearing_later else ": --track-appearing-later waits for some")
        )
    numbers = every_object(video) if options.per_object_png and not options.objects else [*shown]
    found: dict[int, list[Compared]] = {}
    presence, scored = Presence(), _scored_frames(video, options)
    for tracked in track(predictor, video, shown, options):
        t = tracked.frame
        empty = np.zeros_like(next(iter(tracked.masks.values())))
        masks = dict.fromkeys(numbers, empty) | dict(tracked.masks)
        if folder is not None:
            layout = "sav" if options.per_object_png else "davis"
            write_frame(folder / video.name, video.frame_name(t), masks, layout=layout)
        if t not in video.annotated:
            continue
        truth = masks_of(video, t)
        presence += _presence(tracked, truth, shown)
        for i in sorted(found.keys() | truth.keys() | masks.keys()):
            if t in scored(i) and (not options.objects or i in shown):
                found.setdefault(i, []).append(compare(masks.get(i), truth.get(i)))
    return VosResult(known_scores(found), presence)


def _scored_frames(video: Video, options: VosOptions) -> Callable[[int], frozenset[int]]:
    """The frames of an object that count."""
    kept = without_ends if options.skip_ends else iter
    together = frozenset(kept(video.annotated))
    if not (isinstance(video, FolderVideo) and layout_of(video.annotations) == "sav"):
        return lambda number: together
    named: dict[int, list[int]] = {}
    for t in video.annotated:
        for i in video.masks(t) or {}:
            named.setdefault(i, []).append(t)
    each = {i: frozenset(kept(frames)) for i, frames in named.items()}
    return lambda number: each.get(number, frozenset())


def every_object(video: Video) -> list[int]:
    """Ids of all objects that any frame names: where each has its pictures, none may lack them."""
    return sorted({i for t in video.annotated for i in video.masks(t) or {}})


def shown_objects(video: Video, options: VosOptions) -> dict[int, dict[int, np.ndarray]]:
    """The masks that show each object, by object and frame, in order of the ids."""
    every = options.track_appearing_later or options.use_all_masks
    shown: dict[int, dict[int, np.ndarray]] = {}
    for t in video.annotated if every else [0]:
        for i, mask in masks_of(video, t).items():
            if mask.any() and (i not in shown or options.use_all_masks):
                shown.setdefault(i, {})[t] = mask
    return {i: shown[i] for i in some_objects(shown, options.objects, video.name)}


def track(
    predictor: VideoPredictor,
    video: Video,
    shown: Mapping[int, Mapping[int, np.ndarray]],
    options: VosOptions,
) -> Iterator[Tracked]:
    """The answers for the objects of a video, frame by frame, from the first to the last one."""
    return (_separately if options.track_appearing_later else _together)(
        predictor, frame_reader(video), shown, options
    )


def _together(
    predictor: VideoPredictor,
    reader: FrameReader,
    shown: Mapping[int, Mapping[int, np.ndarray]],
    options: VosOptions,
) -> Iterator[Tracked]:
    """All objects in one pass."""
    session = predictor.init_state(reader)
    for t in sorted({t for frames in shown.values() for t in frames}):
        for i, masks in shown.items():
            if t in masks:
                show(predictor, session, t, i, masks[t], options.start)
    empty = np.zeros((reader.height, reader.width), bool)
    for t in range(min(min(masks) for masks in shown.values())):
        yield Tracked(t, dict.fromkeys(shown, empty), dict.fromkeys(shown, _NO_OBJECT))
    for t, numbers, logits in predictor.propagate_in_video(session):
        scores = predictor.scores(session, t)
        yield Tracked(
            t,
            {i: logits[k, 0] > 0 for k, i in enumerate(numbers)},
            {i: score["object_logit"] for i, score in scores.items()},
        )


def _separately(
    predictor: VideoPredictor,
    reader: FrameReader,
    shown: Mapping[int, Mapping[int, np.ndarray]],
    options: VosOptions,
) -> Iterator[Tracked]:
    """A pass for each object, from the first frame it is shown on; side by side, frame by frame."""
    passes = {i: _one(predictor, reader, i, masks, options) for i, masks in shown.items()}
    for t in range(reader.num_frames or 0):
        logits: dict[int, Float[np.ndarray, "h w"]] = {}
        present: dict[int, float] = {}
        for i, masks in shown.items():
            if t < min(masks):
                empty = np.full((reader.height, reader.width), _NO_OBJECT, np.float32)
                logits[i], present[i] = empty, _NO_OBJECT
            else:
                logits[i], present[i] = next(passes[i])
        yield Tracked(t, _masks(logits, overlap=options.per_object_png), present)


def _one(
    predictor: VideoPredictor,
    reader: FrameReader,
    number: int,
    shown: Mapping[int, np.ndarray],
    options: VosOptions,
) -> Iterator[tuple[Float[np.ndarray, "h w"], float]]:
    """Mask logits and object logit of one object, from its first frame on."""
    session = predictor.init_state(reader)
    for t, mask in shown.items():
        show(predictor, session, t, number, mask, options.start)
    for t, _, logits in predictor.propagate_in_video(session):
        yield logits[0, 0], predictor.scores(session, t)[number]["object_logit"]


def _masks(logits: Mapping[int, np.ndarray], *, overlap: bool) -> Masks:
    """Where logits are above 0 and, unless they may overlap, highest."""
    if overlap:
        return {i: x > 0 for i, x in logits.items()}
    best = np.stack([*logits.values()]).argmax(0)
    return {i: (x > 0) & (best == k) for k, (i, x) in enumerate(logits.items())}


def _presence(
    tracked: Tracked, truth: Masks, shown: Mapping[int, Mapping[int, np.ndarray]]
) -> Presence:
    """Of the objects that were shown on frames before."""
    found = Presence()
    for i, logit in tracked.object_logits.items():
        if tracked.frame <= min(shown[i]) or tracked.frame in shown[i]:
            continue
        if i in truth and truth[i].any():
            found += Presence(present=1, present_found=int(logit > 0))
        else:
            found += Presence(absent=1, absent_found=int(logit <= 0))
    return found
