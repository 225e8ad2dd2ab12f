"""The synthetic world as a source of videos: painted when they are looked at, from their number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, overload

import numpy as np
from jaxtyping import Bool, UInt8

from train.data.reading import Masks
from train.data.video import Video
from train.world.scene import make_clip

Split = Literal["train", "test"]
_SEEDS: dict[Split, int] = {"train": 0, "test": 1}
COUNT = 2**31 - 1  # of the scenes of a split


def paint(
    split: Split, index: int, *, frames: int, size: int
) -> tuple[UInt8[np.ndarray, "t h w 3"], Sequence[Mapping[int, Bool[np.ndarray, "h w"]]]]:
    """Frames of scene `index`, and of each frame the masks of what can be asked for, by id."""
    for attempt in range(100):
        clip = make_clip(np.random.default_rng((_SEEDS[split], index, attempt)), frames, size)
        if targets := clip[0].targets():
            images = np.stack([scene.image for scene in clip])
            return images, [Masks(targets, scene.mask) for scene in clip]
    raise AssertionError(f"no scene with anything in it for {split} {index}")


@dataclass(frozen=True)
class SyntheticVideo:
    split: Split
    index: int
    frames: int
    size: int

    @cached_property
    def _painted(self) -> tuple[np.ndarray, Sequence[Mapping[int, np.ndarray]]]:
        return paint(self.split, self.index, frames=self.frames, size=self.size)

    @property
    def name(self) -> str:
        return f"{self.split}_{self.index:06d}"

    @property
    def annotated(self) -> Sequence[int]:
        return range(self.frames)

    def __len__(self) -> int:
        return self.frames

    def frame_name(self, t: int) -> str:
        return f"{t:05d}"

    def image(self, t: int) -> UInt8[np.ndarray, "h w 3"]:
        return self._painted[0][t]

    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]]:
        return self._painted[1][t]


@dataclass(frozen=True)
class Synthetic(Sequence[Video]):
    """All scenes of a split; no scene is in both.

    Attributes:
      frames: of each; 1 is a picture.
      size: side of the square frames, pixels.
    """

    split: Split
    frames: int
    size: int

    def __len__(self) -> int:
        return COUNT

    @overload
    def __getitem__(self, index: int) -> Video: ...
    @overload
    def __getitem__(self, index: slice) -> list[Video]: ...
    def __getitem__(self, index: int | slice) -> Video | list[Video]:
        numbers = range(COUNT)[index]
        if isinstance(numbers, int):
            return SyntheticVideo(self.split, numbers, self.frames, self.size)
        return [SyntheticVideo(self.split, i, self.frames, self.size) for i in numbers]
