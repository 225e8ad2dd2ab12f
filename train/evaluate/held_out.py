"""What the training loop measures: a model on held-out pictures and clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from sam_jax.types import Model
from train.config import Evaluation, Source
from train.data.sources import open_source
from train.data.video import Video
from train.evaluate.protocols import Results, run_clicks, run_text, run_vos
from train.evaluate.text import TextOptions
from train.evaluate.vos import VosOptions
from train.world.phrases import Words

SPLIT = "test"
SYNTHETIC_SAMPLES = 200  # the synthetic world has no end
SYNTHETIC_FRAMES = 16


def evaluate(model: Model, evaluation: Evaluation) -> dict[str, float]:
    """Click mIoU on pictures, J&F and object scores of clips shown by their first mask; 0..1. Of
    models with a text tower also what phrases find, in synthetic pictures.

    Raises:
      ValueError: a source cannot be opened, or nothing in it could be measured.
    """
    scores: dict[str, float] = {}
    size, objects = model.config.image_size, evaluation.objects
    if evaluation.images is not None:
        videos = held_out(evaluation.images, size, samples=evaluation.samples, frames=1)
        found = run_clicks(model, videos, objects=objects)
        require_some(found, evaluation.images)
        scores |= {f"images/{name}": value for name, value in found.scores.items()}
        if model.config.words is not None and evaluation.images.kind == "synthetic":
            found = run_text(model, videos, TextOptions(), objects=objects)
            require_some(found, evaluation.images)
            scores |= {f"text/{name}": value for name, value in found.scores.items()}
    if evaluation.videos is not None:
        videos = held_out(
            evaluation.videos, size, samples=evaluation.samples, frames=evaluation.frames
        )
        options = VosOptions(objects=objects, per_object_png=overlapping(evaluation.videos))
        found = run_vos(model, videos, options)
        require_some(found, evaluation.videos)
        scores |= {f"videos/{name}": value for name, value in found.scores.items()}
    return scores


def held_out(source: Source, size: int, *, samples: int, frames: int) -> Sequence[Video]:
    """The first so many videos of a source, and frames of each at its stride; 0: all there are.

    Args:
      size: side of synthetic pictures.

    Raises:
      ValueError: the source cannot be opened, or a number is negative.
    """
    for name, value in (("samples", samples), ("frames", frames)):
        if value < 0:
            raise ValueError(f"{name} must be 0, for all, or more; got {value}")
    if source.kind == "synthetic":
        samples, frames = samples or SYNTHETIC_SAMPLES, frames or SYNTHETIC_FRAMES
    videos = open_source(source, split=SPLIT, frames=frames, size=size)
    return _Excerpts(videos, min(samples or len(videos), len(videos)), frames, source.stride)


def overlapping(source: Source) -> bool:
    """Whether objects of the source may overlap, by its kind."""
    return source.kind in ("synthetic", "sav")


def require_some(results: Results, source: Source) -> None:
    """Raises ValueError, with reasons, if no object was measured."""
    if not results.objects:
        reasons = "".join(f"\n  {reason}" for reason in results.skipped[:3])
        where = f"{source.kind} {source.root}".strip()
        raise ValueError(
            f"nothing could be measured in {where}: it has no objects, or fewer than 3 annotated"
            f" frames to track them in{reasons}"
        )


@dataclass(frozen=True)
class _Excerpts(Sequence):
    """The first `number` videos, of each every `stride`-th frame, and of those the first `frames`.

    0 frames are all. Nothing is opened before it is used.
    """

    videos: Sequence[Video]
    number: int
    frames: int
    stride: int

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.number:
            raise IndexError(index)  # which ends an iteration
        video = self.videos[index]
        if not self.frames and self.stride == 1:
            return video
        order = range(0, len(video), self.stride)
        return Excerpt(video, order[: self.frames or None])


@dataclass(frozen=True)
class Excerpt:
    """Some frames of a video, as a video."""

    video: Video
    order: range

    @property
    def name(self) -> str:
        return self.video.name

    @cached_property
    def annotated(self) -> Sequence[int]:
        known = set(self.video.annotated)
        return [t for t, number in enumerate(self.order) if number in known]

    def __len__(self) -> int:
        return len(self.order)

    def frame_name(self, t: int) -> str:
        return self.video.frame_name(self.order[t])

    def image(self, t: int) -> UInt8[np.ndarray, "h w 3"]:
        return self.video.image(self.order[t])

    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]] | None:
        return self.video.masks(self.order[t])

    def words(self, t: int) -> Mapping[int, Words]:
        """Of synthetic scenes: what can be said of the objects, by id."""
        return self.video.words(self.order[t])  # ty: ignore
