"""Which frames and objects become a clip."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from train.config import Source, Stream
from train.data.davis import Davis
from train.data.sa1b import Sa1b
from train.data.sampling import sample_clip
from train.data.video import BrokenSample


class Counter:
    """20 frames of 4 x 4 whose pixels are their number; masks on every second one.

    Object 1 is there in frames 6 and later, object 2 covers all, object 3 nothing.
    """

    name = "counter"
    annotated = range(0, 20, 2)

    def __len__(self) -> int:
        return 20

    def frame_name(self, t: int) -> str:
        return str(t)

    def image(self, t: int) -> np.ndarray:
        return np.full((4, 4, 3), t, np.uint8)

    def masks(self, t: int) -> Mapping[int, np.ndarray] | None:
        if t % 2:
            return None
        small = np.zeros((4, 4), bool)
        small[1, 1] = t >= 6
        return {1: small, 2: np.ones((4, 4), bool), 3: np.zeros((4, 4), bool)}


def stream(**values) -> Stream:
    stride = values.pop("stride", 1)
    source = Source(kind="synthetic", stride=stride)
    return Stream(**{"source": source, "batch": 1, "frames": 3, "objects": 3} | values)


def clips(recipe: Stream, count: int = 60) -> list:
    return [sample_clip(Counter(), recipe, np.random.default_rng(i)) for i in range(count)]


def frames_of(clip) -> list[int]:
    return clip.images[:, 0, 0, 0].tolist()


def test_consecutive_annotated_frames_from_anywhere() -> None:
    found = {tuple(frames_of(clip)) for clip in clips(stream())}
    assert found == {(t, t + 2, t + 4) for t in range(0, 16, 2)}


def test_stride_and_reverse() -> None:
    found = {tuple(frames_of(clip)) for clip in clips(stream(stride=3, reverse=1.0))}
    assert found == {(t + 12, t + 6, t) for t in range(0, 8, 2)}
    directions = [np.diff(frames_of(clip))[0] > 0 for clip in clips(stream(reverse=0.25), 200)]
    assert 0.6 < np.mean(directions) < 0.9


def test_objects_are_in_the_first_frame_and_not_too_large() -> None:
    for clip in clips(stream(largest=0.9)):
        assert clip.masks.shape == (3, 1, 4, 4)
        assert clip.masks[:, 0, 1, 1].all()
        assert frames_of(clip)[0] >= 6
    both = clips(stream())
    assert {clip.masks.shape[1] for clip in both} == {1, 2}
    first = [clip.masks[0, 0].all() for clip in clips(stream(objects=1))]
    assert 0.5 < np.mean(first) < 0.95  # object 2 is alone in early frames, else one of two


def test_deterministic() -> None:
    for one, two in zip(clips(stream(), 5), clips(stream(), 5), strict=True):
        np.testing.assert_array_equal(one.images, two.images)
        np.testing.assert_array_equal(one.masks, two.masks)


def test_videos_that_give_no_clip() -> None:
    with pytest.raises(BrokenSample, match=r"10 annotated frames, .* of 4 with stride 4 needs 13"):
        clips(stream(frames=4, stride=4), 1)

    class Bare(Counter):
        def masks(self, t: int) -> dict[int, np.ndarray]:
            return {}

    with pytest.raises(BrokenSample, match="none of 8 first frames has an object"):
        sample_clip(Bare(), stream(), np.random.default_rng(0))

    class Growing(Counter):
        def image(self, t: int) -> np.ndarray:
            return np.zeros((4 + t, 4, 3), np.uint8)

    with pytest.raises(BrokenSample, match=r"counter: frame \d+ has 4 x \d+ pixels, the first one"):
        sample_clip(Growing(), stream(), np.random.default_rng(0))

    class Wide(Counter):
        def image(self, t: int) -> np.ndarray:
            return np.zeros((4, 9, 3), np.uint8)

    with pytest.raises(BrokenSample, match=r"mask of object \d has 4 x 4 pixels, the picture 9 x"):
        sample_clip(Wide(), stream(), np.random.default_rng(0))


def test_folders(davis: Path, sa1b: Path, at: Callable[[int], np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    clip = sample_clip(Davis(str(davis))[0], stream(frames=6), rng)
    assert sorted(clip.masks[0].sum((1, 2))) == [100, 144]
    hidden = clip.masks[0].sum((1, 2)).argmin()
    assert clip.masks[:, hidden].any((1, 2)).tolist() == [True, True, False, True, True, True]
    clip = sample_clip(Sa1b(str(sa1b))[0], stream(frames=1, objects=64, largest=0.9), rng)
    assert clip.masks.shape[:2] == (1, 2)
