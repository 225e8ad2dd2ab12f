"""Simulated users."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from sam_jax.types import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PAD
from train.clicks import (
    bounding_box,
    centre_of_error,
    click_on_error,
    first_prompts,
    sample_pixel,
    squared_distance,
)

MASK = np.zeros((32, 40), bool)
MASK[4:9, 10:25] = True
MASK[20, 3] = True


def blobs(n: int, seed: int) -> np.ndarray:
    """Random masks [n 24 30] of a few rectangles, some of them empty."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, 24, 30), bool)
    for mask in masks[: n - 1]:
        for _ in range(rng.integers(1, 4)):
            y, x = rng.integers(0, 20, 2)
            mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = True
    return masks


def test_pixels_are_drawn_uniformly_from_the_region() -> None:
    region = np.zeros((4, 4), bool)
    region[0, :3] = region[3, 3] = True
    keys = jax.random.split(jax.random.key(0), 4000)
    points = jax.vmap(sample_pixel, (0, None))(keys, jnp.asarray(region))
    counts = np.zeros((4, 4))
    np.add.at(counts, tuple(np.asarray(points[:, ::-1], int).T), 1)
    assert (counts[~region] == 0).all()
    assert counts[region] == pytest.approx(1000, rel=0.15)


def test_an_empty_region_still_gives_a_pixel() -> None:
    x, y = sample_pixel(jax.random.key(0), jnp.zeros((4, 6), bool))
    assert 0 <= x < 6 and 0 <= y < 4


def test_bounding_box_is_inclusive() -> None:
    assert np.array_equal(bounding_box(jnp.asarray(MASK)), [[3, 4], [24, 20]])


def test_clicks_are_on_the_error_and_say_which() -> None:
    masks, predicted = blobs(64, 0), blobs(64, 1)
    predicted[:8] = masks[:8]  # perfect
    points, labels = click_on_error(jax.random.key(0), jnp.asarray(masks), jnp.asarray(predicted))
    x, y = np.asarray(points, int).T
    inside = masks[np.arange(64), y, x]
    assert not inside[:8].any() and (labels[:8] == BACKGROUND).all()
    wrong = (masks != predicted)[np.arange(64), y, x]
    assert wrong[8:-1].all()
    assert np.array_equal(np.asarray(labels[8:]) == FOREGROUND, inside[8:])


def test_the_distance_is_the_exact_euclidean_one() -> None:
    masks = blobs(16, 2)
    found = squared_distance(jnp.asarray(masks))
    expected = np.stack([distance_transform_edt(mask) ** 2 for mask in masks])
    assert np.array_equal(np.asarray(found), expected.round())


def test_the_centre_of_the_error_equals_a_plain_search() -> None:
    masks, predicted = blobs(32, 3), blobs(32, 4)
    points, labels = centre_of_error(jnp.asarray(masks), jnp.asarray(predicted))
    for mask, seen, point, label in zip(masks, predicted, points, labels, strict=True):
        missed, extra = (
            distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
            for region in (mask & ~seen, seen & ~mask)
        )
        assert (label == FOREGROUND) == (missed.max() > extra.max())
        distance = missed if label == FOREGROUND else extra
        x, y = np.asarray(point, int)
        assert distance[y, x] == distance.max()


def test_first_prompts_are_what_they_say() -> None:
    n = 200
    masks = np.broadcast_to(MASK, (n, *MASK.shape)).copy()
    masks[-1] = False
    points, labels = first_prompts(jax.random.key(1), jnp.asarray(masks), box_share=0.5)
    labels, points = np.asarray(labels), np.asarray(points)
    boxes = labels[:, 0] == BOX_TOP_LEFT
    assert 0.35 < boxes.mean() < 0.65
    assert (labels[boxes, 1] == BOX_BOTTOM_RIGHT).all() and (labels[~boxes, 1] == PAD).all()
    # a tenth of the side, at most 20 of 1024 pixels
    reach = np.minimum([[2.1, 1.6]], [[20 / 1024 * 40, 20 / 1024 * 32]])
    assert (np.abs(points[boxes] - bounding_box(jnp.asarray(MASK))) <= reach + 1e-5).all()
    clicks = ~boxes[:-1]
    x, y = points[:-1][clicks, 0].astype(int).T
    assert MASK[y, x].all() and (labels[:-1][clicks, 0] == FOREGROUND).all()
    assert labels[-1].tolist() == [BACKGROUND, PAD]  # nothing to show


def test_kinds_follow_their_share() -> None:
    masks = jnp.asarray(np.broadcast_to(MASK, (20, *MASK.shape)))
    for share, kind in ((1.0, BOX_TOP_LEFT), (0.0, FOREGROUND)):
        _, labels = first_prompts(jax.random.key(2), masks, box_share=share)
        assert (labels[:, 0] == kind).all()
