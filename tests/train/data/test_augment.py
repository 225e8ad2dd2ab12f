"""Masks stay on what they show, whatever happens to the picture."""

import dataclasses

import numpy as np
import pytest

from train.config import Augment
from train.data.augment import augment

NOTHING = Augment(
    **{field.name: 0.0 for field in dataclasses.fields(Augment)},
)
GEOMETRY = dataclasses.replace(NOTHING, flip=0.5, rotation=25.0, shear=20.0)
T, H, W, SIZE = 3, 90, 120, 64


@pytest.fixture
def clip() -> tuple[np.ndarray, np.ndarray]:
    """A red and a blue rectangle that move on grey, and their masks."""
    images = np.full((T, H, W, 3), 128, np.uint8)
    masks = np.zeros((T, 2, H, W), bool)
    for t in range(T):
        masks[t, 0, 30:55, 40 + 5 * t : 70 + 5 * t] = True
        masks[t, 1, 58:80, 60 - 4 * t : 80 - 4 * t] = True
        images[t][masks[t, 0]] = 250, 10, 10
        images[t][masks[t, 1]] = 10, 10, 250
    return images, masks


def change(clip: tuple[np.ndarray, np.ndarray], options: Augment, seed: int = 0):
    return augment(*clip, size=SIZE, options=options, rng=np.random.default_rng(seed))


def seen(images: np.ndarray) -> np.ndarray:
    """Where the rectangles are, by colour: [t 2 h w]."""
    red, _, blue = np.moveaxis(images.astype(int), -1, 0)
    return np.stack([red - blue > 100, blue - red > 100], 1)


def iou(one: np.ndarray, two: np.ndarray) -> float:
    return (one & two).sum() / (one | two).sum()


@pytest.mark.parametrize("seed", range(12))
def test_masks_follow_the_picture(clip: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    images, masks = change(clip, dataclasses.replace(GEOMETRY, mosaic=seed % 2), seed)
    assert images.shape == (T, SIZE, SIZE, 3)
    assert (images.dtype, masks.dtype) == (np.uint8, bool)
    if seed % 2:  # one of four is meant
        rows, columns = (masks[0].any((0, axis)).nonzero()[0] for axis in (2, 1))
        top, left = SIZE // 2 * (rows[0] >= SIZE // 2), SIZE // 2 * (columns[0] >= SIZE // 2)
        quarter = slice(top, top + SIZE // 2), slice(left, left + SIZE // 2)
        inside = np.zeros_like(masks)
        inside[..., quarter[0], quarter[1]] = True
        assert not (masks & ~inside).any()
        assert seen(images).sum() > 3 * (seen(images) & inside).sum()  # but all four are there
        for t in range(T):
            for i in range(2):
                assert iou(seen(images)[t, i] & inside[t, i], masks[t, i]) > 0.7
        return
    for t in range(T):
        for i in range(2):
            assert iou(seen(images)[t, i], masks[t, i]) > 0.8


def test_geometry_is_shared_by_the_frames(clip: tuple[np.ndarray, np.ndarray]) -> None:
    still = tuple(np.repeat(values[:1], T, 0) for values in clip)
    everything = dataclasses.replace(Augment(), mosaic=0.5)
    for seed in range(8):
        images, masks = change(still, everything, seed)
        assert (masks == masks[:1]).all()
        assert not (images == images[:1]).all()  # each frame has a jitter of its own
        images, _ = change(still, dataclasses.replace(GEOMETRY, brightness=0.5, grey=0.5), seed)
        assert (images == images[:1]).all()


def test_same_numbers_same_clip(clip: tuple[np.ndarray, np.ndarray]) -> None:
    first, again, other = (change(clip, Augment(), seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_nothing_is_the_resized_clip(clip: tuple[np.ndarray, np.ndarray]) -> None:
    images, masks = augment(
        *clip, size=H, options=NOTHING, rng=np.random.default_rng(0)
    )  # a square: only the width shrinks
    np.testing.assert_array_equal(images[:, 40, 36], images[:, 41, 36])
    assert masks.sum((2, 3)).tolist() == [[25 * 22, 22 * 15]] * T
    assert (images[:, 0, 0] == 128).all()


def test_outside_is_filled_with_the_mean(clip: tuple[np.ndarray, np.ndarray]) -> None:
    images, _ = change(clip, dataclasses.replace(NOTHING, rotation=25.0), seed=1)
    corners = images[0, [0, 0, -1, -1], [0, -1, 0, -1]].tolist()
    assert [123, 116, 103] in corners


def test_no_turn_that_loses_an_object(clip: tuple[np.ndarray, np.ndarray]) -> None:
    images, masks = clip
    corner = np.zeros_like(masks)
    corner[:, :, :2, :2] = True
    turned = dataclasses.replace(NOTHING, rotation=25.0, shear=20.0)
    for seed in range(6):
        _, changed = change((images, corner), turned, seed)
        assert changed[0].any((1, 2)).all()


def test_grey_and_flip(clip: tuple[np.ndarray, np.ndarray]) -> None:
    plain, masks = change(clip, NOTHING)
    grey, _ = change(clip, dataclasses.replace(NOTHING, grey=1.0))
    assert (grey == grey[..., :1]).all()
    flipped, mirrored = change(clip, dataclasses.replace(NOTHING, flip=1.0))
    np.testing.assert_array_equal(flipped, plain[:, :, ::-1])
    np.testing.assert_array_equal(mirrored, masks[..., ::-1])


def test_jitter_stays_within_its_bounds(clip: tuple[np.ndarray, np.ndarray]) -> None:
    brightness = dataclasses.replace(NOTHING, brightness=0.2)
    greys = [change(clip, brightness, seed)[0][0, 0, 0, 0] for seed in range(40)]
    assert 102 <= min(greys) < 110 and 146 < max(greys) <= 154


def test_sam1_sees_pictures_in_their_own_shape(clip: tuple[np.ndarray, np.ndarray]) -> None:
    """The longer side fills the square; below is the mean colour, and nothing of an object."""
    images, masks = augment(
        *clip, size=SIZE, options=NOTHING, rng=np.random.default_rng(0), keep_aspect=True
    )
    rows = SIZE * H // W
    assert images.shape == (T, SIZE, SIZE, 3)
    assert (images[:, rows:] == (124, 116, 104)).all() and not masks[:, :, rows:].any()
    assert (images[:, :rows] != (124, 116, 104)).any(-1).all()
    for t in range(T):
        for i in range(2):
            assert iou(seen(images)[t, i], masks[t, i]) > 0.9
