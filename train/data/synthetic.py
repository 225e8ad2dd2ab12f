"""The synthetic world as a source of videos: painted when they are looked at, from their number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, overload

import numpy as np
from jaxtyping import Bool, UInt8

from train.data.reading import Masks
from train.data.video import Video
from train.world.phrases import Words, describe, shortest
from train.world.scene import Scene, make_clip

Split = Literal["train", "test"]
_SEEDS: dict[Split, int] = {"train": 0, "test": 1}
COUNT = 2**31 - 1  # of the scenes of a split


def scenes(split: Split, index: int, *, frames: int, size: int) -> list[Scene]:
    """The frames of scene `index`; there is something to be asked for in the first one."""
    for attempt in range(100):
        clip = make_clip(np.random.default_rng((_SEEDS[split], index, attempt)), frames, size)
        if clip[0].targets():
            return clip
    raise AssertionError(f"no scene with anything in it for {split} {index}")


@dataclass(frozen=True)
class SyntheticVideo:
    split: Split
    index: int
    frames: int
    size: int

    @cached_property
    def _scenes(self) -> list[Scene]:
        return scenes(self.split, self.index, frames=self.frames, size=self.size)

    @cached_property
    def _targets(self) -> list[int]:
        return self._scenes[0].targets()

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
        return self._scenes[t].image

    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]]:
        return Masks(self._targets, self._scenes[t].mask)

    def words(self, t: int) -> Mapping[int, Words]:
        """What can be said of the objects, by id; of those large enough in that frame."""
        return {i: w for i, w in describe(self._scenes[t]).items() if i in self._targets}

    def phrases(self, t: int) -> Mapping[int, str]:
        """For each object that a phrase can single out among all that is large enough in that
        frame, the shortest such phrase, by id."""
        words = describe(self._scenes[t])
        found = {i: shortest(words, i) for i in words if i in self._targets}
        return {i: phrase for i, phrase in found.items() if phrase is not None}


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
