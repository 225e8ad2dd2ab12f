"""What both sides of `benchmarks.train` train on: the same batch, under the same prompting."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """A batch: clips of some frames, objects of each, clicks that correct the first frame.

    Objects are shown by one click on the first frame.
    """

    clips: int
    frames: int
    objects: int
    corrections: int

    @property
    def text(self) -> str:
        what = "picture" if self.frames == 1 else "clip"
        what += "s" if self.clips > 1 else ""
        what += f" of {self.frames} frames" if self.frames > 1 else ""
        return f"{self.clips} {what}, {self.objects} objects, 1 + {self.corrections} clicks"


SHAPES = {
    "images": Shape(clips=2, frames=1, objects=3, corrections=2),
    "videos": Shape(clips=1, frames=4, objects=2, corrections=1),
}


def arrays(shape: Shape, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [t b H W 3] and masks bool [t n H W]: drifting boxes of noise on noise."""
    random = np.random.default_rng(0)
    t, n = shape.frames, shape.clips * shape.objects
    images = random.integers(0, 256, (t, shape.clips, size, size, 3), np.uint8)
    masks = np.zeros((t, n, size, size), bool)
    for i in range(n):
        x, y = random.integers(0, size // 2, 2)
        for f in range(t):
            place = np.s_[y + f : y + f + size // 4, x + f : x + f + size // 3]
            masks[(f, i, *place)] = True
            images[(f, i // shape.objects, *place)] //= 2
    return images, masks
