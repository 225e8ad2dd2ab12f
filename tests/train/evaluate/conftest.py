"""Videos made of nothing but moving boxes, and folders of masks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Boxes:
    """Boxes on a grey ground: object i at `places[t][i]`, as (left, top, width, height)."""

    name: str
    places: list[Mapping[int, tuple[int, int, int, int]] | None]
    height: int = 72
    width: int = 96

    @property
    def annotated(self) -> list[int]:
        return [t for t, places in enumerate(self.places) if places is not None]

    def __len__(self) -> int:
        return len(self.places)

    def frame_name(self, t: int) -> str:
        return f"{t:05d}"

    def image(self, t: int) -> np.ndarray:
        noise = np.random.default_rng(t).integers(0, 12, (self.height, self.width, 3))
        picture = (100 + noise).astype(np.uint8)
        known = [places for places in self.places if places is not None]
        for i, mask in self._masks(self.places[t] or known[0]).items():
            picture[mask] = ((60 * i) % 256, 255 - 40 * i, 20 * i)
        return picture

    def masks(self, t: int) -> Mapping[int, np.ndarray] | None:
        places = self.places[t]
        return None if places is None else self._masks(places)

    def _masks(self, places: Mapping[int, tuple[int, int, int, int]]) -> dict[int, np.ndarray]:
        masks = {}
        for i, (left, top, width, height) in places.items():
            masks[i] = np.zeros((self.height, self.width), bool)
            masks[i][top : top + height, left : left + width] = True
        return masks


@pytest.fixture(scope="session")
def boxes() -> Callable[..., Boxes]:
    """`boxes(name, [{1: (left, top, width, height)}, ...])`: a video; None: not annotated."""
    return Boxes


@pytest.fixture(scope="session")
def two_boxes() -> Boxes:
    """Five frames; object 1 moves, object 2 comes on the second frame and goes on the fourth."""
    return Boxes(
        "two",
        [
            {1: (10, 10, 30, 24)},
            {1: (14, 12, 30, 24), 2: (60, 40, 20, 20)},
            {1: (18, 14, 30, 24), 2: (58, 42, 20, 20)},
            {1: (22, 16, 30, 24)},
            {1: (26, 18, 30, 24)},
        ],
    )
