"""A picture with its masks, as a video of one frame."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from train.data import reading


@dataclass(frozen=True)
class Picture(ABC):
    """What pictures of all data sets have in common; their masks differ."""

    name: str
    path: Path

    @property
    def annotated(self) -> Sequence[int]:
        return (0,)

    def __len__(self) -> int:
        return 1

    def frame_name(self, t: int) -> str:
        return self.path.stem

    def image_file(self, t: int) -> Path:
        return self.path

    def image(self, t: int) -> UInt8[np.ndarray, "h w 3"]:
        return reading.read_rgb(self.path)

    @abstractmethod
    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]] | None:
        """As `Video.masks`."""
