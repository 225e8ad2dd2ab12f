"""The synthetic world in motion: masks are where things are seen, in every frame."""

import numpy as np
import pytest

from train.clips import Path, Sprite, film, make_clip, make_clips
from train.synthetic import Scene

SIZE = 48
RED, GREEN = (230, 20, 20), (20, 220, 20)


def _square(colour: tuple[int, int, int], layer: int) -> Sprite:
    """Twelve pixels wide, in the middle of what the camera sees at rest."""
    paint, layers = np.zeros((SIZE, SIZE, 4), np.uint8), np.zeros((SIZE, SIZE), np.int32)
    inside = np.s_[18:30, 18:30]
    paint[inside] = (*colour, 255)
    layers[inside] = layer
    return Sprite(paint, layers)


def _at(x: float, y: float, *, size: float = 1.0, turn: float = 0.0) -> np.ndarray:
    one = np.ones(1)
    return Path(np.full(2, SIZE / 2), np.array([[x, y]]), turn * one, size * one).matrix(0)


def _film(*placed: tuple[Sprite, np.ndarray], camera: np.ndarray | None = None) -> Scene:
    return film(
        np.full((2 * SIZE, 2 * SIZE, 3), 40, np.uint8),
        [sprite for sprite, _ in placed],
        [matrix for _, matrix in placed],
        camera=np.eye(3) if camera is None else camera,
        size=SIZE,
        parents=(0, 0, 0),
        exposure=1,
    )


def _agree(mask: np.ndarray, pixels: np.ndarray) -> bool:
    return (mask & pixels).sum() > 0.8 * (mask | pixels).sum()


@pytest.mark.parametrize(
    ("x", "y", "size", "turn"),
    [(0, 0, 1, 0), (9, -4, 1, 0), (-6, 8, 1.5, 0), (3, 3, 0.7, 0), (2, 0, 1.2, 0.7)],
)
def test_a_mask_follows_its_pixels(x: float, y: float, size: float, turn: float) -> None:
    scene = _film((_square(RED, 1), _at(x, y, size=size, turn=turn)))
    ys, xs = np.nonzero(scene.mask(1))
    assert abs(xs.mean() + 0.5 - SIZE / 2 - x) < 1
    assert abs(ys.mean() + 0.5 - SIZE / 2 - y) < 1
    assert abs(len(xs) / (12 * size) ** 2 - 1) < 0.15
    image = scene.image.astype(int)
    assert _agree(scene.mask(1), image[..., 0] > image[..., 1] + 60)


def test_the_camera_moves_everything() -> None:
    camera = np.eye(3)
    camera[:2, 2] = 5, -3
    seen = _film((_square(RED, 1), np.eye(3)), camera=camera).mask(1)
    rest = _film((_square(RED, 1), np.eye(3))).mask(1)
    assert np.array_equal(seen, np.roll(rest, (-3, 5), (0, 1)))


def test_what_is_in_front_hides_what_is_behind() -> None:
    red, green = _square(RED, 1), _square(GREEN, 2)
    half = _film((red, np.eye(3)), (green, _at(6, 0)))
    assert half.mask(2).sum() == 144
    assert half.mask(1).sum() == 72
    image = half.image.astype(int)
    assert _agree(half.mask(2), image[..., 1] > image[..., 0] + 60)
    assert not _film((red, np.eye(3)), (green, np.eye(3))).mask(1).any()
    assert not _film((red, _at(60, 0))).mask(1).any()


def test_clips_are_the_same_for_the_same_seed() -> None:
    first, again, other = (
        make_clips((0, seed), 1, 2, frames=3, size=64, photos=False) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_clips_move_and_start_with_all_objects() -> None:
    images, masks = make_clips((3,), 2, 3, frames=4, size=64, photos=False)
    assert (images.shape, images.dtype) == ((4, 2, 64, 64, 3), np.uint8)
    assert (masks.shape, masks.dtype) == ((4, 6, 64, 64), bool)
    assert masks[0].any((1, 2)).all()
    assert (masks[0] != masks[3]).any()
    assert (images[0] != images[3]).any((1, 2, 3)).all()


def test_things_leave_and_some_come_back() -> None:
    left = back = 0
    for seed in range(12):
        clip = make_clip(np.random.default_rng(seed), 6, 48)
        for layer in clip[0].targets():
            here = [scene.mask(layer).any() for scene in clip]
            if not all(here):
                left += 1
                back += here[-1]
    assert left > back > 0
