"""What the training loop measures: a model on held-out pictures and clips."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from sam_jax.types import Model
from train.config import Evaluation, Source
from train.data.video import Video
from train.evaluate.protocols import run_clicks, run_vos
from train.evaluate.vos import VosOptions

SPLIT = "test"
SYNTHETIC_SAMPLES = 200  # the synthetic world has no end
SYNTHETIC_FRAMES = 16


def evaluate(model: Model, evaluation: Evaluation) -> dict[str, float]:
    """Click mIoU on pictures, J&F and object scores of clips shown by their first mask; 0..1.

    Raises:
      ValueError: a source cannot be opened, or nothing in it could be measured.
    """
    scores: dict[str, float] = {}
    size, objects = model.config.image_size, evaluation.objects
    if evaluation.images is not None:
        videos = held_out(evaluation.images, size, samples=evaluation.samples, frames=1)
        found = run_clicks(model, videos, objects=objects)
        require_some(found.scores, evaluation.images, found.skipped)
        scores |= {f"images/{name}": value for name, value in found.scores.items()}
    if evaluation.videos is not None:
        videos = held_out(
            evaluation.videos, size, samples=evaluation.samples, frames=evaluation.frames
        )
        found = run_vos(model, videos, VosOptions(objects=objects))
        require_some(found.scores, evaluation.videos, found.skipped)
        scores |= {f"videos/{name}": value for name, value in found.scores.items()}
    return scores


def held_out(source: Source, size: int, *, samples: int, frames: int) -> Sequence[Video]:
    """The first so many videos of a source, and frames of each; 0: all there are.

    Args:
      size: side of synthetic pictures.
    """
    from train.data.sources import open_source

    if source.kind == "synthetic":
        samples, frames = samples or SYNTHETIC_SAMPLES, frames or SYNTHETIC_FRAMES
    videos = open_source(source, split=SPLIT, frames=frames or None, size=size)
    return _Beginnings(videos, min(samples or len(videos), len(videos)), frames)


def require_some(scores: Mapping[str, float], source: Source, skipped: list[str]) -> None:
    """Raises ValueError, with reasons, if nothing was measured."""
    if not scores:
        reasons = "".join(f"\n  {reason}" for reason in itertools.islice(skipped, 3))
        where = f"{source.kind} {source.root}".strip()
        raise ValueError(f"nothing could be measured in {where}: no video shows objects{reasons}")


class _Beginnings(Sequence):
    """The first so many videos, and frames of each; 0 frames: all. Nothing is opened before use."""

    def __init__(self, videos: Sequence[Video], count: int, frames: int) -> None:
        self._videos, self._count, self._frames = videos, count, frames

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)  # which ends an iteration
        video = self._videos[index]
        return _Beginning(video, self._frames) if 0 < self._frames < len(video) else video


@dataclass(frozen=True)
class _Beginning:
    """The first so many frames of a video, as a video."""

    video: Video
    frames: int

    @property
    def name(self) -> str:
        return self.video.name

    def __len__(self) -> int:
        return self.frames

    def frame_name(self, t: int) -> str:
        return self.video.frame_name(t)

    def image(self, t: int) -> UInt8[np.ndarray, "h w 3"]:
        return self.video.image(t)

    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]] | None:
        return self.video.masks(t)
